"""Every kind of trouble a call can meet, at reading and at writing, by the hundred; the judges are the providers' own books."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from connectors.registry import connector
from connectors.sdk.client import Access
from connectors.sdk.records import Order
from connectors.sdk.streams import WritableStream
from marketplace.installations import clients
from marketplace.installations.models import Connection
from marketplace.sync.models import Record
from tenants.context import tenant
from tests.benchmarks.driving import Business, enter_month, provider
from tests.benchmarks.simulators import SPEED, serving
from tests.faults.books import check
from tests.faults.moved_clock import MovedClock
from tests.faults.world import World, connect, make_orders, seen_first, work_quietly

pytestmark = [pytest.mark.faults, pytest.mark.stack]

STRIPE = "acct_kestrel"
SEEN = 15
AT_ONCE = 8
SHARE = 0.45  # of the calls meet trouble
WORKS = {"works": True}
#: What a call can meet, and how often beside the others. Tokens that are refused or expire are a campaign of their own.
KINDS: Sequence[tuple[dict[str, Any], int]] = (
    ({"kind": "drop_before"}, 8),
    ({"kind": "drop_after"}, 10),
    ({"kind": "reset"}, 4),
    ({"kind": "reset", **WORKS}, 5),
    ({"kind": "half_body"}, 8),
    ({"kind": "cut_gzip"}, 5),
    ({"kind": "status", "status": 503}, 6),
    ({"kind": "status", "status": 503, "seconds": 2}, 3),
    ({"kind": "status", "status": 503, **WORKS}, 4),
    ({"kind": "status", "status": 504, **WORKS}, 6),
    ({"kind": "status", "status": 502}, 3),
    ({"kind": "status", "status": 500, **WORKS}, 3),
    ({"kind": "status", "status": 429, "seconds": 3}, 4),
    ({"kind": "status", "status": 429}, 3),
    ({"kind": "html"}, 5),
    ({"kind": "html", **WORKS}, 4),
    ({"kind": "error_body"}, 3),
    ({"kind": "error_body", **WORKS}, 3),
    ({"kind": "empty"}, 3),
    ({"kind": "empty", **WORKS}, 3),
    ({"kind": "redirect"}, 3),
    ({"kind": "redirect", **WORKS}, 2),
    ({"kind": "garbage"}, 3),
    ({"kind": "garbage", **WORKS}, 3),
    ({"kind": "deep"}, 2),
    ({"kind": "deep", **WORKS}, 2),
    ({"kind": "large"}, 1),
    ({"kind": "large", **WORKS}, 1),
    ({"kind": "bomb"}, 1),
    ({"kind": "bomb", **WORKS}, 1),
    ({"kind": "trickle", "seconds": 0.2}, 2),
)
CALL_SECONDS = 2.0  # a whole call here
MOST_WAITING = dt.timedelta(minutes=15)
MOST_MEMORY_MB = 200  # that calls may add to this process


@pytest.fixture
def simulators(settings: Settings, tmp_path: Path) -> Iterator[dict[str, str]]:
    with serving(("shopify", "stripe", "xero", "quickbooks"), tmp_path, settings.CONNECTOR_CREDENTIALS) as addresses:
        settings.SIMULATORS = addresses
        settings.SIMULATOR_SPEED = SPEED
        yield addresses


@pytest.fixture
def clock(business: Business, monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    """Small batches, short calls, and pauses that are counted, not waited for."""
    made = MovedClock(business.owner)
    monkeypatch.setattr(clients, "Access", partial(Access, sleep=made.sleep))
    for slug in ("shopify", "stripe", "xero", "quickbooks"):
        monkeypatch.setattr(connector(slug).client, "timeout_seconds", CALL_SECONDS)
        for stream in connector(slug).streams:
            if isinstance(stream, WritableStream):
                monkeypatch.setattr(type(stream), "batch_size", min(stream.batch_size, AT_ONCE))
    return made


def trouble(slug: str, calls: int, dice: random.Random) -> None:
    """Let a share of the coming calls, whatever they are, meet trouble by chance."""
    kinds, weights = [kind for kind, _ in KINDS], [weight for _, weight in KINDS]
    faults = [
        {"match": "* /", "after": call, **dice.choices(kinds, weights)[0]}
        for call in range(calls)
        if dice.random() < SHARE
    ]
    with provider(slug) as simulated:
        # Counted down in this order: a later one must be passed before an earlier one hits.
        for fault in reversed(faults):
            simulated.http.post("/_sim/faults", json=fault).raise_for_status()


def met(slug: str) -> dict[str, int]:
    with provider(slug) as simulated:
        return dict(simulated.counts()["faults"])


def no_more_trouble(slugs: Sequence[str]) -> None:
    for slug in slugs:
        with provider(slug) as simulated:
            simulated.http.delete("/_sim/faults").raise_for_status()


def peak_memory_mb() -> int:
    """The most this process has held so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


def memory_mb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS:"))


def business_in_trouble(world: World, clock: MovedClock, orders: list[Order], faults: int, dice: random.Random) -> None:
    """Orders come in and everything is read again and again, while calls meet trouble; at last there is none."""
    slugs = [world.source.connector, *(ledger.connector for ledger in world.ledgers)]
    rest = iter(orders)
    while sum(sum(met(slug).values()) for slug in slugs) < faults:
        for slug in slugs:
            trouble(slug, 60, dice)
        world.sell([order for order, _ in zip(rest, range(AT_ONCE), strict=False)])
        for connection in (world.source, *world.ledgers):
            world.business.read(connection)
        clock.work_off()
    no_more_trouble(slugs)
    world.sell(list(rest))
    world.read()


@pytest.mark.parametrize("ledger", ["xero", "quickbooks"])
def test_calls_in_every_trouble_lose_and_repeat_nothing(
    ledger: str,
    business: Business,
    simulators: dict[str, str],
    clock: MovedClock,
    size: Any,
    seed: int,
    tell: Any,
) -> None:
    dice = random.Random(seed)
    orders = seen_first(make_orders(size.pick(120, 750), seed=seed))
    world = connect(business, orders[:SEEN], [ledger])
    before = memory_mb()
    business_in_trouble(world, clock, orders[SEEN:], size.pick(400, 5_000), dice)
    assert clock.longest <= MOST_WAITING
    waited = clock.waited
    clock.work_off()
    assert clock.waited - waited <= MOST_WAITING
    check(business, world.flows, world.orders)
    assert peak_memory_mb() - before < MOST_MEMORY_MB
    for slug in ("shopify", ledger):
        tell("C6", f"calls in trouble, {slug}", tried=sum(met(slug).values()), events=len(world.orders))


def test_reading_in_every_trouble_ends_in_the_providers_state(
    business: Business, simulators: dict[str, str], clock: MovedClock, size: Any, seed: int, tell: Any
) -> None:
    dice = random.Random(seed)
    source = business.connect("stripe", STRIPE)
    work_quietly()
    month = enter_month("stripe", STRIPE, size.pick(60, 400))
    while sum(met("stripe").values()) < size.pick(200, 2_500):
        trouble("stripe", 60, dice)
        business.read(source)
        clock.work_off()
    no_more_trouble(["stripe"])
    assert clock.longest <= MOST_WAITING
    business.read(source)
    clock.work_off()
    assert amounts(business, source, "order") == sorted(order.total for order in month.orders)
    tell("C6", "calls in trouble, stripe", tried=sum(met("stripe").values()), events=len(month.orders))


def amounts(business: Business, source: Connection, data_type: str) -> list[Any]:
    with tenant(business.owner):
        rows = Record.objects.filter(connection=source, data_type=data_type, is_deleted=False)
        return sorted(rows.values_list("amount", flat=True))
