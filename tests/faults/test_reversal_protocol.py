"""Taking back step by step: killed between any two steps, overtaken, raced by staff; judged by the ledger's own book."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from connectors.sdk.streams import WritableStream
from connectors.testing import Simulator  # noqa: F401 -- named by the fixtures
from marketplace.core.models import WorkItem
from marketplace.core.work import claim_work, do_work, request_work
from marketplace.posting import reversal_running
from marketplace.posting.models import Reversal
from marketplace.posting.trial_balances import comparison_of
from tests.faults.conftest import Tell
from tests.faults.test_protocol import Killed, first, then, work_once
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures
from tests.posting.conftest import books, ledger, quickbooks  # noqa: F401 -- fixtures
from tests.posting.reversing import (
    DAY,
    again,
    close_books,
    confirm,
    held,
    lines_of,
    one_of_each,
    planned,
    staff_enter,
    taken,
    trial_balance,
)
from tests.posting.world import PLACED, Books, order

pytestmark = pytest.mark.faults

#: Each step of a slice: killed right before it and right after it.
STEPS = (
    "_doubt_unanswered",
    "_look_up",
    "_next_lines",
    "_sendable",
    "_intend",
    "_send",
    "_settle",
    "settle_records",
    "_close",
    "mark_taken_back",
    "_answered",
    "_settle_entry",
    "finish_reversal",
)


OF_REPORTS = ("_read_balance_before", "_read_balance_after", "_confirm_entries")


def die_once(ledger: Books, beside: Callable[..., Any], step: str) -> bool:  # noqa: F811
    """A worker that is killed at this step; answers whether it came that far."""
    left = [1]

    def die() -> None:
        if left:
            left.pop()
            raise Killed

    with beside(reversal_running, step, die), contextlib.suppress(Killed):
        work_once(ledger)
    ledger.let_quiet_time_pass()
    return not left


def test_worker_killed_at_any_step_loses_and_repeats_nothing(
    books: Books,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tell: Tell,
) -> None:
    """Two records at a time; half of them lie in a closed period and get entries against them."""
    monkeypatch.setattr(WritableStream, "void_batch_size", 2)
    monkeypatch.setattr(type(books_stream(books, "customer_payment")), "void_batch_size", 2)
    early = PLACED - dt.timedelta(days=5)
    books.take(*(order(number, placed_at=early if number % 2 else PLACED) for number in range(1001, 1025)))
    books.write()
    close_books(books, early.date())
    reversal = planned(books)
    confirm(books, reversal)
    points = [(beside, step) for step in STEPS for beside in (first, then)]
    killed = sum(die_once(books, beside, step) for beside, step in points)
    for _ in range(50):
        if again(books, reversal).state == Reversal.State.DONE:
            break
        work_once(books)
        books.let_quiet_time_pass()
    assert {state.split()[1] for state in lines_of(books, reversal).values()} == {"done"}
    assert set(Counter(taken(books)).values()) == {1}
    assert len(taken(books)) == 24
    assert trial_balance(books) == {}
    assert killed >= 20
    tell("C1", "taking back: kill -9 at each step", tried=killed, events=48)


@pytest.fixture(params=["xero", "quickbooks"])
def mixed(request: pytest.FixtureRequest) -> Books:
    """Every kind of entry twice: in a period that is closed by now, and in an open one."""
    found: Books = request.getfixturevalue({"xero": "books", "quickbooks": "quickbooks"}[request.param])
    one_of_each(found)
    one_of_each(found, DAY + dt.timedelta(days=5), "b")
    close_books(found, DAY)
    return found


def test_every_kind_of_entry_is_undone_once_wherever_workers_are_killed(mixed: Books, tell: Tell) -> None:
    """Those of the closed period by entries of up to three parts."""
    reversal = planned(mixed)
    confirm(mixed, reversal)
    points = [(beside, step) for step in (*STEPS, *OF_REPORTS) for beside in (first, then)]
    killed = sum(die_once(mixed, beside, step) for beside, step in points)
    for _ in range(30):
        if again(mixed, reversal).state == Reversal.State.DONE:
            break
        work_once(mixed)
        mixed.let_quiet_time_pass()
    told = Counter(lines_of(mixed, reversal).values())
    assert set(told) == {"void done", "entry done closed_period"}
    assert set(Counter(taken(mixed)).values()) == {1}
    assert trial_balance(mixed) == {}
    with mixed.simulator.lock:
        made = [line for line in mixed.simulator.ledger.after(0) if line["date"] == str(DAY + dt.timedelta(days=1))]
    assert set(Counter(line["reference"] for line in made if line["action"] == "create").values()) == {1}
    comparison = comparison_of(again(mixed, reversal).trial_balance, "GBP")
    assert comparison is not None and comparison.is_as_planned
    tell(
        "C1",
        f"taking every kind back: kill -9 at each step, {mixed.connection.connector}",
        tried=killed,
        events=len(made),
    )


def books_stream(ledger: Books, data_type: str) -> Any:  # noqa: F811
    from connectors.registry import connector  # noqa: PLC0415 -- where streams are found

    return connector(ledger.connection.connector).writable(data_type)


def test_nothing_is_taken_back_while_another_worker_writes_to_the_ledger(books: Books) -> None:  # noqa: F811
    books.take(order(1001))
    books.write()
    reversal = planned(books)
    WorkItem.objects.all().delete()
    request_work(tenant_id=books.owner.pk, kind="post", key=str(books.connection.pk))
    writer = claim_work()
    assert writer is not None
    confirm(books, reversal)
    while (claim := claim_work()) is not None:
        do_work(claim)
    assert taken(books) == []
    do_work(writer)
    assert len(taken(books)) == 2


def test_worker_overtaken_right_before_taking_back_sends_nothing(books: Books) -> None:  # noqa: F811
    books.take(order(1001))
    books.write()
    confirm(books, planned(books))

    def be_overtaken() -> None:
        WorkItem.objects.filter(kind="post").update(lease_token=uuid.uuid4())

    with first(reversal_running, "_send", be_overtaken):
        work_once(books)
    assert taken(books) == []


def test_what_staff_change_in_the_last_moment_is_not_taken_back(ledger: Books) -> None:  # noqa: F811
    """After it was read and found unchanged, before the request went out."""
    reversal = planned(ledger)
    confirm(ledger, reversal)
    invoice = held(ledger, "invoice", "#1001")

    def change() -> None:
        found = held(ledger, "invoice", "#1001")
        if found.status == "open" and found.date == invoice.date:
            staff_enter(ledger, msgspec.structs.replace(found, date=dt.date(2026, 10, 13), updated_at=None))

    with first(reversal_running, "_send", change):
        work_once(ledger)
    assert ("invoice", invoice.id) not in taken(ledger)
    assert lines_of(ledger, reversal)["invoice #1001"] == "void held stale"
    assert ledger.states()["#1001"] == "held taken_back_in_part"
