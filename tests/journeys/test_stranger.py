"""Whoever does not belong to a business finds nothing there: not a page, not a form, not even that it exists."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.journeys.addresses import of_every_kind, seen_by
from tests.journeys.caller import Caller
from tests.journeys.journey import Journey
from tests.journeys.walk import COLLEAGUE

pytestmark = [pytest.mark.stack, pytest.mark.browser]


@pytest.fixture
def alice(journey: Journey) -> Iterator[Caller]:
    """The owner of a business with everything in it."""
    journey.walk()
    with Caller(journey.stack.url, journey.signed_in) as caller:
        yield caller


@pytest.fixture
def addresses(alice: Caller, journey: Journey) -> dict[str, str]:
    found = of_every_kind(seen_by(alice, journey.home))
    assert len(found) > 50
    return found


def test_stranger_gets_404(addresses: dict[str, str], journey: Journey) -> None:
    with Caller(journey.stack.url) as charlie:
        charlie.sign_up("Charlie", "charlie@example.com")
        answers = [(path, what_is_there(charlie, path)) for path in addresses.values()]
        nowhere = [path.replace(journey.home, "/o/no-such-business/") for path in addresses.values()]
        answers += [(path, what_is_there(charlie, path)) for path in nowhere]
    assert [(path, seen) for path, seen in answers if seen != (404, 404)] == []


def what_is_there(caller: Caller, path: str) -> tuple[int, int]:
    """What comes of looking and of sending a form. An address that takes only one of them, or only JSON, may say so before it looks
    who asks, and then says it for a business that does not exist, too."""
    looked, sent = caller.get(path).status_code, caller.post(path).status_code
    return 404 if looked == 405 else looked, 404 if sent in (405, 415) else sent


def test_owner_finds_what_a_stranger_does_not(addresses: dict[str, str], alice: Caller) -> None:
    """Otherwise a stranger's 404 would say nothing."""
    seen = {name: alice.get(path).status_code for name, path in addresses.items()}
    assert [name for name, status in seen.items() if status >= 500] == []
    assert {name for name, status in seen.items() if status == 404} <= {
        "rejected_row",
        "choose_organisation",
        "conflict",
    }


def test_nobody_is_sent_to_sign_in(addresses: dict[str, str], journey: Journey) -> None:
    with Caller(journey.stack.url) as nobody:
        answers = [(path, answer) for path in addresses.values() for answer in (nobody.get(path), nobody.post(path))]
    wrong = [(answer.request.method, path, answer.status_code) for path, answer in answers if not must_sign_in(answer)]
    assert wrong == []


def must_sign_in(answer: httpx.Response) -> bool:
    """A page leads to signing in, the API says that it wants to know who asks."""
    if answer.request.url.path.startswith("/api/"):
        return answer.status_code == 401
    return answer.status_code == 405 or answer.headers.get("location", "").startswith("/user/login/?next=")


def test_removed_member_gets_404_at_once(alice: Caller, journey: Journey) -> None:
    with Caller(journey.stack.url) as bob:
        invitation = bob.letter("invitations/")
        bob.sign_up("Bob", COLLEAGUE)
        accept = re.search(r'action="([^"]*/accept/)"', bob.get(invitation).text)
        assert accept
        assert bob.post(accept[1]).status_code == 302
        assert bob.get(journey.home).status_code == 200
        removal = re.findall(r'href="([^"]*/remove/)"', alice.get(f"{journey.home}members/").text)[-1]
        assert "Bob" in alice.get(removal).text
        assert alice.post(removal).status_code == 302
        assert bob.get(journey.home).status_code == 404
        assert bob.post(f"{journey.home}flows/").status_code == 404
