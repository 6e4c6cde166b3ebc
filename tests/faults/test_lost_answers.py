"""Answers that are lost, cut off or refused, at both ledgers at once, with four workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.driving import Business
from tests.faults.books import check
from tests.faults.processes import workers
from tests.faults.world import ORDERS, SEEN, connect, make_orders, trouble

pytestmark = [pytest.mark.faults, pytest.mark.stack]

SEED = 20261


def test_lost_answers_of_two_ledgers_lose_and_repeat_nothing(
    business: Business, simulators: dict[str, str], tmp_path: Path, tell: Any
) -> None:
    orders = make_orders(ORDERS)
    world = connect(business, orders[:SEEN])
    tried = sum(trouble(slug, calls=60, seed=SEED) for slug in ("xero", "quickbooks"))
    with workers(4, tmp_path, seed=SEED):
        world.sell(orders[SEEN:])
        world.read()
        world.wait()
    check(business, world.flows, world.orders)
    tell("C6", "writes dropped before and after, cut off, 429, 503", tried=tried, events=ORDERS * len(world.flows))
