"""Workers that die or stand still at the worst moments."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from connectors.sdk.records import Order
from tests.benchmarks.driving import Business, provider
from tests.faults.books import check, is_eligible
from tests.faults.points import FIRST_BYTE, POINTS
from tests.faults.processes import Workers, wait_until, workers
from tests.faults.world import ORDERS, SEEN, World, connect, make_orders

pytestmark = [pytest.mark.faults, pytest.mark.stack]

SEED = 20262
KILLED_EVERY = 0.3
MOST_KILLS = 45
(SENDING,) = (point for point in POINTS if point.name == FIRST_BYTE)


def keep_killing(world: World, crew: Workers) -> None:
    """Until the work is done in spite of it, or for so many kills."""
    while crew.kills < MOST_KILLS and not world.is_done():
        time.sleep(KILLED_EVERY)
        crew.kill_one()


def test_killed_workers_lose_and_repeat_nothing(
    business: Business, simulators: dict[str, str], tmp_path: Path, tell: Any
) -> None:
    orders = make_orders(ORDERS)
    world = connect(business, orders[:SEEN])
    with workers(4, tmp_path, seed=SEED) as crew:
        world.sell(orders[SEEN:])
        world.read()
        keep_killing(world, crew)
        world.wait()
    check(business, world.flows, world.orders)
    tell("C3", "kill -9 of a worker", tried=crew.kills, events=ORDERS * len(world.flows))


@pytest.mark.parametrize("ledger", ["xero", "quickbooks"])
def test_worker_stopped_right_before_its_first_byte_repeats_nothing_however_late_it_goes_on(
    ledger: str, business: Business, simulators: dict[str, str], tmp_path: Path, tell: Any
) -> None:
    """Beyond its lease, and beyond the ledger's memory of its key. Others take over and write what came since; what it may
    still send they leave alone."""
    orders = make_orders(60)
    world = connect(business, orders[:15], [ledger])
    with workers(3, tmp_path, written_at_once=30) as crew:
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
