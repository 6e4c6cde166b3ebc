"""Getting there: a sign-in, a business, a colleague, two systems, and whose word counts."""

from __future__ import annotations

import re

from tests.journeys.trading import SHOP, past_month, trade
from tests.journeys.walk import COLLEAGUE, FLOW, PASSWORD, Walk


def sign_up(walk: Walk) -> None:
    """A new person proves that the address is theirs with the link in the letter."""
    person = walk.person
    person.go("/")
    person.follow("Create a sign-in")
    person.look()
    person.fill("Your name", "Alice")
    person.fill("Email", walk.email)
    person.fill("Password", PASSWORD)
    person.fill("Password (again)", PASSWORD)
    person.click(re.compile("Sign up|Create"))
    person.sees(walk.email)
    person.look()
    person.go("/letters/")
    person.look()
    person.follow(re.compile("confirm-email"))
    person.look()
    person.click("Yes, it is mine")


def create_business(walk: Walk) -> None:
    person = walk.person
    person.go("/")
    person.is_at("New business")
    person.look()
    person.fill("Legal name", walk.business)
    person.choose("Country", "United Kingdom")
    person.choose("Base currency", re.compile("^GBP"))
    person.choose("Time zone", "Europe/London")
    person.click("Create business")
    person.sees(walk.business)
    walk.home = person.path
    person.look("start")


def invite_colleague(walk: Walk) -> None:
    person = walk.person
    person.follow("Members")
    person.fill("E-mail address", COLLEAGUE)
    person.choose("Role", re.compile("Bookkeeper"))
    person.click("Send invitation")
    person.sees(COLLEAGUE)
    person.look()


def search_catalogue(walk: Walk) -> None:
    person = walk.person
    person.follow("Catalogue")
    for name in ("Shopify", "Stripe", "Xero", "QuickBooks Online"):
        person.sees(name)
    person.look("catalogue")
    person.choose("Data type", "Payouts")
    person.click("Search")
    person.sees("Shopify")
    person.sees_not("QuickBooks")
    person.fill("Search", "nothing has this name")
    person.click("Search")
    person.sees("No connector fits")
    person.follow("Show all")
    person.follow(re.compile("Shopify"))
    person.is_at("Shopify")
    person.sees("How to remove it")
    person.look("listing")


def connect_shop(walk: Walk) -> None:
    person = walk.person
    walk.month = trade(walk.shop)
    person.go(f"{walk.home}catalogue/shopify/")
    person.follow("Connect Shopify")
    person.sees("For how long")
    person.look("consent")
    person.fill("Shop address", SHOP)
    person.click("Agree and go on")
    person.look()
    person.follow("Continue to Shopify")
    person.page.get_by_text("Simulated Shopify").wait_for()
    person.click("Allow access")
    person.is_at("Kestrel & Co is connected")
    person.look()


def connect_ledger(walk: Walk) -> None:
    person = walk.person
    person.follow("Connect another system")
    person.follow(re.compile("Xero"))
    person.follow("Connect Xero")
    person.click("Agree and go on")
    person.follow("Continue to Xero")
    person.page.get_by_label(re.compile("Kestrel & Co Ltd")).check()
    person.click("Allow access")
    person.is_at("Kestrel & Co Ltd is connected")
    person.follow("Connections")
    person.sees("Kestrel & Co Ltd")
    person.look("connections")
    person.follow(re.compile("Kestrel & Co Ltd"))
    person.look()


def decide_source_of_truth(walk: Walk) -> None:
    person = walk.person
    person.follow("Source of truth")
    person.tick(re.compile("is the source of truth for orders"))
    person.click("Save")
    person.sees("Saved.")
    person.look("source-of-truth")


def add_flow(walk: Walk) -> None:
    person = walk.person
    person.follow("Flows")
    person.look()
    person.follow("Add a flow")
    person.look()
    person.follow(f"Set up {FLOW}")
    person.look()
    first, _ = past_month()
    person.fill("Start date", first.isoformat())
    person.click("Add this flow")
    person.is_at("Field mapping")
    walk.flow = person.path.removesuffix("mapping/")
