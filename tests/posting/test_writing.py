"""Writing under fire; the judge is the ledger's own book, never our tables."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import msgspec
import pytest
from pytest_django import Settings

from connectors.sdk.records import Company, Customer, LedgerAccount, encode
from connectors.testing import Simulator
from connectors.testing.faults import Fault
from marketplace.core.clock import now
from marketplace.core.models import WorkItem
from marketplace.core.work import LeaseLost, claim_work, do_work, handles, request_work
from marketplace.installations.models import Connection
from marketplace.posting.keys import marked, posting_key
from marketplace.posting.models import Posting, PostingBatch
from marketplace.posting.writing import write_postings
from tenants.context import tenant
from tenants.models import Tenant, User
from tests.cutover.world import store
from tests.posting.world import Books, open_books, order

CREATE = "* /api.xro/2.0/Invoices"


def references(books: Books, data_type: str = "invoice") -> list[str]:
    return sorted(str(line["number"]) for line in books.entries(data_type))


def test_posted_orders_stand_in_the_ledger_once_each_with_their_payments(books: Books) -> None:
    books.take(order(1001), order(1002, "60.00"))
    assert books.write() is None
    assert [(line["amount"], line["currency"]) for line in books.entries()] == [("120.00", "GBP"), ("60.00", "GBP")]
    assert len(books.entries("customer_payment")) == 2
    assert books.states() == {"#1001": "posted", "#1002": "posted"}


def test_writing_again_sends_nothing(books: Books) -> None:
    books.take(order(1001))
    books.write()
    calls = books.simulator.counts.total()
    books.plan()
    assert books.write() is None
    assert books.simulator.counts.total() == calls


def test_posting_keeps_the_request_and_the_answer(books: Books) -> None:
    books.take(order(1001))
    books.write()
    posting = books.postings()[0]
    with tenant(books.owner):
        batch = PostingBatch.objects.get(data_type="invoice")
    assert (posting.state, posting.external_id) == ("posted", str(books.entries()[0]["id"]))
    assert (batch.state, batch.size) == ("settled", 1)
    assert posting.reference in str(batch.request["body"])
    assert batch.answered_at is not None and batch.calls >= 1


def test_lost_answer_is_looked_up_and_never_sent_again(books: Books) -> None:
    books.take(order(1001), order(1002))
    books.simulator.faults.add(Fault(match=CREATE, kind="drop_after"))
    assert books.write() == dt.timedelta(0)
    assert {posting.state for posting in books.postings()} == {"uncertain"}
    assert books.states() == {"#1001": "pending", "#1002": "pending"}
    books.write()
    assert len(books.entries()) == 2
    assert books.states() == {"#1001": "posted", "#1002": "posted"}


def test_half_an_answer_counts_as_lost(books: Books) -> None:
    books.take(order(1001))
    books.simulator.faults.add(Fault(match=CREATE, kind="half_body"))
    books.write()
    books.write()
    assert len(books.entries()) == 1
    assert books.states() == {"#1001": "posted"}


def test_request_that_never_arrived_is_sent_again_only_after_a_quiet_time(books: Books) -> None:
    books.take(order(1001))
    books.simulator.faults.add(Fault(match=CREATE, kind="drop_before"))
    books.write()
    assert books.write() is not None  # looked up, not found, and too fresh to be sure
    assert books.entries() == []
    books.let_quiet_time_pass()
    books.write()
    assert len(books.entries()) == 1
    assert books.states() == {"#1001": "posted"}


def test_crash_between_intent_and_send_posts_once(books: Books) -> None:
    """A worker died right after it had committed what it was about to send."""
    books.take(order(1001))
    with tenant(books.owner):
        batch = PostingBatch.objects.create(
            connection=books.connection, data_type="invoice", key="k", request={"method": "", "path": "", "body": {}},
            request_digest="d", size=1, sent_at=books.flow.created_at - dt.timedelta(minutes=10),
        )  # fmt: skip
        Posting.objects.filter(data_type="invoice").update(state=Posting.State.SENDING, batch=batch)
    books.write()
    assert len(books.entries()) == 1
    assert books.states() == {"#1001": "posted"}


def test_crash_between_answer_and_commit_posts_once(books: Books) -> None:
    """The ledger holds it, our answer was never written down."""
    books.take(order(1001))
    books.write()
    with tenant(books.owner):
        PostingBatch.objects.filter(data_type="invoice").update(state=PostingBatch.State.SENDING)
        Posting.objects.filter(data_type="invoice").update(state=Posting.State.SENDING, external_id="")
    books.write()
    assert len(books.entries()) == 1
    assert books.postings()[0].external_id == str(books.entries()[0]["id"])


def test_ledger_that_asks_to_slow_down_leaves_everything_planned(books: Books) -> None:
    books.take(order(1001))
    books.simulator.faults.add(Fault(match=CREATE, kind="status", status=429, seconds=600, times=20))
    error = books.try_to_write()
    assert error.retry_in > dt.timedelta(minutes=5)
    assert books.entries() == []
    assert books.postings()[0].state == "planned"
    books.simulator.faults.clear()
    books.let_time_pass(error.retry_in)
    books.write()
    assert len(books.entries()) == 1


def test_ledger_in_trouble_may_have_written_so_it_is_asked_first(books: Books) -> None:
    books.take(order(1001))
    books.simulator.faults.add(Fault(match=CREATE, kind="status", status=503, times=20))
    books.write()
    assert books.postings()[0].state == "uncertain"
    books.simulator.faults.clear()
    books.let_quiet_time_pass()
    books.write()
    assert len(books.entries()) == 1
    assert books.states() == {"#1001": "posted"}


def test_one_refused_document_does_not_keep_the_others_out(books: Books) -> None:
    books.take(order(1001), order(1002), order(1003))
    with tenant(books.owner):
        refused = Posting.objects.get(number="1002", data_type="invoice")
        refused.document["lines"][0]["ledger_account"] = "999"
        refused.save(update_fields=["document"])
    books.write()
    assert references(books) == ["1001", "1003"]
    states = books.states()
    assert (states["#1001"], states["#1003"]) == ("posted", "posted")
    assert states["#1002"].split()[0] in ("held", "failed")
    outcome = books.outcome("#1002")
    assert "999" in outcome.reason
    assert outcome.next_step and outcome.owner == "bookkeeper"


def test_closed_period_is_held_with_whose_move_it_is(books: Books) -> None:
    """The books were closed after we had read the lists, so the ledger itself refuses."""
    company = Company(
        id="c", name="Kestrel", base_currency="GBP", country="GB", books_closed_until=dt.date(2026, 10, 31)
    )
    books.take(order(1001))
    books.simulator.plant(books.connection.organisation_id, [company], by="staff")
    books.write()
    assert books.entries() == []
    assert books.states() == {"#1001": "held closed_period"}


def test_account_archived_after_mapping_is_held(books: Books) -> None:
    books.take(order(1001))
    sales = LedgerAccount(id="200", code="200", name="Sales", kind="income", is_archived=True)
    books.simulator.plant(books.connection.organisation_id, [sales], by="staff")
    books.write()
    assert books.entries() == []
    assert books.states()["#1001"].startswith("held")


@pytest.mark.parametrize("amount", ["119.00", "120.001", "119.999"])
def test_total_the_ledger_makes_different_is_held_for_a_person(books: Books, amount: str) -> None:
    """However little it differs: a currency with three decimals loses its last one in a ledger that keeps two."""
    books.take(order(1001))
    with tenant(books.owner):
        Posting.objects.filter(data_type="invoice").update(amount=Decimal(amount))
    books.write()
    assert books.states() == {"#1001": "held total_differs"}
    assert books.outcome("#1001").reason == f"The ledger made it 120.00, we sent {amount}."


def test_payment_waits_for_its_invoice(books: Books) -> None:
    books.take(order(1001))
    with tenant(books.owner):
        refused = Posting.objects.get(data_type="invoice")
        refused.document["lines"][0]["ledger_account"] = "999"
        refused.save(update_fields=["document"])
    books.write()
    assert books.entries("customer_payment") == []
    assert books.postings("customer_payment")[0].state == "planned"


def test_paused_flow_writes_nothing(books: Books) -> None:
    books.take(order(1001))
    with tenant(books.owner):
        books.flow.is_paused = True
        books.flow.save()
    assert books.write() is None
    assert books.entries() == []


def test_connection_that_needs_reconnecting_is_not_written_to(books: Books) -> None:
    books.take(order(1001))
    with tenant(books.owner):
        Connection.objects.filter(pk=books.connection.pk).update(state="needs_reconnect")
    assert "reconnect" in str(books.try_to_write())
    assert books.entries() == []


def test_worker_that_lost_its_lease_sends_nothing(books: Books) -> None:
    books.take(order(1001))
    WorkItem.objects.all().delete()
    stolen = []

    @handles("stolen")
    def write_without_lease(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
        WorkItem.objects.filter(kind="stolen").update(lease_token=uuid.uuid4())
        try:
            write_postings(tenant_id=tenant_id, connection_id=uuid.UUID(key))
        except LeaseLost as error:
            stolen.append(error)
            raise
        return None

    request_work(tenant_id=books.owner.pk, kind="stolen", key=str(books.connection.pk))
    claim = claim_work()
    assert claim is not None
    do_work(claim)
    assert len(stolen) == 1
    assert books.entries() == []
    assert books.postings()[0].state == "planned"


def test_two_workers_cannot_send_the_same_posting(books: Books) -> None:
    """What was withdrawn or taken since it was chosen is not sent."""
    books.take(order(1001))
    with tenant(books.owner):
        Posting.objects.update(state=Posting.State.WITHDRAWN)
    assert books.write() is None
    assert books.entries() == []


@pytest.mark.parametrize("fault", ["drop_after", "drop_before"])
def test_lost_payment_answers_never_pay_twice(books: Books, fault: str) -> None:
    books.take(order(1001))
    books.simulator.faults.add(Fault(match="* /api.xro/2.0/Payments", kind=fault))  # type: ignore[arg-type]
    books.write()
    books.let_quiet_time_pass()
    books.write()
    assert len(books.entries("customer_payment")) == 1
    assert books.states() == {"#1001": "posted"}


def test_full_batches_are_sent_in_one_call(books: Books) -> None:
    books.take(*(order(2000 + number) for number in range(50)))
    books.write()
    assert len(books.entries()) == 50
    with tenant(books.owner):
        assert list(PostingBatch.objects.filter(data_type="invoice").values_list("size", flat=True)) == [50]


def test_update_of_what_changed_meanwhile_is_refused_and_nothing_is_overwritten(
    owner: Tenant, alice: User, simulators: dict[str, Simulator], settings: Settings
) -> None:
    """The version we know is not the ledger's any more: somebody edited the contact there."""
    settings.SIMULATOR_SPEED = 1000
    books = open_books(owner, alice, simulators["quickbooks"], template="customers", fields={})
    known = Customer(id="", name="Ada Hart", email="ada@example.com")
    book_contact(books, known, action="create")
    books.write()
    (created,) = books.postings("customer")
    theirs = Customer(id=created.external_id, name="Ada Hart", email="edited.there@example.com")
    books.simulator.plant(books.connection.organisation_id, [theirs], by="staff")
    ours = Customer(id="", name="Ada Hart", email="ours@example.com")
    book_contact(
        books, ours, action="update", external_id=created.external_id, external_version=created.external_version
    )
    books.write()
    update = books.postings("customer")[1]
    assert (update.state, books.entries("customer", "update")) == ("withdrawn", [])
    assert update.problem


def book_contact(books: Books, contact: Customer, *, action: str, **known: str) -> None:
    """A contact's posting as planning would have made it."""
    with tenant(books.owner):
        record = store(books.flow.source, Customer(id=f"c-{action}", name=contact.name))
        key = posting_key(
            tenant_id=books.owner.pk, flow_id=books.flow.pk, external_id=record.external_id, purpose=action, version=1
        )
        assert books.flow.mapping is not None
        Posting.objects.create(
            key=key, flow=books.flow, record=record, mapping=books.flow.mapping, purpose="customer", action=action,
            data_type="customer", document=msgspec.json.decode(encode(contact)), digest="d", state="planned",
            reference=marked("", key), occurred_on=dt.date(2026, 10, 10), amount=0, created_at=now(), **known,
        )  # fmt: skip
