"""A comparison and somebody who deletes what it compares, in the same moment: whoever comes second waits, and looks then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import IntegrityError, connection

from marketplace.cutover.models import Pair, Verdict
from marketplace.cutover.pairing import pair_flow
from marketplace.mapping.models import Flow
from marketplace.sync.models import Record
from tenants.context import tenant as inside
from tenants.models import Tenant, User
from tests.cutover.world import entry, invoice, make_flow, shadow
from tests.faults.processes import wait_until
from tests.faults.test_queue import in_threads
from tests.faults.test_races import somebody_waits_for_us

pytestmark = pytest.mark.faults


@pytest.fixture
def flow(transactional_db: None, tenant: Tenant, alice: User) -> Flow:
    """One sale, and staff's entry of it; nothing is compared yet."""
    with inside(tenant):
        made = make_flow(alice)
        shadow(made, invoice("1", reference="#1001"))
        entry(made, invoice("x", reference="#1001"))
    return made


@contextmanager
def about_to_commit(owner: Tenant, act: Callable[[], object]) -> Iterator[None]:
    """Another session has done it and commits as soon as somebody waits for it."""
    is_done = threading.Event()

    def run() -> None:
        with inside(owner):
            act()
            is_done.set()
            wait_until(somebody_waits_for_us, "the second one waiting for the first", seconds=10)

    (other,) = in_threads(1, run)
    is_done.wait(timeout=10)
    yield
    other.join()


def delete_entry(flow: Flow) -> None:
    """By a bare statement: nothing but the database stands in its way."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM sync_record WHERE connection_id = %s", [flow.target_id])


def test_entry_of_a_comparison_that_is_about_to_commit_is_not_deleted(tenant: Tenant, flow: Flow) -> None:
    with (
        about_to_commit(tenant, lambda: pair_flow(flow=flow)),
        pytest.raises(IntegrityError, match="1 pairs still refer to sync_record"),
        inside(tenant),
    ):
        delete_entry(flow)
    with inside(tenant):
        assert Pair.objects.get().entry == Record.objects.get(connection=flow.target)


def test_comparison_does_not_name_an_entry_whose_deletion_is_about_to_commit(tenant: Tenant, flow: Flow) -> None:
    """It is given up as a whole, and finds the entry gone when it is made again."""
    with (
        about_to_commit(tenant, lambda: delete_entry(flow)),
        pytest.raises(IntegrityError, match="1 pairs refer to what is not there"),
        inside(tenant),
    ):
        pair_flow(flow=flow)
    with inside(tenant):
        assert not Pair.objects.exists()
        pair_flow(flow=flow)
        assert Pair.objects.get().verdict == Verdict.MISSING_IN_THEIRS
