"""The way to a rehearsed flow with scripts switched off, between another shop and another ledger than the long journey's."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from marketplace.demo.businesses import HARBOR
from marketplace.demo.month import make_month
from tests.journeys import setting_up
from tests.journeys.person import Person, opened_browser
from tests.journeys.stack import Stack
from tests.journeys.trading import Simulated, past_month
from tests.journeys.walk import FLOW, Walk

pytestmark = [pytest.mark.stack, pytest.mark.browser]
SELLER = "acct_kestrel"
ORDERS = 12


def test_owner_journey_without_javascript(stack: Stack) -> None:
    trade_by_card(Simulated(url=stack.simulators["stripe"]))
    with opened_browser(stack.url, runs_scripts=False) as person:
        walk = Walk(person, stack, email="alice.without.scripts@example.com", business="Kestrel Trading")
        setting_up.sign_up(walk)
        setting_up.create_business(walk)
        connect(walk, "Stripe", "Kestrel & Co Ltd")
        connect(walk, "QuickBooks Online", "Kestrel Trading Ltd")
        person.follow("Source of truth")
        person.tick(re.compile("is the source of truth for orders"))
        person.click("Save")
        person.sees("Saved.")
        setting_up.add_flow(walk)
        map_fields(person)
        rehearse(walk)


def trade_by_card(payments: Simulated) -> None:
    """A few card sales of the past month, in pounds."""
    shop = replace(HARBOR.shop, currency="GBP", other_currency="", other_currency_country="")
    month = make_month(shop, past_month()[0], ORDERS, 3)
    for records in (month.customers, month.orders):
        payments.enter(SELLER, records, by="provider")


def connect(walk: Walk, provider: str, organisation: str) -> None:
    person = walk.person
    person.follow("Catalogue")
    person.follow(re.compile(provider))
    person.follow(f"Connect {provider}")
    person.click("Agree and go on")
    person.follow(f"Continue to {provider}")
    person.tick(re.compile(re.escape(organisation)))
    person.click("Allow access")
    person.is_at(f"{organisation} is connected")


def map_fields(person: Person) -> None:
    """Whatever no suggestion could be made for is chosen; the preview comes with a press of a button."""
    person.waits_for("Totals")
    for control in person.page.locator("section.mapping-row select:visible").all():
        if control.locator("option:checked").inner_text() == "Not chosen yet":
            control.select_option(index=1)
    person.click("Preview, and add empty rows")
    person.sees("Of the latest")
    person.sees("Debit")
    person.click("Save as a new version")
    person.sees(re.compile(r"Versions \(now \d+\)"))


def rehearse(walk: Walk) -> None:
    person = walk.person
    person.follow(FLOW)
    person.waits_for("Everything it needs is there")
    person.follow(re.compile("sandbox", re.I), person.page.locator(".actions"))
    person.click(re.compile("sandbox", re.I))
    person.waits_for(re.compile(r"Run the cases|All \d+ cases"))
    if "Not run yet" in person.text:
        person.click("Run the cases")
    person.waits_for(re.compile(r"All \d+ cases came out as they should"))
