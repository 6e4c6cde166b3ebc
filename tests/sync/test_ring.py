"""Whose turn it is: the ring finds everything that is due, long work makes room, and nobody waits for a lock."""

from __future__ import annotations

import datetime as dt
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection as database
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from marketplace.core import work
from marketplace.core.models import TenantTurn, WorkItem
from marketplace.core.reserve import place_for_long_work
from marketplace.core.tasks import serve, serve_next, tick
from marketplace.core.work import (
    Claim,
    claim_work,
    do_work,
    due_within,
    finish_work,
    handles,
    put_back,
    repair_ring,
    request_work,
    slice_is_over,
)
from tenants.models import Tenant

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE, LATER = dt.timedelta(0), dt.timedelta(hours=1)


@pytest.fixture(autouse=True)
def _empty_queue(transactional_db: None) -> None:
    WorkItem.objects.all().delete()
    TenantTurn.objects.all().delete()


def ask(owner: Tenant, key: str = "a", **how: Any) -> None:
    request_work(tenant_id=owner.pk, kind="sample", key=key, **how)


def claim(**how: bool) -> Claim:
    found = claim_work(**how)
    assert found is not None
    return found


def make_long(owner: Tenant, key: str) -> None:
    """Asked for, begun, and not done within its first slice."""
    ask(owner, key)
    finish_work(claim(), again_in=AT_ONCE)


def lose_announcements() -> None:
    """As a process does that dies between its commit and the announcement."""
    TenantTurn.objects.update(ready_at=None)


def test_turn_passes_to_the_next_item_and_out_of_the_ring_after_the_last(tenant: Tenant) -> None:
    ask(tenant, "first")
    ask(tenant, "later", delay=LATER)
    assert claim().key == "first"
    assert TenantTurn.objects.filter(ready_at__gt=Now() + dt.timedelta(minutes=59)).count() == 1
    WorkItem.objects.filter(key="later").delete()
    TenantTurn.objects.update(ready_at=Now())
    assert claim_work() is None
    assert TenantTurn.objects.get().ready_at is None


def test_turn_that_comes_too_early_costs_nobody_the_next_one(tenant: Tenant, other_tenant: Tenant) -> None:
    TenantTurn.objects.create(tenant=tenant, is_long=False, ready_at=timezone.now() - LATER)
    ask(other_tenant)
    assert claim().tenant_id == other_tenant.pk


def test_work_of_a_rolled_back_transaction_is_nowhere(tenant: Tenant) -> None:
    with transaction.atomic():
        ask(tenant)
        transaction.set_rollback(True)
    ask(tenant, "kept")
    assert claim().key == "kept"
    assert claim_work() is None


def test_work_whose_announcement_was_lost_is_found_by_who_has_nothing_to_do(tenant: Tenant) -> None:
    ask(tenant)
    lose_announcements()
    assert claim().key == "a"


def test_work_whose_announcement_was_lost_gets_its_turn_with_the_tick(tenant: Tenant, other_tenant: Tenant) -> None:
    ask(tenant)
    lose_announcements()
    for number in range(3):
        ask(other_tenant, f"busy {number}")
    tick()
    assert tenant.pk in {claim().tenant_id, claim().tenant_id}
    assert repair_ring() == 0


def test_tick_wakes_workers_for_what_is_due(tenant: Tenant) -> None:
    messages = redis.Redis.from_url(settings.REDIS_URL)
    ask(tenant)
    messages.delete("celery")  # the broker lost everything
    tick()
    assert messages.llen("celery") == 1
    messages.delete("celery")


@pytest.mark.parametrize("what", ["item", "turn"])
def test_locked_rows_are_passed_over(what: str, tenant: Tenant, other_tenant: Tenant) -> None:
    ask(tenant, "locked")
    ask(other_tenant, "free")
    is_locked, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                rows = WorkItem.objects if what == "item" else TenantTurn.objects
                list(rows.select_for_update().filter(tenant=tenant))
                is_locked.set()
                is_over.wait(timeout=30)
        finally:
            database.close()

    holder = threading.Thread(target=hold)
    holder.start()
    is_locked.wait(timeout=10)
    with database.cursor() as cursor:
        cursor.execute("SET lock_timeout = '3s'")
    try:
        assert claim().key == "free"
        if what == "item":
            assert claim_work() is None
    finally:
        is_over.set()
        holder.join()
        database.close()


def test_work_that_goes_on_makes_room_for_what_is_new(tenant: Tenant, other_tenant: Tenant) -> None:
    ask(tenant, "webhook")
    begun = claim()
    make_long(tenant, "backfill")
    finish_work(begun, again_in=dt.timedelta(microseconds=1))
    ask(other_tenant, "webhook")
    assert [claim(takes_long=False).key for _ in range(2)] == ["webhook", "webhook"]
    assert claim_work(takes_long=False) is None
    assert claim().key == "backfill"


def test_what_is_asked_for_during_long_work_goes_with_it(tenant: Tenant, other_tenant: Tenant) -> None:
    ask(tenant, "plan", delay=LATER)
    make_long(tenant, "backfill")
    ask(tenant, "plan")
    ask(tenant, "post")
    ask(other_tenant, "post")
    assert dict(WorkItem.objects.values_list("key", "is_long").filter(tenant=tenant)) == {
        "backfill": True,
        "plan": True,
        "post": True,
    }
    assert claim(takes_long=False).tenant_id == other_tenant.pk
    assert claim_work(takes_long=False) is None


def test_long_work_is_not_forgotten_over_short_work(
    tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "LONG_FIRST", 1.0)  # the one time in ten
    make_long(tenant, "backfill")
    ask(other_tenant, "webhook")
    assert claim().key == "backfill"


def test_work_stays_long_through_its_pauses_and_not_after_its_end(tenant: Tenant) -> None:
    make_long(tenant, "backfill")
    finish_work(claim(), again_in=dt.timedelta(milliseconds=1))
    assert WorkItem.objects.get().is_long
    time.sleep(0.01)
    put_back(claim(), "the provider is away", retry_in=AT_ONCE)
    assert WorkItem.objects.get().is_long
    finish_work(claim(), again_in=LATER)
    assert not WorkItem.objects.get().is_long


def test_one_worker_of_a_machine_stays_free_for_short_work(tenant: Tenant, tmp_path: Path) -> None:
    with ExitStack() as workers:
        found = [workers.enter_context(place_for_long_work(tmp_path, 2)) for _ in range(3)]
    assert found == [True, True, False]
    with place_for_long_work(tmp_path, 2) as again, place_for_long_work(tmp_path, 0) as alone:
        assert (again, alone) == (True, True)


def test_short_work_is_served_while_long_work_has_all_its_places(
    tenant: Tenant, other_tenant: Tenant, settings: Any, tmp_path: Path
) -> None:
    done: list[str] = []
    handles("sample")(lambda tenant_id, key: done.append(key))
    make_long(tenant, "backfill")
    settings.WORKER_PROCESSES = 2
    with place_for_long_work(settings.PLACES.var / "run" / settings.DATABASES["default"]["NAME"], 1):
        assert not serve_next()
        ask(other_tenant, "webhook")
        assert serve_next()
    assert done == ["webhook"]
    assert serve_next()
    assert done == ["webhook", "backfill"]


def slice_of(owner: Tenant, monkeypatch: pytest.MonkeyPatch, *, waiting: Tenant | None = None) -> float:
    """For how long one item went on before it made room, which another business waits for from the start."""
    monkeypatch.setattr(work, "SHORTEST_SLICE_SECONDS", 0.05)
    monkeypatch.setattr(work, "FIRST_SLICE_SECONDS", 2.0)
    monkeypatch.setattr(work, "SLICE_SECONDS", 2.0)
    took = []

    def go_on(tenant_id: object, key: str) -> dt.timedelta:
        began = time.monotonic()
        while not slice_is_over() and time.monotonic() - began < 4:
            time.sleep(0.01)
        took.append(time.monotonic() - began)
        return AT_ONCE

    handles("sample")(go_on)
    ask(owner, "goes on")
    begun = claim()
    if waiting is not None:
        ask(waiting, "waits")
    do_work(begun)
    return took[0]


def test_slice_ends_early_when_another_business_waits(
    tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slice_of(tenant, monkeypatch) >= 2
    assert 0.2 < slice_of(tenant, monkeypatch, waiting=other_tenant) < 1.7


def test_worker_waits_for_what_is_about_to_come_due(tenant: Tenant) -> None:
    done: list[str] = []
    handles("sample")(lambda tenant_id, key: done.append(key))
    ask(tenant, "soon", delay=dt.timedelta(milliseconds=800))
    ask(tenant, "later", delay=LATER)
    assert due_within(1) is not None
    serve()
    assert done == ["soon"]
    assert due_within(1) is None
