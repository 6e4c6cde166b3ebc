"""Two businesses on the same workers: a small one whose shop sends webhooks, and one whose first sync is under way beside it."""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from django.db.models import Max, Min

from connectors.sdk.records import Order
from marketplace.core.models import InboxEvent
from marketplace.demo.month import make_month
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.sync.models import Record
from tenants.context import tenant
from tests.benchmarks.driving import FIRST_DAY, Business, provider, shop
from tests.benchmarks.test_calls import QUICKBOOKS
from tests.faults.books import is_eligible
from tests.faults.processes import wait_until
from tests.faults.world import SEEN, SHOP, connect, make_orders, work_quietly

ACCOUNT = "acct_kestrel"
AT_ONCE = 5000
PATIENCE = 60.0


def celery(folder: Path, processes: int) -> list[str]:
    """The product's workers with their scheduler, as the stack starts them."""
    worker = ["celery", "-A", "marketplace", "worker", "--pool", "prefork", "--loglevel", "ERROR"]
    quiet = ["--without-gossip", "--without-mingle", "--beat", "--schedule", str(folder / "beat")]
    return [sys.executable, "-m", *worker, "--concurrency", str(processes), *quiet]


@dataclass(frozen=True)
class Followed:
    """Seconds, and those of each step: fetched, planned, about to be sent, posted. Planning may begin before fetching is noted."""

    seconds: float
    steps: Sequence[float]


@dataclass
class Small:
    """One event after the other, each followed to its posting. Its providers serve nobody else."""

    business: Business
    source: Connection
    flow: Flow
    sold: list[Order]
    orders: list[Order]
    dice: random.Random

    def sell(self, count: int) -> list[Followed]:
        """So many orders, from the acknowledged webhook to everything posted."""
        return [self._follow(self.orders.pop()) for _ in range(count)]

    def _follow(self, order: Order) -> Followed:
        self.sold.append(order)
        time.sleep(self.dice.uniform(0.0, 0.3))  # customers do not wait for each other
        with provider("shopify") as simulated:
            simulated.enter(SHOP, [order], by="provider", emit=True)
        wait_until(lambda: self._is_posted(order), f"{order.number} posted", PATIENCE)
        with tenant(self.business.owner):
            ours = Posting.objects.filter(record__external_id=order.id)
            found = ours.aggregate(Min("created_at"), Min("batch__intended_at"), Max("posted_at"))
        event = InboxEvent.objects.filter(external_id=order.id).earliest("id")
        fetched = event.copies.get().done_at
        at = [event.received_at, fetched, *found.values()]
        steps = [(after - before).total_seconds() for before, after in pairwise(at)]
        return Followed((at[-1] - at[0]).total_seconds(), steps)

    def _is_posted(self, order: Order) -> bool:
        with tenant(self.business.owner):
            return RecordOutcome.objects.filter(
                flow=self.flow, record__external_id=order.id, state=RecordOutcome.State.POSTED
            ).exists()


def small_one(business: Business, orders: int, seed: int) -> Small:
    found = [order for order in make_orders(2 * SEEN + 3 * orders) if is_eligible(order)]
    world = connect(business, found[:SEEN], ["xero"])
    work_quietly()
    return Small(business, world.source, world.flows[0], found[:SEEN], found[SEEN:], random.Random(seed))


@dataclass
class Big:
    """A first sync of one's own payments into one's own ledger."""

    business: Business
    source: Connection
    flow: Flow
    orders: int

    def begin(self) -> None:
        self.business.read(self.source)

    def is_under_way(self) -> bool:
        with tenant(self.business.owner):
            return Posting.objects.filter(flow=self.flow).count() > 0 or self._read() > SEEN

    def left(self) -> int:
        """How many orders have no outcome yet, or are not posted."""
        outcomes = self.business.outcomes(self.flow)
        return self.orders - outcomes["posted"] - outcomes["excluded"]

    def _read(self) -> int:
        return Record.objects.filter(connection=self.source, data_type="order").count()


def big_one(business: Business, orders: int) -> Big:
    """Connected and live with a few; then the rest of its past appears at once."""
    month = make_month(shop(has_lines=False), FIRST_DAY, orders, seed=11)
    with provider("stripe") as simulated:
        simulated.enter(ACCOUNT, [*month.customers, *month.orders[:SEEN]], by="provider")
    source = business.connect("stripe", ACCOUNT)
    ledger = business.connect("quickbooks", QUICKBOOKS)
    work_quietly()
    flow = business.flow(source, ledger)
    business.go_live(flow)
    work_quietly()
    with provider("stripe") as simulated:
        for start in range(SEEN, orders, AT_ONCE):
            simulated.enter(ACCOUNT, month.orders[start : start + AT_ONCE], by="provider")
    return Big(business, source, flow, orders)


def percentile(found: Sequence[Followed], percent: int) -> float:
    return sorted(one.seconds for one in found)[math.ceil(percent / 100 * len(found)) - 1]


def middle_steps(found: Sequence[Followed]) -> list[float]:
    return [sorted(step)[len(found) // 2] for step in zip(*(one.steps for one in found), strict=True)]
