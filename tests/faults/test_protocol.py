"""The posting protocol step by step: every way in which a request and its answer can miss each other, judged by the ledger's book."""

from __future__ import annotations

import datetime as dt
import html
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from django.db import connection as database
from django.test import Client
from pytest_django import Settings

from connectors.sdk.records import Customer, Invoice
from connectors.sdk.streams import Draft
from connectors.testing import Simulator
from connectors.testing.faults import Fault, Kind
from marketplace.core.clock import shared_now
from marketplace.core.models import WorkItem
from marketplace.core.work import claim_work, do_work, request_work
from marketplace.posting import intent, looking_again, uncertain, writing
from marketplace.posting.batches import KeyUsedBefore
from marketplace.posting.decisions import UnableToDecide, accept, exclude, post_again
from marketplace.posting.keys import documents_digest, request_key
from marketplace.posting.models import Posting, PostingBatch, RecordOutcome
from marketplace.posting.ready import drafts_of, ready_postings
from marketplace.posting.settling import refresh_outcomes
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.faults.conftest import Tell
from tests.faults.processes import wait_until
from tests.faults.test_queue import in_threads
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures
from tests.posting.conftest import books  # noqa: F401 -- a fixture
from tests.posting.test_writing import book_contact
from tests.posting.world import Books, open_books, order

pytestmark = pytest.mark.faults

LATER = {
    "91 minutes": dt.timedelta(minutes=91),
    "25 hours": dt.timedelta(hours=25),
    "46 days": dt.timedelta(days=46),
}
CREATE, LIST = "PUT /api.xro/2.0/Invoices", "GET /api.xro/2.0/Invoices"


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


def die(*args: Any, **kwargs: Any) -> None:
    raise Killed


def first(owner: Any, name: str, act: Callable[[], object]) -> AbstractContextManager[None]:
    """While the block runs, `act` happens right before each call of the named function."""
    return _beside(owner, name, act, lambda: None)


def then(owner: Any, name: str, act: Callable[[], object]) -> AbstractContextManager[None]:
    """While the block runs, `act` happens right after each call of the named function."""
    return _beside(owner, name, lambda: None, act)


@contextmanager
def _beside(module: Any, name: str, before: Callable[[], object], after: Callable[[], object]) -> Iterator[None]:
    original = getattr(module, name)

    def acting(*args: Any, **kwargs: Any) -> Any:
        before()
        result = original(*args, **kwargs)
        after()
        return result

    setattr(module, name, acting)
    try:
        yield
    finally:
        setattr(module, name, original)


def work_once(ledger: Books) -> None:
    """As a worker does, under a lease."""
    WorkItem.objects.all().delete()
    request_work(tenant_id=ledger.owner.pk, kind="post", key=str(ledger.connection.pk))
    claim = claim_work()
    assert claim is not None
    do_work(claim)


def batches(ledger: Books, data_type: str = "invoice") -> list[PostingBatch]:
    with tenant_context(ledger.owner):
        return list(PostingBatch.objects.filter(data_type=data_type).order_by("sent_at"))


def numbers(ledger: Books) -> list[str]:
    return sorted(str(line["number"]).removeprefix("#") for line in ledger.entries())


def make_uncertain(ledger: Books, kind: Kind) -> None:
    """An order is sent, and its answer lost, with or without the ledger having it."""
    ledger.take(order(1001))
    ledger.simulator.faults.add(Fault(match=CREATE, kind=kind))
    ledger.write()


# ---------------------------------------------------------------------------------- right before the first byte


def test_worker_overtaken_between_its_intent_and_its_first_byte_sends_nothing(books: Books) -> None:  # noqa: F811
    books.take(order(1001))

    def be_overtaken() -> None:
        WorkItem.objects.filter(kind="post").update(lease_token=uuid.uuid4())

    with first(writing, "_write", be_overtaken):
        work_once(books)
    assert books.entries() == []


def test_worker_overtaken_while_it_waited_for_the_allowance_sends_nothing(books: Books) -> None:  # noqa: F811
    books.take(order(1001))

    def be_overtaken() -> None:
        WorkItem.objects.filter(kind="post").update(lease_token=uuid.uuid4())

    from marketplace.installations.budget import SharedBudget  # noqa: PLC0415 -- what is waited for

    with first(SharedBudget, "_wait_for", be_overtaken):
        work_once(books)
    assert books.entries() == []


def test_worker_overtaken_while_it_waited_for_the_answer_writes_nothing_down(books: Books) -> None:  # noqa: F811
    """Whoever took over has looked it up, and may have decided otherwise since."""
    books.take(order(1001))

    def be_overtaken() -> None:
        WorkItem.objects.filter(kind="post").update(lease_token=uuid.uuid4())

    with then(writing, "_write", be_overtaken):
        work_once(books)
    assert numbers(books) == ["1001"]
    assert [posting.state for posting in books.postings()] == ["sending"]


def test_intent_that_was_not_acted_on_in_time_is_looked_up_and_not_sent(
    books: Books,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    books.take(order(1001))
    monkeypatch.setattr(intent, "SEND_WITHIN_SECONDS", 0.05)
    with first(writing, "_write", lambda: wait_until(lambda: is_late(books), "the deadline passing")):
        books.write()
    assert books.entries() == []
    assert books.postings()[0].state == "uncertain"
    monkeypatch.undo()
    books.let_quiet_time_pass()
    books.write()
    assert numbers(books) == ["1001"]
    assert books.states() == {"#1001": "posted"}


def is_late(ledger: Books) -> bool:
    with database.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp() > %s", [batches(ledger)[0].deadline_at])
        return bool(cursor.fetchone()[0])


def test_deadline_ends_within_the_ledgers_memory_of_a_key(books: Books) -> None:  # noqa: F811
    books.take(order(1001))
    books.write()
    (batch,) = batches(books)
    lasts = batch.deadline_at - batch.intended_at
    assert dt.timedelta(0) < lasts <= intent.key_lasts(books.connection)


# ---------------------------------------------------------------------------------- intent, key, look-up


def test_crash_after_the_send_repeats_nothing_although_more_came_since(books: Books) -> None:  # noqa: F811
    books.take(order(1001))
    with then(writing, "_send", die), pytest.raises(Killed):
        books.write()
    books.take(order(1002))
    books.let_quiet_time_pass()
    books.write()
    assert numbers(books) == ["1001", "1002"]
    assert books.states() == {"#1001": "posted", "#1002": "posted"}


def test_key_that_stands_for_another_request_is_refused(books: Books) -> None:  # noqa: F811
    books.take(order(1001))
    with tenant_context(books.owner):
        ready = ready_postings(books.connection, "invoice", 1)
        digest = documents_digest(drafts_of(ready, books.connection))
        PostingBatch.objects.create(
            connection=books.connection, data_type="invoice", key=request_key(digest, [0]), request={},
            request_digest="of other documents", state="settled", size=1, sent_at=books.flow.created_at,
        )  # fmt: skip
    with pytest.raises(KeyUsedBefore):
        books.write()
    assert books.entries() == []


def test_other_documents_and_another_round_have_another_key() -> None:
    ada, bob = Customer(id="", name="Ada Hart"), Customer(id="", name="Bob Hart")
    draft = Draft(key="K", reference="1001 T-K", document=ada)
    variants = [draft, replace(draft, document=bob), replace(draft, as_draft=True), replace(draft, key="L")]
    keys = {request_key(documents_digest([one]), [round]) for one in variants for round in (0, 1)}
    assert len(keys) == 2 * len(variants)
    assert all(len(key) <= 50 for key in keys)


@pytest.mark.parametrize("time", LATER)
@pytest.mark.parametrize("kind", ["drop_after", "drop_before"])
def test_unconfirmed_invoice_at_xero_is_decided_however_much_later(
    kind: Kind,
    time: str,
    books: Books,  # noqa: F811
    tell: Tell,
) -> None:
    """Xero has forgotten the key, so only what it shows counts; a request that is not there gets a fresh key."""
    make_uncertain(books, kind)
    (before,) = batches(books)
    books.let_time_pass(LATER[time])
    books.write()
    assert numbers(books) == ["1001"]
    assert books.states() == {"#1001": "posted"}
    assert ({batch.key for batch in batches(books)} == {before.key}) is (kind == "drop_after")
    tell("C1", f"unconfirmed for {time}, xero", tried=1, events=1)


@pytest.mark.parametrize("time", LATER)
@pytest.mark.parametrize("kind", ["drop_after", "drop_before"])
def test_unconfirmed_customer_at_quickbooks_is_decided_however_much_later(
    kind: Kind,
    time: str,
    tenant: Tenant,
    alice: User,
    simulators: dict[str, Simulator],  # noqa: F811
    settings: Settings,
    tell: Tell,
) -> None:
    """QuickBooks knows the key for a day."""
    settings.SIMULATOR_SPEED = 1000
    opened = open_books(tenant, alice, simulators["quickbooks"], template="customers", fields={})
    book_contact(opened, Customer(id="", name="Ada Hart", email="ada@example.com"), action="create")
    opened.simulator.faults.add(Fault(match="POST /v3/company/", kind=kind))
    opened.write()
    (before,) = batches(opened, "customer")
    opened.let_time_pass(LATER[time])
    opened.write()
    assert len(opened.entries("customer")) == 1
    assert [posting.state for posting in opened.postings("customer")] == ["posted"]
    is_known = kind == "drop_after" or LATER[time] < intent.key_lasts(opened.connection)
    assert ({batch.key for batch in batches(opened, "customer")} == {before.key}) is is_known
    tell("C1", f"unconfirmed for {time}, quickbooks", tried=1, events=1)


def test_refused_repeat_leaves_open_what_became_of_the_first_request(books: Books) -> None:  # noqa: F811
    """Had it been planned again, it would go out with what came since: another request to the ledger, and the late one a second entry."""
    make_uncertain(books, "drop_before")
    books.let_quiet_time_pass()
    books.simulator.faults.add(Fault(match=CREATE, kind="status", status=429, seconds=600, times=20))
    books.try_to_write()
    books.take(order(1002))
    books.simulator.faults.clear()
    books.let_quiet_time_pass()
    books.write()
    assert {batch.size for batch in batches(books)} == {1}
    assert numbers(books) == ["1001", "1002"]
    assert {posting.number: posting.attempts for posting in books.postings()} == {"1001": 3, "1002": 1}


def test_request_is_not_repeated_while_a_worker_stands_still_in_the_middle_of_sending_it(
    transactional_db: None,
    books: Books,  # noqa: F811
) -> None:
    make_uncertain(books, "drop_before")
    (batch,) = batches(books)
    is_stopped, may_go_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        gate = intent.Gate()
        with gate.open_for(batch), gate():
            is_stopped.set()
            may_go_on.wait(timeout=30)
        gate.close()

    (sender,) = in_threads(1, stand_still)
    is_stopped.wait(timeout=30)
    try:
        books.let_time_pass(dt.timedelta(days=1))
        assert books.write() is not None
        assert books.entries() == []
        assert books.states() == {"#1001": "held unconfirmed"}
        with tenant_context(books.owner), pytest.raises(UnableToDecide):
            post_again(outcome_ids=[books.outcome("#1001").pk], user=books.user)
    finally:
        may_go_on.set()
        sender.join()
    books.write()
    assert numbers(books) == ["1001"]
    assert books.states() == {"#1001": "posted"}


def test_request_that_arrives_while_the_ledger_is_asked_is_not_taken_for_absent(
    transactional_db: None,
    books: Books,  # noqa: F811
) -> None:
    """Its worker stood still right before the first byte, and goes on once the ledger has said that there is nothing."""
    make_uncertain(books, "drop_before")
    (batch,) = batches(books)
    is_stopped, may_go_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        gate = intent.Gate()
        with gate.open_for(batch), gate():
            is_stopped.set()
            may_go_on.wait(timeout=30)
        gate.close()

    (sender,) = in_threads(1, stand_still)
    is_stopped.wait(timeout=30)

    def go_on() -> None:
        may_go_on.set()
        sender.join()

    books.let_time_pass(LATER["91 minutes"])
    with then(uncertain, "_found", go_on):
        assert books.write() is not None
    assert books.entries() == []
    assert [posting.state for posting in books.postings()] == ["uncertain"]
    books.write()
    assert numbers(books) == ["1001"]


# ---------------------------------------------------------------------------------- paused, or for a person


def pause(ledger: Books, *, is_paused: bool) -> None:
    with tenant_context(ledger.owner):
        ledger.flow.is_paused = is_paused
        ledger.flow.save(update_fields=["is_paused"])


def test_paused_flow_learns_what_became_of_its_last_request(books: Books) -> None:  # noqa: F811
    make_uncertain(books, "drop_after")
    pause(books, is_paused=True)
    books.write()
    assert [posting.state for posting in books.postings()] == ["posted"]


def test_paused_flow_repeats_nothing_before_it_goes_on(books: Books) -> None:  # noqa: F811
    make_uncertain(books, "drop_before")
    pause(books, is_paused=True)
    books.let_quiet_time_pass()
    assert books.write() is not None
    assert books.entries() == []
    pause(books, is_paused=False)
    books.write()
    assert numbers(books) == ["1001"]


def copy_entry(ledger: Books) -> str:
    """Staff copy the invoice, with our reference in it. Answers the copy's id."""
    (line,) = ledger.entries()
    posting = ledger.postings()[0]
    copied = msgspec.structs.replace(
        msgspec.convert({**posting.document, "reference": posting.reference}, Invoice, strict=False),
        id="", number=f"{line['number']} copy",
    )  # fmt: skip
    (id,) = ledger.simulator.plant(ledger.connection.organisation_id, [copied], by="staff")
    return id


def hold(ledger: Books) -> RecordOutcome:
    """The ledger has two entries with our reference."""
    make_uncertain(ledger, "drop_after")
    copy_entry(ledger)
    ledger.write()
    return ledger.outcome("#1001")


def test_two_entries_with_our_reference_are_held_for_a_person_who_accepts(books: Books) -> None:  # noqa: F811
    outcome = hold(books)
    assert (outcome.state, outcome.reason_code, outcome.owner) == ("held", "unconfirmed", "bookkeeper")
    assert "2 entries" in outcome.reason and books.postings()[0].reference in outcome.next_step
    assert books.entries("customer_payment") == []
    with tenant_context(books.owner):
        assert accept(outcome_ids=[outcome.pk], reason="I deleted the copy.", user=books.user) == 1
    books.write()
    assert len(books.entries()) == len(books.entries("customer_payment")) == 1
    assert {batch.state for batch in batches(books)} == {"settled"}
    assert books.states() == {"#1001": "posted"}


def make_late(ledger: Books) -> None:
    """A request is given up and sent under a fresh key; then the first one arrives as well."""
    make_uncertain(ledger, "drop_before")
    ledger.let_time_pass(LATER["91 minutes"])
    ledger.write()
    assert ledger.states() == {"#1001": "posted"}
    copy_entry(ledger)


def look_once(ledger: Books) -> None:
    """As a worker does, once it is due."""
    wanted = WorkItem.objects.filter(kind="look_again")
    assert (wanted.get().due_at - shared_now()).total_seconds() < 15 * 60
    WorkItem.objects.exclude(kind="look_again").delete()
    wanted.update(due_at=shared_now())
    claim = claim_work()
    assert claim is not None
    do_work(claim)


def test_entry_that_is_there_twice_after_all_is_found_within_minutes_and_shown(
    books: Books,  # noqa: F811
    alice_client: Client,
    tell: Tell,
) -> None:
    make_late(books)
    look_once(books)
    outcome = books.outcome("#1001")
    assert (outcome.state, outcome.reason_code, outcome.owner) == ("held", "entered_twice", "bookkeeper")
    assert "Xero has 2 entries" in outcome.reason and books.postings()[0].reference in outcome.next_step
    assert outcome.reason in html.unescape(alice_client.get("/o/kestrel/issues/").content.decode())
    with tenant_context(books.owner):
        refresh_outcomes([posting.pk for posting in Posting.objects.all()])
    assert books.states() == {"#1001": "held entered_twice"}
    with tenant_context(books.owner):
        assert accept(outcome_ids=[outcome.pk], reason="I deleted the copy.", user=books.user) == 1
    look_once(books)
    assert books.states() == {"#1001": "posted accepted_by_person"}
    tell("C1", "a request that arrives after it was given up", tried=1, events=1)


def test_entry_that_went_out_twice_and_is_there_once_is_left_alone_and_not_looked_for_for_ever(books: Books) -> None:  # noqa: F811
    make_uncertain(books, "drop_before")
    books.let_time_pass(LATER["91 minutes"])
    books.write()
    look_once(books)
    assert books.states() == {"#1001": "posted"}
    assert WorkItem.objects.filter(kind="look_again").exists()
    books.let_time_pass(looking_again.WATCHED)
    look_once(books)
    assert not WorkItem.objects.filter(kind="look_again").exists()


def test_held_request_is_posted_again_only_when_a_person_says_that_it_is_not_there(books: Books) -> None:  # noqa: F811
    outcome = hold(books)
    with tenant_context(books.owner):
        with pytest.raises(UnableToDecide):
            exclude(outcome_ids=[outcome.pk], reason="Not ours.", user=books.user)
        post_again(outcome_ids=[outcome.pk], user=books.user)
    books.plan()
    (before,) = batches(books)
    books.write()
    assert {batch.key for batch in batches(books)} > {before.key}


def test_look_up_that_decides_after_all_needs_nobody(books: Books) -> None:  # noqa: F811
    """Looking up failed for good, so a person was asked; it works again before anybody decided."""
    make_uncertain(books, "drop_after")
    books.simulator.faults.add(Fault(match=LIST, kind="html", times=9))
    books.write()
    assert books.states() == {"#1001": "held unconfirmed"}
    books.simulator.faults.clear()
    books.write()
    assert books.states() == {"#1001": "posted"}
    assert len(books.entries()) == 1


def test_look_up_that_fails_for_long_is_shown_to_a_person(books: Books) -> None:  # noqa: F811
    make_uncertain(books, "drop_after")
    books.simulator.faults.add(Fault(match=LIST, kind="status", status=503, times=99))
    books.try_to_write()
    assert books.states() == {"#1001": "pending"}
    books.let_time_pass(dt.timedelta(minutes=20))
    books.try_to_write()
    assert books.states() == {"#1001": "held unconfirmed"}
    with tenant_context(books.owner):
        assert Posting.objects.filter(state="uncertain").count() == 1
