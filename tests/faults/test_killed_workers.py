"""Workers that die or stand still at the worst moments."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connectors.sdk.records import Order
from marketplace.core.models import EventCopy, WebhookDelivery
from tests.benchmarks.driving import KINDS, Business, provider
from tests.faults.books import check, is_eligible
from tests.faults.campaign import Size
from tests.faults.conftest import Tell
from tests.faults.points import FIRST_BYTE, POINTS
from tests.faults.processes import Workers, wait_until, workers
from tests.faults.tempo import LEASE, SHORT_LEASE_SECONDS
from tests.faults.test_points import address  # noqa: F401 -- a fixture
from tests.faults.world import SEEN, World, connect, is_more_coming, make_orders, seen_first, sending_ended

pytestmark = [pytest.mark.faults, pytest.mark.stack]

(SENDING,) = (point for point in POINTS if point.name == FIRST_BYTE)
MOST_SECONDS = 0.25  # between two kills


@dataclass
class Slaughter:
    """One world in which orders go on being placed and told of while processes are killed by chance."""

    world: World
    crew: Workers
    dice: random.Random

    def go_on(self, orders: list[Order], *, steps: int, kills: int) -> None:
        """In each step some orders are placed, some processes killed, now and then all at once."""
        for step in range(steps):
            self.world.sell(orders[len(orders) * step // steps : len(orders) * (step + 1) // steps], emit=True)
            self.world.read()
            until = kills * (step + 1) // steps
            while self.crew.kills < until:
                time.sleep(self.dice.uniform(0, MOST_SECONDS))  # the fault itself: some time at work, then the end
                if step == steps // 2 and self.crew.kills < until - 10:
                    self.crew.kill_all()
                self.crew.kill_one()

    def is_over(self) -> bool:
        if is_more_coming((*KINDS, "events")) or not self.world.is_done() or not sending_ended():
            return False
        return not EventCopy.objects.filter(done_at=None).exists()


def test_killed_processes_lose_and_repeat_nothing(
    business: Business,
    address: str,  # noqa: F811
    simulators: dict[str, str],
    tmp_path: Path,
    size: Size,
    seed: int,
    tell: Tell,
) -> None:
    """Whatever the shop was told is taken, stands in the inbox once; whatever it sold stands in each ledger once."""
    # In the order of their times, as a shop's do: what the sender gave up on is found when news are read.
    orders = seen_first(make_orders(size.pick(560, 2800), seed))
    world = connect(business, orders[:SEEN])
    with workers(4, tmp_path, seed=seed, written_at_once=30, webs=2) as crew:
        slaughter = Slaughter(world, crew, random.Random(seed))
        slaughter.go_on(orders[SEEN:], steps=size.pick(10, 50), kills=size.pick(100, 1000))
        world.read()
        wait_until(slaughter.is_over, "the end of all work", size.pick(180, 1800))
    verdicts = check(business, world.flows, world.orders)
    log = deliveries()
    acknowledged = {digest(entry) for entry in log if 200 in entry["answers"]}
    rows = Counter(WebhookDelivery.objects.values_list("digest", flat=True))
    assert acknowledged <= set(rows) and set(rows.values()) == {1}
    events = len(log) + sum(verdict.entries for verdict in verdicts)
    tell("C3", "kill -9 of workers, webs, and all at once", tried=crew.kills, events=events)


def deliveries() -> list[dict[str, Any]]:
    with provider("shopify") as simulated:
        return simulated.deliveries()


def digest(entry: dict[str, Any]) -> str:
    return hashlib.sha256(entry["body"].encode()).hexdigest()


@pytest.mark.parametrize("ledger", ["xero", "quickbooks"])
def test_worker_stopped_right_before_its_first_byte_repeats_nothing_however_late_it_goes_on(
    ledger: str, business: Business, simulators: dict[str, str], tmp_path: Path, tell: Any
) -> None:
    """Beyond its lease, and beyond the ledger's memory of its key. Others take over and write what came since; what it may
    still send they leave alone."""
    orders = make_orders(60)
    world = connect(business, orders[:15], [ledger])
    with workers(3, tmp_path, written_at_once=30, extra={LEASE: str(SHORT_LEASE_SECONDS)}) as crew:
        for words, start in (("Invoice", 15), ("Payment", 40)):
            crew.strike(SENDING, "stop", words)
            sell(world, orders[start : start + 10])
            stopped = crew.stopped(SENDING)
            since = orders[start + 10 : start + 25]
            enough = world.count_posted() + sum(1 + len(order.payments) for order in since if is_eligible(order))
            sell(world, since)
            wait_until(lambda: world.count_posted() >= enough, "what came since written by others")  # noqa: B023 -- at once
            with provider(ledger) as simulated:
                simulated.http.post("/_sim/clock", json={"advance_seconds": 25 * 3600}).raise_for_status()
            crew.go_on(stopped, SENDING)
            world.wait()
    check(business, world.flows, world.orders)
    tell("C2", f"stopped between intent and first byte, {ledger}", tried=2, events=len(world.orders))


def sell(world: World, orders: list[Order]) -> None:
    world.sell(orders)
    world.read()
