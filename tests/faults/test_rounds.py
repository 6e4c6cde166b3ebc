"""A round: several requests intended together and sent one after the other. Whatever happens in its middle, judged by the ledger's book."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from django.db import transaction

from connectors.registry import connector
from connectors.sdk import client as sdk
from connectors.sdk.exchange import exchange
from connectors.sdk.records import Order
from connectors.testing.faults import Fault
from marketplace.core.models import WorkItem
from marketplace.core.work import request_work
from marketplace.cutover.operations import move_flow, pause_flow, resume_flow
from marketplace.installations.models import Connection
from marketplace.installations.operations import uninstall
from marketplace.mapping.models import Stage
from marketplace.posting import intent, rounds, writing
from marketplace.posting.batches import KeyUsedBefore, UnableToPost
from marketplace.posting.keys import documents_digest, request_key
from marketplace.posting.models import Posting, PostingBatch
from marketplace.posting.ready import drafts_of, ready_postings
from tenants.context import tenant as tenant_context
from tests.benchmarks.statements import counted
from tests.faults.conftest import Tell
from tests.faults.processes import wait_until
from tests.faults.test_protocol import (
    CREATE,
    LIST,
    Killed,
    batches,
    die,
    first,
    is_late,
    numbers,
    pause,
    then,
    work_once,
)
from tests.faults.test_queue import in_threads
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures
from tests.posting.conftest import books  # noqa: F401 -- a fixture
from tests.posting.world import Books, order

pytestmark = pytest.mark.faults

REQUESTS, EACH = 4, 2
ORDERS = [str(1001 + place) for place in range(REQUESTS * EACH)]


def invoiced(number: int) -> Order:
    """Nothing but an invoice comes of it."""
    return msgspec.structs.replace(order(number), payments=())


@pytest.fixture
def ledger(books: Books, monkeypatch: pytest.MonkeyPatch) -> Books:  # noqa: F811
    """Eight orders are planned, paid elsewhere; a request takes two invoices, so they are one round of four."""
    monkeypatch.setattr(type(connector("xero").writable("invoice")), "batch_size", EACH)
    books.take(*(invoiced(int(number)) for number in ORDERS))
    return books


def on_call(number: int, act: Callable[[], object]) -> Callable[[], None]:
    """Do it when this is called the time after so many."""
    calls = iter(range(1000))

    def counting() -> None:
        if next(calls) == number:
            act()

    return counting


def states(ledger: Books) -> dict[str, str]:
    return {posting.number: posting.state for posting in ledger.postings()}


def expected(**sizes: int) -> dict[str, str]:
    """So many orders in each state, in their order."""
    found = [state for state, size in sizes.items() for _ in range(size)]
    return dict(zip(ORDERS, found, strict=True))


def assert_all_there_once(ledger: Books) -> None:
    assert numbers(ledger) == ORDERS
    assert set(ledger.states().values()) == {"posted"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls to providers, in order, as they are handed to the pool of connections."""
    calls: list[str] = []

    def noting(http: Any, method: str, url: str, **kwargs: Any) -> Any:
        calls.append(f"{method} {urlsplit(url).path}")
        return exchange(http, method, url, **kwargs)

    monkeypatch.setattr(sdk, "exchange", noting)
    return calls


@pytest.mark.parametrize("answered", range(REQUESTS + 1))
def test_crash_after_some_requests_of_a_round_loses_and_repeats_nothing(
    answered: int, ledger: Books, asked: list[str], tell: Tell
) -> None:
    """After the last one, in the turn that settles them: in the first they were found, in the second intended."""
    where, call = ("_write", answered) if answered < REQUESTS else ("settle", 2)
    with first(writing, where, on_call(call, die)), pytest.raises(Killed):
        ledger.write()
    assert numbers(ledger) == ORDERS[: answered * EACH]
    assert set(states(ledger).values()) == {"sending"}
    ledger.let_quiet_time_pass()
    asked.clear()
    ledger.write()
    assert asked.count(LIST) == 1, "all of them are looked up together"
    assert_all_there_once(ledger)
    tell("C1", f"crash after {answered} of {REQUESTS} requests of a round", tried=1, events=len(ORDERS))


def test_ledger_that_asks_to_slow_down_in_the_middle_leaves_the_rest_planned(ledger: Books) -> None:
    ledger.simulator.faults.add(Fault(match=CREATE, kind="status", status=429, seconds=600, times=20, after=1))
    error = ledger.try_to_write()
    assert states(ledger) == expected(posted=EACH, planned=3 * EACH)
    assert [posting.attempts for posting in ledger.postings()] == [1] * 2 * EACH + [0] * 2 * EACH
    assert {batch.state for batch in batches(ledger)} == {"settled"}
    ledger.simulator.faults.clear()
    ledger.let_time_pass(error.retry_in)
    ledger.write()
    assert_all_there_once(ledger)


@pytest.mark.parametrize("has_arrived", [True, False])
def test_ledger_that_cannot_look_one_of_them_up_does_not_keep_the_others_undecided(
    has_arrived: bool, ledger: Books
) -> None:
    """The address of the joint question names the third order's reference, and so does that of its own."""
    where, act = ("settle", on_call(2, die)) if has_arrived else ("_write", die)
    with first(writing, where, act), pytest.raises(Killed):
        ledger.write()
    ledger.let_quiet_time_pass()
    (odd,) = [posting for posting in ledger.postings() if posting.number == ORDERS[2]]
    ledger.simulator.faults.add(Fault(match=LIST, kind="html", contains=odd.key[:8], times=99))
    ledger.write()
    held = {f"#{number}": "held unconfirmed" for number in ORDERS[2:4]}
    assert ledger.states() == {f"#{number}": "posted" for number in ORDERS} | held
    assert numbers(ledger) == (ORDERS if has_arrived else ORDERS[:2] + ORDERS[4:])
    ledger.simulator.faults.clear()
    ledger.write()
    assert_all_there_once(ledger)


@pytest.mark.parametrize("name", ["settle_written", "give_back"])
def test_crash_while_a_round_that_broke_off_is_written_down_loses_and_repeats_nothing(name: str, ledger: Books) -> None:
    ledger.simulator.faults.add(Fault(match=CREATE, kind="drop_after", after=1))
    with then(rounds, name, die), pytest.raises(Killed):
        ledger.write()
    assert states(ledger) == expected(sending=len(ORDERS))
    ledger.let_quiet_time_pass()
    ledger.write()
    assert_all_there_once(ledger)


def test_lost_answer_in_the_middle_leaves_one_request_unconfirmed_and_the_rest_planned(ledger: Books) -> None:
    ledger.simulator.faults.add(Fault(match=CREATE, kind="drop_after", after=1))
    ledger.write()
    assert states(ledger) == expected(posted=EACH, uncertain=EACH, planned=2 * EACH)
    ledger.write()
    assert_all_there_once(ledger)


def test_error_nobody_expected_in_the_middle_keeps_the_answers_before_it(ledger: Books) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with first(writing, "_write", on_call(1, fail)), pytest.raises(ZeroDivisionError):
        ledger.write()
    assert states(ledger) == expected(posted=EACH, sending=EACH, planned=2 * EACH)
    ledger.let_quiet_time_pass()
    ledger.write()
    assert_all_there_once(ledger)


def test_worker_overtaken_in_the_middle_sends_nothing_more_and_writes_nothing_down(ledger: Books) -> None:
    def be_overtaken() -> None:
        WorkItem.objects.filter(kind="post").update(lease_token=uuid.uuid4())

    with first(writing, "_write", on_call(1, be_overtaken)):
        work_once(ledger)
    assert numbers(ledger) == ORDERS[:EACH]
    assert states(ledger) == expected(sending=len(ORDERS))
    ledger.let_quiet_time_pass()
    ledger.write()
    assert_all_there_once(ledger)


def test_slice_that_ends_in_the_middle_leaves_the_rest_as_if_never_chosen(
    ledger: Books, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(writing, "slice_is_over", lambda: True)
        ledger.write()
    assert states(ledger) == expected(posted=EACH, planned=3 * EACH)
    asked.clear()
    ledger.write()
    assert LIST not in asked  # nothing had to be looked up
    assert_all_there_once(ledger)


def test_request_that_comes_too_late_in_its_round_is_not_sent(ledger: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intent, "SEND_WITHIN_SECONDS", 1.0)
    with first(writing, "_write", on_call(1, lambda: wait_until(lambda: is_late(ledger), "the deadline passing"))):
        ledger.write()
    assert numbers(ledger) == ORDERS[:EACH]
    assert states(ledger) == expected(posted=EACH, uncertain=EACH, planned=2 * EACH)


def withdraw(ledger: Books, number: str) -> None:
    with tenant_context(ledger.owner):
        Posting.objects.filter(number=number).update(state="withdrawn")


def test_posting_withdrawn_before_its_round_is_committed_keeps_only_its_own_request_back(ledger: Books) -> None:
    """The other one of its request is chosen again."""
    with first(writing, "_commit_intents", on_call(1, lambda: withdraw(ledger, ORDERS[2]))):
        ledger.write()
    assert numbers(ledger) == [number for number in ORDERS if number != ORDERS[2]]
    assert sorted(batch.size for batch in batches(ledger)) == [1, 2, 2, 2]


def test_flow_paused_before_a_round_is_committed_sends_nothing(ledger: Books) -> None:
    with first(writing, "_commit_intents", on_call(1, lambda: pause(ledger, is_paused=True))):
        ledger.write()
    assert ledger.entries() == [] and batches(ledger) == []


def stop_by_pausing(ledger: Books) -> None:
    with tenant_context(ledger.owner):
        pause_flow(flow=ledger.flow, user=ledger.user)


def stop_by_a_step_back(ledger: Books) -> None:
    with tenant_context(ledger.owner):
        move_flow(flow=ledger.flow, to_stage=Stage.PARALLEL, user=ledger.user, today=ledger.flow.start_date)


def stop_by_disconnecting(ledger: Books) -> None:
    with tenant_context(ledger.owner):
        uninstall(connection=ledger.connection, user=ledger.user)


@pytest.mark.parametrize("stop", [stop_by_pausing, stop_by_a_step_back, stop_by_disconnecting])
def test_stop_in_the_middle_of_a_round_keeps_the_next_request_back(
    stop: Callable[[Books], None], ledger: Books
) -> None:
    """Before its first byte, and of those that follow no byte either."""
    with first(writing, "_write", on_call(1, lambda: stop(ledger))):
        work_once(ledger)
    assert numbers(ledger) == ORDERS[:EACH]
    assert states(ledger) == expected(posted=EACH, planned=3 * EACH)
    assert [posting.attempts for posting in ledger.postings()] == [1] * EACH + [0] * 3 * EACH
    assert {batch.state for batch in batches(ledger)} == {"settled"}


def test_flow_paused_in_the_middle_of_a_round_goes_on_without_a_look_once_it_is_resumed(
    ledger: Books, asked: list[str]
) -> None:
    with first(writing, "_write", on_call(1, lambda: stop_by_pausing(ledger))):
        work_once(ledger)
    asked.clear()
    with tenant_context(ledger.owner):
        resume_flow(flow=ledger.flow, user=ledger.user)
    work_once(ledger)
    assert LIST not in asked  # nothing had to be looked up
    assert_all_there_once(ledger)


def test_writer_that_is_asked_for_more_looks_and_goes_on(ledger: Books) -> None:
    def ask() -> None:
        request_work(tenant_id=ledger.owner.pk, kind="post", key=str(ledger.connection.pk))

    with first(writing, "_write", on_call(1, ask)):
        work_once(ledger)
    assert_all_there_once(ledger)


def test_repeat_that_is_paused_right_before_its_first_byte_stays_unconfirmed(ledger: Books) -> None:
    ledger.simulator.faults.add(Fault(match=CREATE, kind="drop_before"))
    work_once(ledger)
    assert states(ledger) == expected(uncertain=EACH, planned=3 * EACH)
    ledger.let_quiet_time_pass()
    with first(writing, "_write", lambda: stop_by_pausing(ledger)):
        work_once(ledger)
    assert ledger.entries() == []
    assert states(ledger) == expected(uncertain=EACH, planned=3 * EACH)


def test_posting_that_somebody_is_changing_is_passed_over_and_not_waited_for(
    transactional_db: None, ledger: Books
) -> None:
    """Whoever plans holds postings and then asks for the work whose lease we hold: waiting for each other would end neither."""
    is_held, may_go_on = threading.Event(), threading.Event()

    def change() -> None:
        with tenant_context(ledger.owner), transaction.atomic():
            Posting.objects.select_for_update().get(number=ORDERS[2])
            is_held.set()
            may_go_on.wait(timeout=30)

    (planner,) = in_threads(1, change)
    is_held.wait(timeout=30)
    try:
        assert ledger.write() == writing.CHOOSE_AGAIN
        assert numbers(ledger) == [number for number in ORDERS if number not in ORDERS[2:4]]
    finally:
        may_go_on.set()
        planner.join()
    ledger.write()
    assert_all_there_once(ledger)


def test_key_of_another_request_in_the_middle_keeps_only_that_request_back(ledger: Books) -> None:
    with tenant_context(ledger.owner):
        second = ready_postings(ledger.connection, "invoice", 100)[EACH : 2 * EACH]
        key = request_key(documents_digest(drafts_of(second, ledger.connection)), [0] * EACH)
        PostingBatch.objects.create(
            connection=ledger.connection, data_type="invoice", key=key, request={}, request_digest="of other documents",
            state="settled", size=EACH, sent_at=ledger.flow.created_at,
        )  # fmt: skip
    with pytest.raises(KeyUsedBefore):
        ledger.write()
    assert numbers(ledger) == ORDERS[:EACH] + ORDERS[2 * EACH :]
    assert Counter(states(ledger).values()) == {"posted": 3 * EACH, "planned": EACH}


def test_connection_that_ended_is_noticed_by_the_next_round(ledger: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROUND", 1)

    def disconnect() -> None:
        with tenant_context(ledger.owner):
            Connection.objects.filter(pk=ledger.connection.pk).update(state="disconnected")

    with first(writing, "_turn", on_call(2, disconnect)), pytest.raises(UnableToPost):
        ledger.write()
    assert numbers(ledger) == ORDERS[:EACH]
    assert states(ledger) == expected(posted=EACH, planned=3 * EACH)


def test_another_request_of_a_round_costs_one_statement(ledger: Books) -> None:
    """The check of lease and deadline right before its first byte, and nothing else."""

    def cost() -> int:
        with counted() as statements:
            ledger.write()
        return statements.total

    four = cost()
    ledger.take(*(invoiced(2001 + place) for place in range(2 * len(ORDERS))))
    assert cost() - four == REQUESTS
