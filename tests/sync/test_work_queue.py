"""The queue of record: at most one worker at a time, nothing forgotten, nobody starved."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable

import pytest
from django.db import connection as database
from django.db.models import F
from django.db.models.functions import Now

from marketplace.core.models import WorkItem
from marketplace.core.work import (
    Claim,
    LeaseLost,
    UnknownWork,
    check_lease,
    claim_work,
    do_work,
    due_count,
    finish_work,
    handles,
    hold_lease,
    put_back,
    request_work,
)
from tenants.models import Tenant


@pytest.fixture(autouse=True)
def _empty_queue(db: None) -> None:
    WorkItem.objects.all().delete()


def ask(owner: Tenant, key: str = "a", kind: str = "sample", delay: dt.timedelta | None = None) -> None:
    request_work(tenant_id=owner.pk, kind=kind, key=key, delay=delay)


def claim() -> Claim:
    found = claim_work()
    assert found is not None
    return found


def handling(kind: str, function: Callable[[], dt.timedelta | None]) -> None:
    handles(kind)(lambda tenant_id, key: function())


def let_lease_end() -> None:
    WorkItem.objects.update(lease_until=Now() - dt.timedelta(seconds=1))


def test_asking_twice_is_asking_once(tenant: Tenant) -> None:
    ask(tenant)
    ask(tenant)
    assert WorkItem.objects.get().requests == 2
    assert due_count(9) == 1


def test_asking_again_brings_work_forward_and_never_puts_it_off(tenant: Tenant) -> None:
    ask(tenant, delay=dt.timedelta(hours=1))
    assert claim_work() is None
    ask(tenant)
    ask(tenant, delay=dt.timedelta(hours=2))
    assert claim().key == "a"


def test_claimed_work_is_nobody_elses_until_the_lease_ends(tenant: Tenant) -> None:
    ask(tenant)
    first = claim()
    assert claim_work() is None
    let_lease_end()
    second = claim()
    assert (second.id, second.token != first.token) == (first.id, True)


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_at_once_never_get_the_same_item(tenant: Tenant) -> None:
    for number in range(4):
        ask(tenant, f"item {number}")
    found: list[str] = []
    barrier, have_claimed = threading.Barrier(6), threading.Barrier(7)
    may_go = threading.Event()

    def work() -> None:
        barrier.wait()
        try:
            claimed = claim_work()
            found.extend([claimed.key] if claimed else [])
            have_claimed.wait(timeout=30)
            may_go.wait(timeout=30)  # with its database session its lease would end
        finally:
            database.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    have_claimed.wait(timeout=30)
    while (left := claim_work()) is not None:  # a worker that met a locked row may have gone home early
        found.append(left.key)
    may_go.set()
    for thread in threads:
        thread.join()
    assert sorted(found) == [f"item {number}" for number in range(4)]


@pytest.mark.django_db(transaction=True)
def test_businesses_take_turns_however_much_one_asks(tenant: Tenant, other_tenant: Tenant) -> None:
    for number in range(5):
        ask(tenant, f"big {number}")
    ask(other_tenant, "small 0")
    ask(other_tenant, "small 1")
    order = [claim().tenant_id for _ in range(4)]
    assert order.count(tenant.pk) == order.count(other_tenant.pk) == 2
    assert order[0] != order[1]


def test_finished_work_is_gone(tenant: Tenant) -> None:
    ask(tenant)
    finish_work(claim(), again_in=None)
    assert not WorkItem.objects.exists()


def test_work_asked_for_while_it_ran_is_done_again_at_once(tenant: Tenant) -> None:
    ask(tenant)
    running = claim()
    ask(tenant)
    finish_work(running, again_in=None)
    assert claim().key == "a"


def test_work_that_comes_again_waits_its_time(tenant: Tenant) -> None:
    ask(tenant)
    finish_work(claim(), again_in=dt.timedelta(hours=1))
    assert claim_work() is None
    assert WorkItem.objects.filter(due_at__gt=Now() + dt.timedelta(minutes=59)).exists()


def test_failed_work_keeps_its_problem_and_waits_longer_each_time(tenant: Tenant) -> None:
    ask(tenant)
    pauses = []
    for _ in range(3):
        put_back(claim(), "the provider is away")
        item = WorkItem.objects.annotate(pause=F("due_at") - Now()).get()
        assert item.problem == "the provider is away"
        pauses.append(item.pause)
        WorkItem.objects.update(due_at=Now())
    assert pauses == sorted(pauses)
    assert pauses[2] > pauses[0]


def test_problem_is_forgotten_when_the_work_succeeds(tenant: Tenant) -> None:
    ask(tenant)
    put_back(claim(), "trouble", retry_in=dt.timedelta(0))
    finish_work(claim(), again_in=dt.timedelta(hours=1))
    item = WorkItem.objects.get()
    assert (item.problem, item.attempts) == ("", 0)


def test_lost_lease_is_noticed_before_anything_is_written(tenant: Tenant) -> None:
    ask(tenant)
    first = claim()
    let_lease_end()
    claim()
    with pytest.raises(LeaseLost):
        hold_lease(first)


def test_holding_the_lease_prolongs_it(tenant: Tenant) -> None:
    ask(tenant)
    held = claim()
    WorkItem.objects.update(lease_until=Now() + dt.timedelta(seconds=1))
    hold_lease(held)
    assert WorkItem.objects.filter(lease_until__gt=Now() + dt.timedelta(seconds=60)).exists()


def test_who_lost_the_lease_can_neither_finish_nor_put_back(tenant: Tenant) -> None:
    ask(tenant)
    late = claim()
    let_lease_end()
    owner_of_it = claim()
    finish_work(late, again_in=None)
    put_back(late, "too late")
    item = WorkItem.objects.get()
    assert (item.lease_token, item.problem) == (owner_of_it.token, "")


def test_error_puts_the_work_back_and_does_not_stop_the_worker(tenant: Tenant) -> None:
    def fail() -> dt.timedelta | None:
        raise ValueError("broken")

    handling("failing", fail)
    ask(tenant, kind="failing")
    do_work(claim())
    item = WorkItem.objects.get()
    assert (item.attempts, item.lease_token) == (1, None)
    assert "broken" in item.problem


def test_error_that_knows_when_to_come_back_is_obeyed(tenant: Tenant) -> None:
    class Busy(Exception):
        retry_in = dt.timedelta(hours=3)

    def fail() -> dt.timedelta | None:
        raise Busy

    handling("busy", fail)
    ask(tenant, kind="busy")
    do_work(claim())
    assert WorkItem.objects.filter(due_at__gt=Now() + dt.timedelta(hours=2)).exists()


def test_one_poisoned_item_does_not_delay_the_others(tenant: Tenant) -> None:
    done = []

    def fail() -> dt.timedelta | None:
        raise ValueError("poison")

    handling("poison", fail)
    handles("fine")(lambda tenant_id, key: done.append(key))
    ask(tenant, kind="poison")
    for key in ("a", "b", "c"):
        ask(tenant, key, kind="fine")
    while (found := claim_work()) is not None:
        do_work(found)
    assert sorted(done) == ["a", "b", "c"]
    assert WorkItem.objects.get().kind == "poison"


def test_unknown_kind_of_work_waits_and_is_said(tenant: Tenant) -> None:
    ask(tenant, kind="nobody")
    with pytest.raises(UnknownWork):
        do_work(claim())
    assert "unknown kind" in WorkItem.objects.get().problem


def test_lease_is_checked_only_inside_work(tenant: Tenant) -> None:
    check_lease()  # outside a worker there is nothing to lose
    lost = []

    def lose() -> dt.timedelta | None:
        check_lease()
        WorkItem.objects.update(lease_token=uuid.uuid4())
        try:
            check_lease()
        except LeaseLost as error:
            lost.append(error)
            raise
        return None

    handling("losing", lose)
    ask(tenant, kind="losing")
    do_work(claim())
    assert len(lost) == 1
    assert WorkItem.objects.get().problem == ""
