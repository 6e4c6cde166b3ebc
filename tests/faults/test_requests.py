"""A request is made up, committed, and sent as it was committed; what keeps it from being made up is waited for, and said."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from pytest_django import Settings

from connectors.sdk import client as sdk
from connectors.sdk.client import parse_json
from connectors.sdk.exchange import exchange
from connectors.testing import Simulator
from connectors.testing.faults import Fault
from marketplace.core.models import WorkItem
from marketplace.posting.models import PostingBatch
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.faults.conftest import Tell
from tests.faults.test_protocol import batches, make_uncertain, work_once
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures
from tests.posting.conftest import QUICKBOOKS_FIELDS, books, quickbooks  # noqa: F401 -- fixtures
from tests.posting.world import Books, open_books, order

pytestmark = pytest.mark.faults

ANYWHERE = "POST /v3/company/"
#: What is asked for, or created, before the first request with documents is sent, and what its answer meets.
TROUBLE: dict[str, Fault] = {
    "items are not answered": Fault(match=ANYWHERE, contains="from Item", kind="status", status=429, times=99),
    "the customer is not looked up": Fault(match=ANYWHERE, contains="DisplayName in", kind="error_body", times=99),
    "the customer is not created": Fault(match=ANYWHERE, contains='"create"', kind="drop_before"),
    "it is not known whether the customer was created": Fault(match=ANYWHERE, contains='"create"', kind="drop_after"),
}


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies of all writes, as they are handed to the pool of connections."""
    sent: list[bytes] = []

    def noting(http: Any, method: str, url: str, **kwargs: Any) -> Any:
        if "Idempotency-Key" in kwargs["headers"] or "requestid" in kwargs.get("params", ()):
            sent.append(kwargs["content"])
        return exchange(http, method, url, **kwargs)

    monkeypatch.setattr(sdk, "exchange", noting)
    return sent


@pytest.fixture(params=["books", "quickbooks"], ids=["xero", "quickbooks"])
def ledger(request: pytest.FixtureRequest) -> Books:
    found: Books = request.getfixturevalue(request.param)
    return found


def committed(ledger: Books) -> list[Any]:
    with tenant_context(ledger.owner):
        return [batch.request["body"] for batch in PostingBatch.objects.order_by("sent_at")]


def test_what_was_committed_is_what_is_sent(ledger: Books, wire: list[bytes], tell: Tell) -> None:
    ledger.take(order(1001), order(1002, "60.00"))
    ledger.write()
    assert ledger.states() == {"#1001": "posted", "#1002": "posted"}
    documents = [content for content in wire if b" T-" in content]  # list entries bear no mark of ours
    assert [parse_json(content) for content in documents] == committed(ledger)
    tell("C1", f"committed requests compared with what was sent, {ledger.simulator.slug}", tried=len(wire), events=2)


def test_repeated_request_is_the_same_to_the_byte(books: Books, wire: list[bytes]) -> None:  # noqa: F811
    make_uncertain(books, "drop_before")
    books.let_quiet_time_pass()
    books.write()
    first, again, *_ = wire
    assert first == again
    assert batches(books)[0].request["body"] == parse_json(again)


@pytest.fixture
def newcomers(
    tenant: Tenant,
    alice: User,
    simulators: dict[str, Simulator],  # noqa: F811
    settings: Settings,
) -> Books:
    """A QuickBooks that does not know the customer yet, with an order planned."""
    settings.SIMULATOR_SPEED = 1000
    contact = {"contact": {"from": "constant", "value": "Customers of the new shop"}}
    opened = open_books(
        tenant, alice, simulators["quickbooks"], fields={**QUICKBOOKS_FIELDS, **contact}, organisation=1
    )
    opened.take(order(1001))
    return opened


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_while_a_request_is_made_up_is_waited_for_and_said(trouble: str, newcomers: Books, tell: Tell) -> None:
    newcomers.simulator.faults.add(TROUBLE[trouble])
    work_once(newcomers)
    work = WorkItem.objects.get(kind="post")
    assert work.attempts == 1 and "QuickBooks" in work.problem
    assert newcomers.entries() == [] and batches(newcomers) == []
    assert [(posting.state, posting.attempts) for posting in newcomers.postings()] == [("planned", 0)]
    newcomers.simulator.faults.clear()
    newcomers.let_time_pass(dt.timedelta(minutes=5))
    work_once(newcomers)
    assert newcomers.states() == {"#1001": "posted"}
    assert len(newcomers.entries()) == len(newcomers.entries("customer_payment")) == 1
    assert len(newcomers.entries("customer")) == 1
    tell("C6", "trouble while a request is made up, quickbooks", tried=1, events=1)
