"""C1 and C2: every named point of our code, killed exactly there, and stopped there beyond the lease.

Each round does everything at once: orders are placed and told of, both ways of losing an answer are met, tokens have run out, the
shop's lists are read. Several processes are struck in it, each at another point; what they left others take over.
"""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pytest_django import Settings

from connectors.sdk.records import Order
from marketplace.core.clock import now
from marketplace.core.models import EventCopy
from marketplace.core.work import request_work
from marketplace.installations.models import Connection
from tenants.context import tenant
from tests.benchmarks.driving import KINDS, Business, provider
from tests.faults.books import check
from tests.faults.campaign import Size
from tests.faults.conftest import Tell
from tests.faults.points import EVERY_POINT, POINTS, QUICKBOOKS_POINTS, WRITING_POINTS, Point, owner_of
from tests.faults.processes import Workers, free_port, wait_until, workers
from tests.faults.tempo import LEASE, LEASE_SECONDS, SHORT_LEASE_SECONDS
from tests.faults.world import World, connect, is_more_coming, make_orders, sending_ended

pytestmark = [pytest.mark.faults, pytest.mark.stack]

SEEN, ORDERS_A_ROUND = 15, 3
AT_ONCE = 5
#: Both ways of losing an answer, at each ledger.
FAULTS: dict[str, tuple[dict[str, str], ...]] = {
    "xero": (
        {"match": "PUT /api.xro/2.0/Invoices", "kind": "drop_before"},
        {"match": "PUT /api.xro/2.0/Payments", "kind": "drop_after"},
    ),
    "quickbooks": (
        {"match": "POST /v3/company/", "contains": '"Invoice":{', "kind": "drop_before"},
        {"match": "POST /v3/company/", "contains": '"Payment":{', "kind": "drop_after"},
    ),
}
EVERYTHING = (*KINDS, "events", "subscribe")


@pytest.fixture
def address(settings: Settings) -> str:
    """Where the web servers among the workers listen."""
    found = f"http://127.0.0.1:{free_port()}"
    settings.PUBLIC_URL = found
    return found


@dataclass
class Rounds:
    """One world, stirred again and again while processes are struck."""

    world: World
    crew: Workers
    orders: list[Order]
    reached: list[Point] = field(default_factory=list)

    def stir(self) -> None:
        """Give every part of the product something to do."""
        world = self.world
        (slug,) = (ledger.connector for ledger in world.ledgers)
        with provider(slug) as simulated:
            for fault in FAULTS[slug]:
                simulated.http.post("/_sim/faults", json=fault).raise_for_status()
        with tenant(world.business.owner):
            Connection.objects.update(token_expires_at=now() - dt.timedelta(minutes=1))
            request_work(tenant_id=world.business.owner.pk, kind="subscribe", key=str(world.source.pk))
        fresh = [self.orders.pop() for _ in range(ORDERS_A_ROUND)]
        world.sell(fresh, emit=True)
        world.read()

    def settle(self) -> None:
        """Everything told, followed, read, planned and written; and nothing lost or twice in the books."""
        wait_until(self.is_over, "the end of a round")
        check(self.world.business, self.world.flows, self.world.orders)

    def is_over(self) -> bool:
        if is_more_coming(EVERYTHING) or not self.world.is_done() or not sending_ended():
            return False
        return not EventCopy.objects.filter(done_at=None).exists()

    def kill_at(self, points: Sequence[Point]) -> None:
        for point in points:
            self.crew.strike(point, "kill")
        self.stir()
        for point in points:
            self.crew.wait_for_strike(point)
        self.settle()
        self.reached += points

    def stop_at(self, points: Sequence[Point]) -> None:
        for point in points:
            self.crew.strike(point, "stop")
        self.stir()
        stopped = [(self.crew.stopped(point), point) for point in points]
        time.sleep(SHORT_LEASE_SECONDS * 1.5)  # the fault itself: they stand still until others have their leases
        for pid, point in stopped:
            self.crew.go_on(pid, point)
        self.settle()
        self.reached += points


@pytest.fixture
def lease() -> int:
    """Processes that are killed are taken over whatever their lease."""
    return LEASE_SECONDS


@pytest.fixture
def ledger() -> str:
    return "xero"


@pytest.fixture
def rounds(
    business: Business, address: str, simulators: dict[str, str], lease: int, ledger: str, tmp_path: Path
) -> Iterator[Rounds]:
    orders = make_orders(SEEN + len(POINTS) * ORDERS_A_ROUND * 2)
    world = connect(business, orders[:SEEN], [ledger])
    with workers(AT_ONCE + 2, tmp_path, written_at_once=1, webs=AT_ONCE, extra={LEASE: str(lease)}) as crew:
        wait_until(lambda: answers(address), "the web servers")
        yield Rounds(world, crew, orders[SEEN:])


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/webhooks/shopify/simulator/").status_code == 405
    except httpx.HTTPError:
        return False


def test_every_point_is_in_the_code() -> None:
    for point in EVERY_POINT:
        owner, name = owner_of(point.function)
        assert callable(getattr(owner, name)), point


def portions(points: list[Point]) -> Iterator[list[Point]]:
    for start in range(0, len(points), AT_ONCE):
        yield points[start : start + AT_ONCE]


def test_process_killed_at_any_point_loses_and_repeats_nothing(
    rounds: Rounds, size: Size, seed: int, tell: Tell
) -> None:
    dice = random.Random(seed)
    for _ in range(size.pick(1, 4)):
        for points in portions(dice.sample(POINTS, len(POINTS))):
            rounds.kill_at(points)
    assert set(rounds.reached) == set(POINTS)
    tell("C1", "kill -9 at named points", tried=len(rounds.reached), events=len(rounds.world.orders))


@pytest.mark.parametrize("lease", [SHORT_LEASE_SECONDS])
def test_process_stopped_beyond_its_lease_at_any_point_loses_and_repeats_nothing(
    rounds: Rounds, size: Size, seed: int, tell: Tell
) -> None:
    dice = random.Random(seed)
    chosen = dice.sample(POINTS, 40) if not size.is_release else [*POINTS, *dice.sample(POINTS, 40)]
    for points in portions(chosen):
        rounds.stop_at(list(dict.fromkeys(points)))
    tell("C2", "stopped at named points", tried=len(rounds.reached), events=len(rounds.world.orders))


def points_of_quickbooks(dice: random.Random, size: Size) -> list[Point]:
    """Its own, and some of those that every ledger has; at release size all."""
    others = dice.sample(WRITING_POINTS, size.pick(7, len(WRITING_POINTS)))
    return dice.sample([*QUICKBOOKS_POINTS, *others], len(QUICKBOOKS_POINTS) + len(others))


@pytest.mark.parametrize("ledger", ["quickbooks"])
def test_process_killed_while_it_writes_to_quickbooks_loses_and_repeats_nothing(
    rounds: Rounds, size: Size, seed: int, tell: Tell
) -> None:
    for points in portions(points_of_quickbooks(random.Random(seed), size)):
        rounds.kill_at(points)
    tell("C1", "kill -9 at named points, QuickBooks", tried=len(rounds.reached), events=len(rounds.world.orders))


@pytest.mark.parametrize(("ledger", "lease"), [("quickbooks", SHORT_LEASE_SECONDS)])
def test_process_stopped_while_it_writes_to_quickbooks_loses_and_repeats_nothing(
    rounds: Rounds, size: Size, seed: int, tell: Tell
) -> None:
    for points in portions(points_of_quickbooks(random.Random(seed), size)):
        rounds.stop_at(points)
    tell("C2", "stopped at named points, QuickBooks", tried=len(rounds.reached), events=len(rounds.world.orders))
