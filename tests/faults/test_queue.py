"""Asking for work and finishing it, from many connections in the same moment."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from marketplace.core.models import WorkItem
from marketplace.core.work import Claim, claim_work, do_work, handles, request_work
from tenants.models import Tenant
from tests.faults.processes import wait_until

pytestmark = pytest.mark.faults

ASKERS, EACH, WORKERS = 8, 25, 4


class Counted:
    """Work that notes what had been asked for when it began, and whether it ever ran twice at the same time."""

    def __init__(self) -> None:
        self.lock, self.running = threading.Lock(), threading.Lock()
        self.asked = self.seen = self.runs = self.overlaps = 0

    def work(self, tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
        if not self.running.acquire(blocking=False):
            self.overlaps += 1
            return None
        with self.lock:
            self.seen, self.runs = self.asked, self.runs + 1
        self.running.release()
        return None


def in_threads(count: int, function: Callable[[], None]) -> list[threading.Thread]:
    """Started; each has a connection of its own."""

    def run() -> None:
        try:
            function()
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_work_asked_for_by_many_is_never_forgotten_and_never_done_twice_at_once(
    transactional_db: None, tenant: Tenant, tell: Any
) -> None:
    counted, is_over = Counted(), threading.Event()
    handles("counted")(counted.work)
    WorkItem.objects.all().delete()

    def ask() -> None:
        for _ in range(EACH):
            with counted.lock:
                counted.asked += 1
            request_work(tenant_id=tenant.pk, kind="counted", key="one")

    def work() -> None:
        while not is_over.is_set():
            claim = claim_work()
            if claim is not None:
                do_work(claim)

    workers, askers = in_threads(WORKERS, work), in_threads(ASKERS, ask)
    for thread in askers:
        thread.join()
    is_over.set()
    for thread in workers:
        thread.join()
    while (claim := claim_work()) is not None:
        do_work(claim)
    assert (counted.seen, counted.overlaps) == (ASKERS * EACH, 0)
    assert not WorkItem.objects.exists()
    tell("C3", "work asked for while it is finished", tried=ASKERS * EACH, events=counted.runs)


def test_work_of_a_dead_worker_is_free_at_once_and_that_of_a_silent_one_is_not(
    transactional_db: None, tenant: Tenant
) -> None:
    """A process that is killed loses its database session with everything else; one that stands still keeps it."""
    WorkItem.objects.all().delete()
    request_work(tenant_id=tenant.pk, kind="left", key="one")
    claims: list[Claim | None] = []
    is_claimed, may_die = threading.Event(), threading.Event()

    def work() -> None:
        claims.append(claim_work())
        is_claimed.set()
        may_die.wait(timeout=30)

    (worker,) = in_threads(1, work)
    is_claimed.wait(timeout=30)
    assert claims != [None]
    assert claim_work() is None
    may_die.set()
    worker.join()
    wait_until(lambda: claim_work() is not None, "the work being free again", 10)


def test_item_that_another_worker_is_about_to_take_is_passed_over(transactional_db: None, tenant: Tenant) -> None:
    """Waiting for it would end in taking it as well."""
    WorkItem.objects.all().delete()
    request_work(tenant_id=tenant.pk, kind="wanted", key="one")
    is_taken, may_commit = threading.Event(), threading.Event()

    def take_slowly() -> None:
        with transaction.atomic():
            assert claim_work() is not None
            is_taken.set()
            may_commit.wait(timeout=2)

    (worker,) = in_threads(1, take_slowly)
    is_taken.wait(timeout=30)
    claim = claim_work()
    may_commit.set()
    worker.join()
    assert claim is None


def test_item_is_leased_to_one_of_many(transactional_db: None, tenant: Tenant, tell: Any) -> None:
    """Step by step: two have found it, and the first has not committed yet."""
    WorkItem.objects.all().delete()
    request_work(tenant_id=tenant.pk, kind="counted", key="one")
    claims: list[Any] = []
    with transaction.atomic():
        claims.append(claim_work())
        (other,) = in_threads(1, lambda: claims.append(claim_work()))
        other.join(timeout=3)
    other.join()
    assert [claim is None for claim in claims] == [False, True]
    tell("C3", "an item found by two workers", tried=2, events=1)
