"""Taking entries back: planned first, carried out once, proved by reading back; the trial balance is the one from before."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from connectors.testing.faults import Fault
from marketplace.audit.models import AuditEntry
from marketplace.core.clock import now
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow
from marketplace.posting.batches import UnableToPost
from marketplace.posting.models import Posting, PostingBatch, RecordOutcome, Reversal, ReversalLine
from marketplace.posting.proof import proof_of
from marketplace.posting.reversing import UnableToReverse, ask_for_reversal, discard_reversal, plan_again
from tenants.context import tenant
from tests.posting.reversing import (
    ALL,
    again,
    ask,
    confirm,
    lines_of,
    planned,
    states_of,
    taken,
    taken_back,
    trial_balance,
    work,
)
from tests.posting.world import PLACED, Books, order

VOID = "POST /api.xro/2.0/Invoices"
DELETE = "POST /api.xro/2.0/Payments/"


# --- the whole of it --------------------------------------------------------------------------------------------------


def test_trial_balance_is_the_one_from_before(ledger: Books) -> None:
    assert trial_balance(ledger)
    reversal = taken_back(ledger)
    assert set(lines_of(ledger, reversal).values()) == {"void done"}
    assert reversal.state == "done"
    assert trial_balance(ledger) == {}
    assert states_of(ledger) == [(data_type, "reversed") for data_type, _ in states_of(ledger)]


def test_payments_go_before_the_invoices_they_settle_and_each_goes_once(ledger: Books) -> None:
    taken_back(ledger)
    assert [data_type for data_type, _ in taken(ledger)] == ["customer_payment"] * 2 + ["invoice"] * 2
    assert len(set(taken(ledger))) == 4
    assert work(ledger) is None
    assert len(taken(ledger)) == 4


def test_plan_sends_nothing(ledger: Books) -> None:
    before = trial_balance(ledger)
    reversal = planned(ledger)
    assert reversal.state == "planned"
    work(ledger)
    assert (trial_balance(ledger), taken(ledger)) == (before, [])
    assert again(ledger, reversal).state == "planned"


def test_plan_says_what_it_does_to_each_ledger_account(books: Books) -> None:
    books.take(order(1001))
    books.write()
    reversal = planned(books)
    rows = {row["account"].split(" ", 1)[-1]: (row["before"], row["reversal"], row["after"]) for row in reversal.effect}
    assert {name: Decimal(after) for name, (_, _, after) in rows.items()} == dict.fromkeys(rows, Decimal(0))
    sales = next(row for name, row in rows.items() if "Sales" in name and "tax" not in name.lower())
    assert tuple(map(Decimal, sales)) == (Decimal(-100), Decimal(100), Decimal(0))


def test_record_waits_for_a_decision_and_the_proof_stays_whole(books: Books) -> None:
    books.take(order(1001), order(1002, "60.00"))
    books.write()
    taken_back(books, {"posting": books.postings()[0].pk})
    assert books.states() == {"#1001": "held taken_back", "#1002": "posted"}
    assert "Taken back by Alice on" in books.outcome("#1001").reason
    with tenant(books.owner):
        (day,) = proof_of(books.flow, PLACED.date(), PLACED.date())
    assert (day.counts["held"], day.counts["posted"], day.is_proved) == (1, 1, True)


def test_audit_trail_keeps_plan_confirmation_and_result(books: Books) -> None:
    books.take(order(1001))
    books.write()
    taken_back(books)
    with tenant(books.owner):
        acts = dict(AuditEntry.objects.filter(action__startswith="reversal.").values_list("action", "actor"))
    assert acts == {"reversal.planned": "Alice", "reversal.confirmed": "Alice", "reversal.done": "Tieout"}


@pytest.mark.parametrize("selection", ["batch", "written", "posting"])
def test_a_batch_a_period_or_one_entry_takes_back_all_of_its_records(books: Books, selection: str) -> None:
    books.take(order(1001))
    books.write()
    with tenant(books.owner):
        batch = PostingBatch.objects.get(data_type="customer_payment")
    today = now().date().isoformat()
    chosen: dict[str, dict[str, Any]] = {
        "batch": {"batch": str(batch.pk)},
        "written": {"by": "written", "first": today, "last": today},
        "posting": {"posting": books.postings()[0].pk},
    }
    taken_back(books, chosen[selection])
    assert trial_balance(books) == {}


def test_paused_flow_is_taken_back_all_the_same(books: Books) -> None:
    books.take(order(1001))
    books.write()
    with tenant(books.owner):
        Flow.objects.update(is_paused=True)
    assert taken_back(books).state == "done"
    assert trial_balance(books) == {}


# --- trouble on the way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drop_after", "half_body"])
@pytest.mark.parametrize("match", [VOID, DELETE])
def test_lost_answer_is_read_back(books: Books, kind: str, match: str) -> None:
    books.take(order(1001))
    books.write()
    books.simulator.faults.add(Fault(match=match, kind=kind))  # type: ignore[arg-type]
    reversal = taken_back(books)
    assert reversal.state == "done"
    assert (trial_balance(books), len(taken(books))) == ({}, 2)


def test_request_that_never_arrived_does_not_count_as_taken_back(books: Books) -> None:
    books.take(order(1001))
    books.write()
    reversal = planned(books)
    confirm(books, reversal)
    books.simulator.faults.add(Fault(match=VOID, kind="drop_before"))
    assert work(books) is not None
    assert [state for data_type, state in states_of(books) if data_type == "invoice"] == ["posted"]
    assert lines_of(books, reversal)["invoice #1001"] == "void uncertain"
    assert books.states() == {"#1001": "held being_taken_back"}
    books.let_quiet_time_pass()
    work(books)
    assert again(books, reversal).state == "done"
    assert len(taken(books)) == 2


def test_worker_that_died_after_its_intent_is_carried_on(books: Books) -> None:
    books.take(order(1001))
    books.write()
    reversal = planned(books)
    confirm(books, reversal)
    with tenant(books.owner):
        batch = PostingBatch.objects.create(
            connection=books.connection, data_type="customer_payment", action="void", key="k", request={},
            request_digest="d", size=1, sent_at=now() - dt.timedelta(minutes=1),
        )  # fmt: skip
        ReversalLine.objects.filter(posting__data_type="customer_payment").update(state="sending", batch=batch)
    work(books)
    assert again(books, reversal).state == "done"
    assert (trial_balance(books), len(taken(books))) == ({}, 2)
    with tenant(books.owner):
        assert set(PostingBatch.objects.values_list("state", flat=True)) == {"settled"}


def test_overloaded_ledger_is_waited_for(books: Books) -> None:
    books.take(order(1001))
    books.write()
    reversal = planned(books)
    confirm(books, reversal)
    books.simulator.faults.add(Fault(match=VOID, kind="status", status=429, seconds=70))
    with pytest.raises(UnableToPost) as caught:
        work(books)
    assert caught.value.retry_in == dt.timedelta(seconds=70)
    books.let_time_pass(caught.value.retry_in)
    work(books)
    assert again(books, reversal).state == "done"


def test_what_the_ledger_never_takes_back_is_left_to_a_person(books: Books) -> None:
    books.take(order(1001))
    books.write()
    reversal = planned(books)
    confirm(books, reversal)
    books.simulator.faults.add(Fault(match=VOID, kind="drop_before", times=100))
    for _ in range(7):
        work(books)
        books.let_quiet_time_pass()
    assert lines_of(books, reversal)["invoice #1001"] == "void held other"
    assert books.states() == {"#1001": "held taken_back_in_part"}
    assert again(books, reversal).state == "done"


# --- bad input --------------------------------------------------------------------------------------------------------


def test_empty_range_is_refused(books: Books) -> None:
    with pytest.raises(UnableToReverse, match="nothing to take back"):
        ask(books)


def test_reason_is_needed(books: Books) -> None:
    with tenant(books.owner), pytest.raises(UnableToReverse, match="Say why"):
        ask_for_reversal(flow=books.flow, selection=ALL, covers="all", reason=" ", user=books.user)


def test_disconnected_ledger_is_refused(books: Books) -> None:
    books.take(order(1001))
    books.write()
    with tenant(books.owner):
        Connection.objects.filter(pk=books.connection.pk).update(state="needs_reconnect")
        books.flow = Flow.objects.select_related("source", "target", "mapping").get(pk=books.flow.pk)
    with pytest.raises(UnableToReverse, match="Reconnect it first"):
        ask(books)


def test_what_was_taken_back_cannot_be_taken_back_again(books: Books) -> None:
    books.take(order(1001))
    books.write()
    reversal = taken_back(books)
    with pytest.raises(UnableToReverse, match="cannot be confirmed"):
        confirm(books, reversal)
    with pytest.raises(UnableToReverse, match="nothing to take back"):
        ask(books)


def test_two_plans_for_one_entry_are_not_both_carried_out(books: Books) -> None:
    books.take(order(1001))
    books.write()
    first, second = planned(books), planned(books)
    confirm(books, first)
    with pytest.raises(UnableToReverse, match="no longer as they were planned"):
        confirm(books, second)
    with tenant(books.owner):
        plan_again(reversal=second, user=books.user)
    work(books)
    assert len(taken(books)) == 2


def test_what_is_being_sent_is_not_taken_back(books: Books) -> None:
    books.take(order(1001), order(1002))
    books.write()
    with tenant(books.owner):
        Posting.objects.filter(data_type="customer_payment", record__number="#1001").update(state="uncertain")
    reversal = planned(books)
    assert lines_of(books, reversal)["customer_payment #1001"] == "keep planned being_sent"
    assert lines_of(books, reversal)["invoice #1001"] == "keep planned stays_together"


def test_discarded_plan_does_nothing(books: Books) -> None:
    books.take(order(1001))
    books.write()
    reversal = planned(books)
    with tenant(books.owner):
        discard_reversal(reversal=reversal, user=books.user)
    with pytest.raises(UnableToReverse):
        confirm(books, reversal)
    work(books)
    assert taken(books) == []


def test_plan_that_cannot_be_read_is_tried_again_and_says_why(books: Books) -> None:
    books.take(order(1001))
    books.write()
    books.simulator.faults.add(Fault(match="GET /api.xro/2.0/Invoices", kind="status", status=503, times=9))
    with pytest.raises(UnableToPost):
        planned(books)
    with tenant(books.owner):
        assert Reversal.objects.get().problem
        assert RecordOutcome.objects.get().state == "posted"
