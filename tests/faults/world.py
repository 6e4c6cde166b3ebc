"""A shop with orders, two ledgers, and flows that are live; set up in quiet, before any trouble."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Collection
from dataclasses import dataclass

import msgspec
from django.db.models import Q
from django.db.models.functions import Now

from connectors.sdk.records import Order
from marketplace.core.models import WorkItem
from marketplace.core.work import claim_work, do_work
from marketplace.demo.month import make_month
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow
from marketplace.posting.models import Posting
from tenants.context import tenant
from tests.benchmarks.driving import FIRST_DAY, KINDS, Business, provider, shop
from tests.benchmarks.test_calls import QUICKBOOKS, XERO
from tests.faults.processes import wait_until

SHOP = "kestrel-and-co.myshopify.com"
ORDERS = 300
SEEN = 60  # on which the mapping is made, in quiet
SETTLING = dt.timedelta(seconds=3)
ENDED = {"delivered", "dropped", "given_up"}  # what becomes of a delivery
ON_THE_WAY = (Posting.State.PLANNED, Posting.State.SENDING, Posting.State.UNCERTAIN)
#: How often a write meets which trouble, in percent.
TROUBLE = (
    ({"kind": "drop_after"}, 20),
    ({"kind": "drop_before"}, 10),
    ({"kind": "half_body"}, 5),
    ({"kind": "status", "status": 429, "seconds": 0.1}, 5),
    ({"kind": "status", "status": 503}, 5),
)
WRITES = {"xero": "PUT /api.xro/2.0/", "quickbooks": "POST /v3/company/"}


@dataclass
class World:
    """One business with everything connected."""

    business: Business
    source: Connection
    ledgers: list[Connection]
    flows: list[Flow]
    orders: list[Order]

    def sell(self, orders: list[Order], *, emit: bool = False) -> None:
        """Customers order at the shop."""
        self.orders += orders
        with provider("shopify") as simulated:
            simulated.enter(SHOP, orders, by="provider", emit=emit)

    def read(self) -> None:
        self.business.read(self.source)

    def is_done(self) -> bool:
        """Nothing is due or leased, and no posting is on its way."""
        if is_more_coming(KINDS):
            return False
        with tenant(self.business.owner):
            return not Posting.objects.filter(state__in=ON_THE_WAY).exists()

    def count_posted(self) -> int:
        with tenant(self.business.owner):
            return Posting.objects.filter(state=Posting.State.POSTED).count()

    def wait(self, seconds: float = 120.0) -> None:
        wait_until(self.is_done, "all work done", seconds)


def is_more_coming(kinds: Collection[str]) -> bool:
    return WorkItem.objects.filter(kind__in=kinds, due_at__lte=Now() + SETTLING).exists()


def sending_ended() -> bool:
    """The shop has nothing left to tell."""
    with provider("shopify") as simulated:
        return set(simulated.counts()["deliveries"]) <= ENDED


def work_quietly(seconds: float = 60) -> None:
    """Serve the queue in this process until nothing is due, and nothing waits for a provider's allowance."""
    is_open = Q(due_at__lte=Now() + dt.timedelta(seconds=1)) | Q(problem__contains="is used up for the moment")

    def is_empty() -> bool:
        claim = claim_work()
        if claim is not None:
            do_work(claim)
        return claim is None and not WorkItem.objects.filter(is_open).exists()

    wait_until(is_empty, "the set-up", seconds)
    assert not WorkItem.objects.exclude(problem="").exists(), list(WorkItem.objects.values("kind", "problem"))


def make_orders(count: int, seed: int = 7) -> list[Order]:
    return make_month(shop(has_lines=True), FIRST_DAY, count, seed=seed).orders


def seen_first(orders: list[Order]) -> list[Order]:
    """Those that show something new come first, so that a mapping made from the first ones knows all there is."""
    known: set[tuple[object, ...]] = set()
    new: list[Order] = []
    others: list[Order] = []
    for order in orders:
        (others if _traits(order) <= known else new).append(order)
        known |= _traits(order)
    times = sorted(order.updated_at for order in orders)  # a shop's newest orders are its last
    return [msgspec.structs.replace(order, updated_at=at) for order, at in zip(new + others, times, strict=True)]


def _traits(order: Order) -> set[tuple[object, ...]]:
    """What a mapping may have to say something about."""
    lines = {(line.kind, bool(line.sku), *((tax.name, tax.rate) for tax in line.taxes)) for line in order.lines}
    payments = {("paid by", payment.method) for payment in order.payments}
    return {("from", order.country), ("is", order.status), ("in", order.currency), *lines, *payments}


def connect(business: Business, orders: list[Order], ledgers: Collection[str] = ("xero", "quickbooks")) -> World:
    """Everything connected, lists and the first orders read, and flows live with a mapping that was made from them."""
    organisations = {"xero": XERO, "quickbooks": QUICKBOOKS}
    world = World(business, business.connect("shopify", SHOP, {"shop": SHOP}), [], [], [])
    world.sell(orders)
    world.ledgers = [business.connect(slug, organisations[slug]) for slug in ledgers]
    work_quietly()
    world.flows = [business.flow(world.source, ledger) for ledger in world.ledgers]
    for flow in world.flows:
        business.go_live(flow)
    return world


def trouble(slug: str, *, calls: int, seed: int, match: str = "") -> int:
    """Let so many coming writes to one ledger meet trouble by chance. Answers how many will."""
    dice = random.Random(seed)
    kinds = [kind for kind, _ in TROUBLE]
    shares = [share for _, share in TROUBLE]
    faults = [
        {"match": match or WRITES[slug], "after": call, **dice.choices(kinds, shares)[0]}
        for call in range(calls)
        if dice.randint(1, 100) <= sum(shares)
    ]
    with provider(slug) as simulated:
        # Counted down in this order: a later one must be passed before an earlier one hits.
        for fault in reversed(faults):
            simulated.http.post("/_sim/faults", json=fault).raise_for_status()
    return len(faults)
