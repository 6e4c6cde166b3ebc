"""The shared allowance, against a real Redis server: no burst at any window's turn, leases, and what the provider reports."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection as database

from connectors.registry import connector
from connectors.sdk.errors import RateLimited
from connectors.sdk.manifest import Limit
from connectors.testing.faults import Fault
from marketplace.installations import budget as budgets
from marketplace.installations import counters as module
from marketplace.installations.budget import SharedBudget
from marketplace.installations.clients import client_for
from marketplace.installations.counters import counters
from tenants.models import Tenant
from tests.installations.walking import Walk

CLOCK = "return now"


def allowance(*limits: Limit, speed: float = 1, organisation: str = "") -> SharedBudget:
    """The view of one organisation nobody else spends for."""
    manifest = replace(connector("xero").manifest, slug="test", limits=limits)
    organisation = organisation or uuid.uuid4().hex
    return SharedBudget(manifest=manifest, environment="simulator", organisation_id=organisation, speed=speed)


def refused(budget: SharedBudget, counts: str = "call", amount: int = 1) -> float:
    """How long to wait, as told to a caller that must not be held; 0 when it was spent."""
    try:
        spend(budget, counts, amount, longest_wait=0)
    except RateLimited as error:
        return error.retry_after
    return 0.0


def spend(budget: SharedBudget, counts: str, amount: int, *, longest_wait: float = 30) -> None:
    with budget.call({counts: amount}, longest_wait=longest_wait):
        pass


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would have to wait is refused at once."""
    monkeypatch.setattr(budgets, "LONGEST_TURN_WAIT_SECONDS", 0.0)


def test_window_holds_its_size_and_tells_how_long() -> None:
    budget = allowance(Limit(amount=5, seconds=60))
    assert [refused(budget) for _ in range(5)] == [0.0] * 5
    assert 57 < refused(budget) <= 64


def test_no_window_anywhere_holds_more_than_its_size() -> None:
    size, seconds = 20, 0.3
    budget = allowance(Limit(amount=size, seconds=3), speed=10)
    asked: list[int] = []
    granted: list[int] = []
    for _ in range(4 * size):
        asked.append(counters().run(CLOCK, []))
        spend(budget, "call", 1)
        granted.append(counters().run(CLOCK, []))
    # Between asking for one and holding the one that many places later lies a whole window, however slow this machine is.
    assert min(later - first for first, later in zip(asked, granted[size:], strict=False)) >= seconds * 1000


def test_counts_of_a_clock_that_was_set_back_since_hold_nobody_up() -> None:
    """Or those of another release, whose slices had another width: believed, they would stop a connection for days."""
    budget = allowance(Limit(amount=5, seconds=60))
    assert [refused(budget) for _ in range(5)] == [0.0] * 5
    assert refused(budget) > 0
    set_ahead(budget, days=1)
    assert [refused(budget) for _ in range(5)] == [0.0] * 5
    assert 57 < refused(budget) <= 64
    set_ahead(budget, days=1)
    assert budget.room() == 5


def test_report_of_a_clock_that_was_set_back_since_holds_nobody_up() -> None:
    budget = allowance(Limit(amount=1000, seconds=20, counts="cost"))
    budget.report("cost", 0, 50)
    assert refused(budget, "cost", 100) > 0
    set_ahead(budget, days=1)
    assert refused(budget, "cost", 100) == 0


def set_ahead(budget: SharedBudget, *, days: int) -> None:
    """Everything was noted so many days later than it is now."""
    with redis.Redis.from_url(settings.REDIS_URL, decode_responses=True) as noted:
        for key in noted.scan_iter(f"budget:*:{budget.organisation_id}:*"):
            values = noted.hgetall(key)
            if "at" in values:
                noted.hset(key, "at", int(values["at"]) + days * 86_400_000)
                continue
            noted.delete(key)
            slices = days * 86_400_000 // (budget._window(Limit(amount=5, seconds=60)) // budgets.SLICES + 1)
            noted.hset(key, mapping={str(int(slice) + slices): used for slice, used in values.items()})


def test_workers_share_one_window() -> None:
    budget = allowance(Limit(amount=30, seconds=60))
    answers: list[float] = []
    threads = [threading.Thread(target=lambda: answers.extend(refused(budget) for _ in range(10))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(0.0) == 30


def test_limits_are_spent_together_or_not_at_all() -> None:
    budget = allowance(Limit(amount=2, seconds=60), Limit(amount=10, seconds=86_400))
    for _ in range(8):
        refused(budget)
    wide = replace(budget, manifest=replace(budget.manifest, limits=budget.manifest.limits[1:]))
    assert [refused(wide) for _ in range(9)].count(0.0) == 8


def test_limits_per_connector_are_shared_by_organisations_and_others_are_not() -> None:
    slug = uuid.uuid4().hex
    ours, theirs = (allowance(Limit(amount=3, seconds=60, per="connector")) for _ in range(2))
    ours, theirs = (replace(one, manifest=replace(one.manifest, slug=slug)) for one in (ours, theirs))
    assert [refused(ours), refused(theirs), refused(ours)] == [0.0] * 3
    assert refused(theirs) > 0
    assert refused(replace(theirs, environment="production")) == 0.0
    single = [allowance(Limit(amount=1, seconds=60)) for _ in range(2)]
    assert [refused(one) for one in single] == [0.0, 0.0]


def test_what_is_larger_than_the_allowance_goes_alone() -> None:
    budget = allowance(Limit(amount=100, seconds=60, counts="cost"))
    assert refused(budget, "cost", 150) == 0.0
    assert refused(budget, "cost", 1) > 0


def test_reported_points_bind_every_worker() -> None:
    first = allowance(Limit(amount=2000, seconds=20, counts="cost"))
    second = replace(first)
    first.report("cost", 500, 100.0)
    assert refused(second, "cost", 400) == 0.0
    assert 1.8 < refused(first, "cost", 300) <= 2.1
    second.report("cost", 1900, 100.0)
    assert refused(first, "cost", 1900) == 0.0


def test_points_given_back_are_used() -> None:
    """A query is charged what it asked for and gets back what it did not use: only the provider knows."""
    budget = allowance(Limit(amount=2000, seconds=20, counts="cost"))
    for left in (1800, 1600, 1400):
        assert refused(budget, "cost", 1000) == 0.0
        budget.report("cost", left, 100.0)


def test_reported_points_come_back_at_the_providers_pace() -> None:
    budget = allowance(Limit(amount=2000, seconds=20, counts="cost"), speed=60)
    before = time.monotonic()
    budget.report("cost", -1000, 100.0)
    spend(budget, "cost", 200)
    assert 0.18 <= time.monotonic() - before < 2


def test_what_was_missing_is_there_a_moment_later_than_whole_milliseconds_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reported late in its millisecond and waited for until early in another: the provider has a little less than that."""
    budget = allowance(Limit(amount=2000, seconds=20, counts="cost"))
    monkeypatch.setattr(module, "NOW", "local now = 1000000\n")
    budget.report("cost", 645, 100.0)
    assert refused(budget, "cost", 984) == 3.392
    monkeypatch.setattr(module, "NOW", "local now = 1003391\n")
    assert refused(budget, "cost", 984) == 0.001
    monkeypatch.setattr(module, "NOW", "local now = 1003392\n")
    assert refused(budget, "cost", 984) == 0.0


def test_reported_calls_do_not_undo_the_windows() -> None:
    budget = allowance(Limit(amount=2, seconds=60), Limit(amount=5000, seconds=86_400))
    for _ in range(2):
        spend(budget, "call", 1)
    budget.report("call", 40, 1.0)
    assert refused(budget) > 30
    other = allowance(Limit(amount=60, seconds=60), Limit(amount=5000, seconds=86_400))
    other.report("call", 0, 1.0)
    assert 0.9 <= refused(other) <= 1.0 + budgets.RESTORED_LATER_MS / 1000


def test_refusal_of_the_provider_binds_every_worker_of_its_connection() -> None:
    first = allowance(Limit(amount=500, seconds=60))
    first.refused(20)
    first.refused(5)  # an earlier answer that comes late shortens nothing
    assert 19 < refused(replace(first)) <= 20
    assert refused(allowance(Limit(amount=500, seconds=60))) == 0.0
    second = allowance(Limit(amount=500, seconds=60))
    second.refused(0.2)
    before = time.monotonic()
    spend(second, "call", 1)
    assert 0.15 <= time.monotonic() - before < 2


def test_no_more_turns_than_allowed_at_the_same_time() -> None:
    budget = allowance(Limit(amount=3, seconds=0))
    running: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    def call() -> None:
        with budget.call({}):
            with lock:
                running.append(1)
                most.append(len(running))
            time.sleep(0.02)
            with lock:
                running.pop()

    threads = [threading.Thread(target=call) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 9
    assert max(most) <= 3


def test_turn_is_given_back_after_an_error(impatient: None) -> None:
    budget = allowance(Limit(amount=1, seconds=0))
    with pytest.raises(ZeroDivisionError), budget.call({}):
        1 / 0  # noqa: B018
    with budget.call({}), pytest.raises(RateLimited), budget.call({}):
        raise AssertionError("two turns where one is allowed")


def test_turn_of_a_worker_that_died_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "TURN_LEASE_SECONDS", 0.2)
    budget = allowance(Limit(amount=1, seconds=0))
    abandoned = budget.call({})
    abandoned.__enter__()
    before = time.monotonic()
    with budget.call({}):
        assert time.monotonic() - before > 0.1


def test_whoever_finds_no_place_spends_nothing(impatient: None) -> None:
    budget = allowance(Limit(amount=2, seconds=60), Limit(amount=1, seconds=0))
    with budget.call({"call": 1}), pytest.raises(RateLimited), budget.call({"call": 1}):
        raise AssertionError("two places where there is one")
    assert refused(budget) == 0.0
    assert refused(budget) > 50


def test_what_is_reported_during_a_call_binds_everybody_after_it() -> None:
    budget = allowance(Limit(amount=60, seconds=60), Limit(amount=5, seconds=0))
    with budget.call({"call": 1}):
        budget.report("call", 0, 1.0)
    assert 0.9 <= refused(replace(budget)) <= 1.0 + budgets.RESTORED_LATER_MS / 1000


def test_server_that_was_started_anew_is_told_the_scripts_again() -> None:
    budget = allowance(Limit(amount=1, seconds=60))
    assert refused(budget) == 0.0
    with redis.Redis.from_url(settings.REDIS_URL) as server:
        server.script_flush()
    assert refused(budget) > 50


def test_outage_is_said_once_and_keeps_a_distance(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/7"
    budget = allowance(Limit(amount=1, seconds=60), Limit(amount=1, seconds=0))
    before = time.monotonic()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with budget.call({"call": 1}):
                budget.report("call", 0, 1.0)
                budget.refused(60)
    assert time.monotonic() - before >= 4 * budgets.WITHOUT_REDIS_SECONDS
    assert [record.getMessage()[:19] for record in caplog.records] == ["no shared allowance"]
    counters().told_at -= 61
    with caplog.at_level(logging.WARNING):
        spend(budget, "call", 1)
    assert len(caplog.records) == 2


def test_provider_never_sees_more_calls_at_once_than_it_allows(
    transactional_db: None, walk: Callable[..., Walk], tenant: Tenant
) -> None:
    alice = walk("xero")
    connection = alice.connect()
    alice.simulator.faults.add(Fault(match="GET /api.xro/", kind="slow", seconds=0.05, times=12))
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(client_for(tenant.pk, connection).request("GET", "api", "/api.xro/2.0/Organisation"))
        finally:
            database.close()

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 12
    assert alice.simulator.counts["refused_429"] == 0
