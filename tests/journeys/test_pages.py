"""Every page an owner can reach: for everybody, on a phone, in the dark, by keyboard, light, and within the security policy."""

from __future__ import annotations

import re

import pytest

from tests.journeys.addresses import seen_by
from tests.journeys.caller import Caller
from tests.journeys.journey import Journey
from tests.journeys.looking import Findings
from tests.journeys.person import Person, opened_browser

pytestmark = [pytest.mark.stack, pytest.mark.browser]


@pytest.fixture(scope="module")
def findings(journey: Journey) -> Findings:
    """What was seen on the journey, and on one page of every kind that it did not come past."""
    journey.walk()
    with Caller(journey.stack.url, journey.signed_in) as alice:
        pages = [
            path
            for path in seen_by(alice, journey.home).values()
            if "html" in (answer := alice.get(path)).headers.get("content-type", "") and answer.status_code == 200
        ]
    with opened_browser(journey.stack.url, journey.findings, signed_in=journey.signed_in) as person:
        for path in pages:
            if path not in journey.findings.looked_at:
                person.go(path)
                person.look()
        set_up_a_firm(person)
    return journey.findings


def set_up_a_firm(person: Person) -> None:
    """An accountant's own pages, which lie outside every business."""
    person.go("/businesses/")
    person.look("businesses")
    person.go("/firms/new/")
    person.look("new-firm")
    person.fill("Name of the firm", "Ashdown Bookkeeping")
    person.click("Set up the firm")
    person.sees("Ashdown Bookkeeping is set up.")
    person.tick("All of them")
    person.click("Take them in")
    person.sees("of Ashdown Bookkeeping now.")
    person.look("firm")
    person.follow("Firm’s trail")
    person.is_at(re.compile("trail", re.I))
    person.look("firm-trail")


def test_pages_are_accessible(findings: Findings) -> None:
    assert findings.accessibility == []


def test_pages_fit_a_phone(findings: Findings) -> None:
    assert findings.width == []


def test_pages_are_light(findings: Findings) -> None:
    assert findings.weight == []


def test_pages_keep_to_the_security_policy(findings: Findings) -> None:
    assert findings.policy == []


def test_pages_raise_no_errors_in_the_browser(findings: Findings) -> None:
    assert findings.errors == []


def test_skip_link_leads_past_the_navigation(journey: Journey) -> None:
    journey.walk()
    with opened_browser(journey.stack.url, signed_in=journey.signed_in) as person:
        person.go(f"{journey.home}records/")
        person.page.keyboard.press("Tab")
        assert person.page.evaluate("document.activeElement.textContent") == "Skip to the content"
        person.page.keyboard.press("Enter")
        person.page.keyboard.press("Tab")
        assert person.page.evaluate("document.querySelector('main').contains(document.activeElement)")
