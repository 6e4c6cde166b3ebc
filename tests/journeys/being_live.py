"""Being live: home, what waits, the trace, a sale of today."""

from __future__ import annotations

import datetime as dt
import re

from marketplace.demo.businesses import KESTREL
from tests.journeys.trading import SHOP, order_of_today, past_month
from tests.journeys.walk import Walk, day_of


def see_home(walk: Walk) -> None:
    """Home answers whether everything is in the books, and what waits."""
    person = walk.person
    forgotten = walk.planted("missing_in_theirs")
    person.go(walk.home)
    person.is_at(re.compile(rf"\d+ of \d+ orders of {past_month()[0]:%B %Y} are in Xero"))
    person.waits_for(re.compile(r"60 at the source = \d+ posted \+ \d+ held \+ \d+ excluded"))
    person.sees("staff never entered it while both ran side by side")
    person.look("home")
    person.follow(re.compile("Look at it.*staff never entered it"))
    person.sees(forgotten)
    person.look("issues")
    person.follow("Home")
    person.page.get_by_role("link", name=re.compile(rf"^{day_of(walk.order(forgotten)).day} ")).first.click()
    person.sees(forgotten)
    assert "Held" in person.row(forgotten).inner_text()
    person.look()


def catch_up(walk: Walk) -> None:
    """What staff forgot is posted when the owner says so, once."""
    person = walk.person
    forgotten = walk.planted("missing_in_theirs")
    person.follow("Needs attention")
    person.follow(forgotten)
    person.sees("Staff never entered it")
    person.look()
    person.choose("Decision", "Post again, as mapped now")
    person.click("Decide")
    person.go(f"{walk.home}?month={past_month()[0]:%Y-%m}")
    person.waits_for(re.compile(r"^(?!.*(staff never entered it|on the way))", re.S))
    found = [one for one in walk.lines("invoice") if forgotten in str(one["reference"])]
    assert [one["by"] for one in found] == ["connector"]


def trace(walk: Walk) -> None:
    """From an entry in the ledger back to the sale, the mapping and the request."""
    person = walk.person
    forgotten = walk.planted("missing_in_theirs")
    person.follow("Records")
    person.look()
    person.fill("Number, reference or name", forgotten)
    person.click("Find")
    person.follow(forgotten)
    person.sees("What became of it")
    person.look("record")
    person.follow(re.compile("^Invoice"), person.row(f"Invoice {forgotten.strip('#')}", "Posted"))
    person.sees(re.compile(f"The source: order {forgotten}", re.I))
    person.sees("The field mapping: version 2")
    person.sees("The journal it makes")
    person.page.get_by_text("This document’s part of it").click()
    person.sees('"InvoiceNumber"')
    person.sees("Identity there")
    person.look("trace")


def order_live(walk: Walk) -> None:
    """A sale of today is in the ledger without anybody's doing."""
    person = walk.person
    order = order_of_today(walk.month, "#5001")
    walk.shop.enter(SHOP, [order], by="provider", emit=True)
    person.go(f"{walk.home}records/")
    person.waits_for("#5001")
    person.follow("#5001")
    person.waits_for(re.compile("Invoice.*Posted", re.S))
    assert [one["by"] for one in walk.lines("invoice") if "#5001" in str(one["reference"])] == ["connector"]
    person.go(f"{walk.home}days/{dt.datetime.now(KESTREL.shop.zone).date().isoformat()}/")
    # The payment may still be on its way when the invoice is there.
    person.waits_for("Proved")
    person.go(walk.flow)
    person.sees("Every new record is posted to Xero by itself.")
    person.look("flow")


def take_back(walk: Walk) -> None:
    """An entry that should not have been made goes: a plan, a confirmation, and the proof."""
    person = walk.person
    number = "#5001"
    person.go(f"{walk.home}records/?q=5001")
    person.follow(number)
    person.follow(re.compile("^Invoice"), person.row("Invoice 5001", "Posted"))
    person.follow("Take back")
    person.fill("Why", "Sold by mistake")
    person.look("reversal-asked")
    person.click("Make the plan")
    person.waits_for("Everything can be taken back")
    person.sees("Trial balance: what these entries book")
    person.look("reversal-plan")
    assert walk.taken_back() == []
    person.tick("I have read the plan and want it carried out.")
    person.click("Take it back")
    person.waits_for("Done and proved")
    person.look("reversal")
    assert sorted(one["data_type"] for one in walk.taken_back()) == ["customer_payment", "invoice"]
    person.follow("Needs attention", person.page.locator("main"))
    person.sees("Sold by mistake")
    person.sees(number)
    person.go(f"{walk.home}reversals/")
    person.sees("Sold by mistake")
    person.look("reversals")
