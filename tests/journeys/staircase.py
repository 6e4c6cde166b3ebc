"""The staircase: mapping, sandbox, pilot, comparison, live. Each step says what a person reads on it."""

from __future__ import annotations

import re
from functools import partial

from playwright.sync_api import Locator

from tests.journeys.trading import book_by_hand, past_month
from tests.journeys.walk import FLOW, Walk, day_of, is_posted

CONTACT = "Online shop customers"
VERDICTS = {
    "amount": "Different amount",
    "tax": "Different tax",
    "date": "Different date",
    "ledger_account": "Different ledger account",
    "currency": "Different currency",
    "party": "Different customer",
    "timing": "Booked in another period",
    "missing_in_ours": "Missing in ours",
    "missing_in_theirs": "Missing in theirs",
    "duplicate_in_theirs": "Entered twice by staff",
}


def map_fields(walk: Walk) -> None:
    """Suggestions stand already; the owner adds what nobody can guess and sees at once what it makes."""
    person = walk.person
    person.waits_for("Totals equal")
    person.sees("Suggested")
    person.look("mapping")
    person.page.get_by_text(re.compile("^All other fields")).click()
    rounding = person.page.get_by_role("region", name=re.compile("Rounding")).get_by_role("combobox")
    rounding.select_option(label="429 General Expenses")
    contact = person.page.get_by_role("region", name=re.compile("^Contact"))
    contact.get_by_text("Change").click()
    contact.get_by_label("Fixed text").fill(CONTACT)
    contact.get_by_label("Fixed text").blur()
    person.page.locator("#preview").get_by_text(f'"Name": "{CONTACT}"').first.wait_for()
    person.sees(re.compile("Debit.*Credit"))
    person.fill("What changed, and why", "One customer for the whole shop")
    person.look()
    person.click("Save as a new version")
    person.sees("Versions (now 2)")
    person.follow(re.compile("^Versions"))
    person.click("Compare")
    person.sees(CONTACT)
    person.look()


def rehearse(walk: Walk) -> None:
    """Nothing is written in the real ledger before every edge case came out right."""
    person = walk.person
    person.go(walk.flow)
    person.waits_for("Everything it needs is there")
    person.look()
    person.follow(re.compile("sandbox", re.I))
    person.look()
    person.click(re.compile("sandbox", re.I))
    person.look()
    person.click("Run the cases")
    person.waits_for(re.compile(r"All \d+ cases came out as they should"))
    person.look("sandbox")


def choose_scope(walk: Walk) -> None:
    """The pilot is about the first days of the month."""
    person = walk.person
    person.follow(FLOW)
    person.sees("The pilot's scope is chosen")
    person.follow("Not chosen yet")
    person.choose("Field 1", "Date")
    person.choose("Condition 1", "is on or before")
    person.fill("Value 1", "the third")
    person.click("Save the scope")
    person.sees("This condition needs a date")
    person.fill("Value 1", walk.pilot_until.isoformat())
    person.click("Count, and add a row")
    person.sees(re.compile(r"\d+ of the last \d+ orders are in scope"))
    person.look()
    person.click("Save the scope")
    person.sees("The pilot's scope is saved.")


def agree_figures(walk: Walk) -> None:
    """Final documents, so that payments are entered with them; a small month asks for few records."""
    person = walk.person
    person.go(walk.flow)
    person.follow(re.compile("Change choices"))
    person.look()
    person.tick(re.compile("final", re.I))
    person.click("Save")
    person.sees("Saved.")
    person.follow(re.compile("Change choices"))
    person.fill("Records posted in the pilot", "1")
    person.click("Agree on these figures")
    person.sees("The gate asks for these figures from now on.")


def pilot(walk: Walk) -> None:
    """The first real entries."""
    person = walk.person
    person.follow(re.compile("pilot", re.I), person.page.locator(".actions"))
    person.look()
    person.click(re.compile("pilot", re.I))
    in_pilot = [one for one in walk.month.orders if day_of(one) <= walk.pilot_until and is_posted(one)]
    for order in in_pilot:
        rows = (
            person.page.get_by_role("row").filter(has_text=re.compile(rf"{order.number}\b")).filter(has_text="Posted")
        )
        person.waits_until(partial(_is_there, rows), f"{order.number} as posted")
    person.look("pilot")
    written = [one for one in walk.lines("invoice") if one["by"] == "connector"]
    assert len(written) == len(in_pilot)


def compare(walk: Walk) -> None:
    """Staff booked the rest of the month by hand; every mistake of theirs is seen for what it is."""
    person = walk.person
    walk.entered = book_by_hand(walk.ledger, walk.month, after=walk.pilot_until)
    person.go(walk.flow)
    person.follow(re.compile("parallel|compar", re.I), person.page.locator(".actions"))
    person.look()
    first, last = past_month()
    person.fill("First day", first.isoformat())
    person.fill("Last day", last.isoformat())
    person.click(re.compile("parallel|compar", re.I))
    person.is_at("Comparison")


def _is_there(rows: Locator) -> bool:
    return rows.count() > 0


def _is_one(rows: Locator) -> bool:
    return rows.count() == 1


def see_mistakes(walk: Walk) -> None:
    """Each planted mistake stands beside its document with the verdict of its kind."""
    person = walk.person
    person.click("Compare again")
    person.waits_for(re.compile(r"Match\s+\d+"))
    person.waits_for(re.compile(r"^(?!.*Comparing)", re.S))
    for kind, number in walk.entered.planted:
        person.fill("Number or name", number)
        person.choose("Data type", "Invoices")
        person.click("Filter")
        rows = person.page.get_by_role("row").filter(has_text=number.strip("#")).filter(has_text=VERDICTS[kind])
        person.waits_until(partial(_is_one, rows), f"{number} as {VERDICTS[kind]}")
    person.go(f"{walk.flow}parallel/")
    person.look("parallel")
    person.sees("still missing")


def resolve_mistakes(walk: Walk) -> None:
    """One difference on its own page, the others together; each decision with its reason."""
    person = walk.person
    person.go(walk.flow)
    person.sees("No critical difference is open")
    person.look("gate")
    person.go(f"{walk.flow}parallel/?verdict=amount")
    person.follow(re.compile("^Invoice "))
    person.sees("at stake")
    person.look()
    person.tick(re.compile("^Ours is right"))
    person.fill("Reason", "Checked against the order")
    person.click("Decide")
    person.go(f"{walk.flow}parallel/?decision=open")
    person.tick("Tick all on this page")
    person.tick(re.compile("^Ours is right"))
    person.click("Decide the ticked differences")
    person.go(f"{walk.flow}parallel/?decision=open")
    person.tick("Tick all on this page")
    person.tick(re.compile("^Ours is right"))
    person.fill("Reason", "Staff correct their entries")
    person.click("Decide the ticked differences")
    person.sees("Nothing to show")


def go_live(walk: Walk) -> None:
    """The gate is open; what will happen is said before the owner puts their name to it."""
    person = walk.person
    person.go(f"{walk.flow}parallel/")
    person.follow("Look at the approval")
    person.sees("Nothing of it is posted until you say so.")
    person.look("go-live")
    person.click("Approve and go live")
    person.tick(re.compile("^I have seen what will happen"))
    person.fill("Note", "October agreed with Bob")
    person.click("Approve and go live")
    person.sees("is live, approved by Alice")
    person.sees("October agreed with Bob")
    person.look()
