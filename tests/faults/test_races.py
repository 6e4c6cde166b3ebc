"""Two workers at the same rows in the same moment, step by step."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection

from connectors.testing.faults import Fault
from marketplace.core import work
from marketplace.core.models import WorkItem
from marketplace.posting import tasks
from marketplace.posting.models import Posting, PostingBatch
from marketplace.sync.models import StreamState
from tenants.context import tenant
from tests.faults.processes import wait_until
from tests.faults.test_queue import in_threads
from tests.faults.world import work_quietly
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures
from tests.posting.conftest import books  # noqa: F401 -- a fixture
from tests.posting.world import PLACED, Books, arrive, order, read_as

pytestmark = pytest.mark.faults

CREATE = "* /api.xro/2.0/Invoices"
LATER = timedelta(milliseconds=200)  # when planning has found nothing to plan


@contextmanager
def being_sent(ledger: Books) -> Iterator[None]:
    """Another worker commits the intent to send everything planned, as soon as somebody waits for those rows."""
    is_taken = threading.Event()

    def send() -> None:
        try:
            with tenant(ledger.owner):
                Posting.objects.filter(state=Posting.State.PLANNED).update(state=Posting.State.SENDING)
                is_taken.set()
                wait_until(somebody_waits_for_us, "the planner waiting for the writer")
        finally:
            connection.close()

    writer = threading.Thread(target=send)
    writer.start()
    is_taken.wait(timeout=10)
    yield
    writer.join()


def somebody_waits_for_us() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT bool_or(pg_backend_pid() = ANY(pg_blocking_pids(pid))) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def change(ledger: Books) -> None:
    """The shop changes the order after it was planned."""
    with tenant(ledger.owner):
        arrive(ledger.flow.source, read_as(order(1001, "150.00", updated_at=PLACED + timedelta(hours=1))))


def test_record_that_changes_while_its_posting_is_being_sent_is_not_replaced(
    transactional_db: None,
    books: Books,  # noqa: F811
) -> None:
    books.take(order(1001))
    change(books)
    with being_sent(books):
        books.plan()
    assert [(posting.state, posting.version) for posting in books.postings()] == [("sending", 1)]


def test_record_that_changed_while_its_answer_was_lost_is_judged_once_the_answer_is_known(
    books: Books,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "ANSWERED_WITHIN", 2 * LATER)
    books.take(order(1001))
    books.simulator.faults.add(Fault(match=CREATE, kind="drop_after"))
    books.write()
    change(books)
    work.request_work(tenant_id=books.owner.pk, kind="post", key=str(books.connection.pk), delay=LATER)
    work_quietly()
    assert [line["amount"] for line in books.entries()] == ["120.00"]
    assert books.states() == {"#1001": "held changed_after_posting"}


def test_request_that_may_still_be_under_way_is_repeated_as_it_was(
    books: Books,  # noqa: F811
) -> None:
    """With the order that came meanwhile in it, it would be a new request to the ledger, and the late one a second entry."""
    books.take(order(1001))
    books.simulator.faults.add(Fault(match=CREATE, kind="drop_before"))
    books.write()
    with tenant(books.owner):
        late = PostingBatch.objects.get(data_type="invoice")
    books.take(order(1002))
    books.let_quiet_time_pass()
    books.write()
    with tenant(books.owner):
        batches = list(PostingBatch.objects.filter(data_type="invoice").order_by("size", "sent_at"))
    assert [(batch.size, batch.state) for batch in batches] == [(1, "settled"), (1, "settled")]
    assert late.key in {batch.key for batch in batches}
    assert sorted(str(line["number"]) for line in books.entries()) == ["1001", "1002"]
    assert {posting.number: posting.attempts for posting in books.postings()} == {"1001": 2, "1002": 1}


def test_reader_in_the_middle_of_its_checkpoint_is_not_overtaken(
    transactional_db: None,
    books: Books,  # noqa: F811
) -> None:
    """However late it is: another reader would be put back to this page's cursor."""
    WorkItem.objects.all().delete()
    work.request_work(tenant_id=books.owner.pk, kind="sync", key=f"{books.connection.pk}:company")
    claim = work.claim_work()
    assert claim is not None
    with tenant(books.owner):
        list(StreamState.objects.select_for_update())
        (reader,) = in_threads(1, lambda: work.do_work(claim))
        wait_until(somebody_waits_for_us, "the reader waiting in its checkpoint")
        end_lease_unless_held()
        overtaking = work.claim_work()
    reader.join()
    assert overtaking is None


def end_lease_unless_held() -> None:
    """As time would; what a worker holds in an open transaction cannot be claimed, whatever the clock says."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE public.core_workitem SET lease_until = clock_timestamp() - interval '1 second'"
            " WHERE id IN (SELECT id FROM public.core_workitem FOR UPDATE SKIP LOCKED)"
        )
