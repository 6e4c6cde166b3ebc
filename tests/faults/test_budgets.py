"""The providers' limits hold across all workers: counted by the providers, with processes that call as fast as they are let."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import redis
from pytest_django import Settings

from marketplace.core.runtime.places import Places
from marketplace.core.runtime.valkey import start_valkey, stop_valkey
from marketplace.installations.models import Connection
from tests.benchmarks.driving import Business, provider, work_off
from tests.benchmarks.simulators import serving
from tests.benchmarks.test_calls import QUICKBOOKS, XERO
from tests.faults.books import check
from tests.faults.callers import ENOUGH, Diary
from tests.faults.campaign import Size
from tests.faults.conftest import Tell
from tests.faults.processes import running, wait_until, workers
from tests.faults.world import SEEN, SHOP, connect, make_orders

pytestmark = [pytest.mark.faults, pytest.mark.stack]

#: How fast the provider's minutes pass: slow enough that a call's way there is short beside its windows.
SPEEDS = {"xero": 20, "quickbooks": 1, "shopify": 1}
#: Some more than fit into a window, of a minute or of a second; or than a bucket holds at their price.
CALLS = {"xero": 130, "quickbooks": 32, "shopify": 60}
#: How many times that at release size. QuickBooks takes forty batches a minute, and nobody can hurry its seconds.
TIMES = {"xero": 10, "quickbooks": 4, "shopify": 10}
ORGANISATIONS = {"xero": (XERO, {}), "quickbooks": (QUICKBOOKS, {}), "shopify": (SHOP, {"shop": SHOP})}
#: What a call may still take to arrive that was allowed before the refusal was known.
ON_ITS_WAY = 0.5
LONGEST_HELD = 2.0


@pytest.fixture
def counters(settings: Settings, tmp_path: Path) -> Iterator[redis.Redis]:
    """A server of its own, which can be wiped."""
    places = Places(tmp_path / "var")
    start_valkey(places)
    settings.REDIS_URL = f"unix://{places.valkey_socket}?db=0"
    with redis.Redis(unix_socket_path=str(places.valkey_socket)) as client:
        yield client
    stop_valkey(places)


@dataclass
class Hammering:
    """Several processes at one connection."""

    diaries: list[Diary]
    calls: int
    refused: int

    @property
    def longest_held(self) -> float:
        return max((held for diary in self.diaries for held in diary.held), default=0.0)


def counts(slug: str) -> tuple[int, int]:
    with provider(slug) as simulated:
        found = simulated.counts()
    return int(found["total"]), int(found.get("refused_429", 0))


def has_answered(slug: str, enough: int) -> bool:
    return counts(slug)[0] >= enough


@dataclass
class Callers:
    """How many processes, and for how long."""

    count: int
    seconds: float
    folder: Path

    def end_after(self, slug: str, calls: int) -> None:
        wait_until(partial(has_answered, slug, counts(slug)[0] + calls), f"{calls} calls", 240 + calls)
        (self.folder / ENOUGH).touch()

    def hammer(self, business: Business, connection: Connection, meanwhile: object = None) -> Hammering:
        self.folder.mkdir()
        words = [str(word) for word in (self.count, self.seconds, self.folder, business.owner.pk, connection.pk)]
        calls, refused = counts(connection.connector)
        with running([sys.executable, "-m", "tests.faults.callers", *words], self.folder / "log") as process:
            if callable(meanwhile):
                meanwhile()
            assert process.wait(timeout=self.seconds + 60) == 0, (self.folder / "log").read_text()
        diaries = [Diary(**json.loads(path.read_text())) for path in sorted(self.folder.glob("*.json"))]
        assert len(diaries) == self.count
        all_calls, all_refused = counts(connection.connector)
        return Hammering(diaries, all_calls - calls, all_refused - refused)


@pytest.mark.parametrize("slug", ["xero", "quickbooks", "shopify"])
def test_many_processes_stay_within_what_the_provider_allows(
    slug: str,
    business: Business,
    settings: Settings,
    counters: redis.Redis,
    tmp_path: Path,
    size: Size,
    tell: Tell,
) -> None:
    """And none of them is held for long: what is not allowed yet is put back until then."""
    organisation, typed = ORGANISATIONS[slug]
    with serving((slug,), tmp_path / "state", settings.CONNECTOR_CREDENTIALS, speed=SPEEDS[slug]) as addresses:
        settings.SIMULATORS, settings.SIMULATOR_SPEED = addresses, SPEEDS[slug]
        connection = business.connect(slug, organisation, typed)
        business.read(connection)
        work_off()  # whatever is slow the first time has been
        callers = Callers(size.pick(6, 16), 300.0, tmp_path / "callers")
        found = callers.hammer(
            business, connection, partial(callers.end_after, slug, size.pick(1, TIMES[slug]) * CALLS[slug])
        )
    # One machine runs all of it: a call that is overtaken on its way is the machine's doing, and at CI size soon one in a hundred.
    assert found.refused <= max(2, 0.01 * found.calls)
    assert found.longest_held <= LONGEST_HELD + 2  # a busy machine's own
    tell("C6", f"{callers.count} processes at one connection's limit, {slug}", tried=callers.count, events=found.calls)


def test_lost_counters_cost_a_few_refusals(
    business: Business, settings: Settings, counters: redis.Redis, tmp_path: Path, size: Size, tell: Tell
) -> None:
    wipes = size.pick(1, 10)
    with serving(("xero",), tmp_path / "state", settings.CONNECTOR_CREDENTIALS, speed=20) as addresses:
        settings.SIMULATORS, settings.SIMULATOR_SPEED = addresses, 20
        connection = business.connect("xero", XERO)
        callers = Callers(6, 120.0, tmp_path / "callers")

        def wipe() -> None:
            for _ in range(wipes):
                wait_until(partial(has_answered, "xero", counts("xero")[0] + 60), "a window's calls")
                counters.flushall()
            callers.end_after("xero", 60)

        found = callers.hammer(business, connection, wipe)
    # At a twentieth of its minute the provider's window is full again at once: each wipe is heard of by all, twice at most.
    assert found.refused <= wipes * 2 * callers.count
    assert calls_after_a_refusal(found) == 0
    tell("C4", "shared allowance wiped while it is spent", tried=wipes, events=found.calls)


def calls_after_a_refusal(found: Hammering) -> int:
    """How many calls any process sent while the provider had told any of them to wait, but for those on their way."""
    refusals = [refusal for diary in found.diaries for refusal in diary.refused]
    sent = [at for diary in found.diaries for at in diary.sent]
    return sum(any(at + ON_ITS_WAY < call < until for at, until in refusals) for call in sent)


def test_storm_of_refusals_loses_nothing_and_is_not_hammered(
    business: Business, simulators: dict[str, str], tmp_path: Path, size: Size, tell: Tell
) -> None:
    """Everything is refused for a while, with the time to wait in each refusal; the work comes back when it may."""
    refusals, pause = size.pick(12, 120), 0.4
    orders = make_orders(SEEN + size.pick(60, 600))
    world = connect(business, orders[:SEEN], ["xero"])
    world.sell(orders[SEEN:])
    with provider("xero") as simulated:
        storm = {"match": "* /api.xro/2.0/", "kind": "status", "status": 429, "seconds": pause, "times": refusals}
        simulated.http.post("/_sim/faults", json=storm).raise_for_status()
    began = time.monotonic()
    with workers(3, tmp_path):
        world.read()
        world.wait()
    took = time.monotonic() - began
    check(business, world.flows, world.orders)
    # Each refusal is waited for, by everybody: with five calls at a time at the most, no more than five are refused at once.
    assert took >= pause * refusals / 5
    tell("C6", "storm of 429 with Retry-After", tried=refusals, events=len(world.orders))
