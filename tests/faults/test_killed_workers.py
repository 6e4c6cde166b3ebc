"""Workers that die or stand still at the worst moments."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from connectors.sdk.records import Order
from tests.benchmarks.driving import Business
from tests.faults.books import check
from tests.faults.processes import Workers, workers
from tests.faults.world import ORDERS, SEEN, World, connect, make_orders

pytestmark = [pytest.mark.faults, pytest.mark.stack]

SEED = 20262
KILLED_EVERY = 0.3
MOST_KILLS = 45


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
def test_worker_paused_beyond_its_lease_right_before_sending_repeats_nothing(
    ledger: str, business: Business, simulators: dict[str, str], tmp_path: Path, tell: Any
) -> None:
    """While it stands still, more orders arrive and another worker takes over, whose next batch would be a larger one."""
    orders = make_orders(60)
    world = connect(business, orders[:15], [ledger])
    with workers(2, tmp_path, written_at_once=30) as crew:
        for words, start in (("Invoice", 15), ("Payment", 40)):
            crew.pause_before_writing(ledger, words)
            sell(world, orders[start : start + 10])
            paused = crew.paused(ledger)
            sell(world, orders[start + 10 : start + 25])
            world.wait()
            crew.go_on(paused, ledger)
            world.wait()
    check(business, world.flows, world.orders)
    tell("C2", f"pause between intent and send, {ledger}", tried=2, events=len(world.orders))


def sell(world: World, orders: list[Order]) -> None:
    world.sell(orders)
    world.read()
