"""A business on the simulators, driven through the product's own operations and work queue, in this process."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Count
from django.db.models.functions import Now

from connectors.registry import connector
from connectors.sdk.records import Record as StandardRecord
from marketplace.core.models import WorkItem
from marketplace.core.work import claim_work, do_work, request_work
from marketplace.demo.month import Month, Shop, make_month
from marketplace.demo.world import Simulated
from marketplace.installations.models import Connection
from marketplace.installations.operations import (
    choose_organisation,
    finish_consent,
    install_connector,
    start_consent,
)
from marketplace.mapping.models import Flow, Stage
from marketplace.mapping.operations import create_flow, save_mapping
from marketplace.posting.models import RecordOutcome
from marketplace.sync.operations import request_read
from tenants.context import tenant
from tenants.models import Tenant, User

FIRST_DAY = dt.date(2026, 10, 1)
KINDS = ("sync", "plan", "post", "pair")
SETTLING = dt.timedelta(seconds=1)  # work asked for with a short delay, to gather full batches, is due within this
WOUND_ON = dt.timedelta(minutes=5)  # a pause that is shorter is part of the job; a regular check comes later
PATIENCE = dt.timedelta(minutes=5)
PRODUCTS = (("LAMP", "Reading lamp", "48.00"), ("MUG", "Mug", "14.50"), ("RUG", "Wool rug", "129.00"))


class DidNotFinish(AssertionError):
    """Work went wrong or never came to an end."""


@dataclass(frozen=True)
class Business:
    """A tenant and its owner."""

    owner: Tenant
    user: User

    def connect(self, slug: str, organisation: str, typed: dict[str, str] | None = None) -> Connection:
        """Install, agree, press Allow at the provider, choose the organisation."""
        with tenant(self.owner):
            installation = install_connector(found=connector(slug), typed=typed or {}, user=self.user)
            address = start_consent(
                installation=installation,
                environment="simulator",
                user=self.user,
                session_key="benchmark",
                redirect_uri=f"{settings.PUBLIC_URL}/connect/{slug}/callback",
            )
        with provider(slug) as simulated:
            params = simulated.consent(address, organisation)
        consent = finish_consent(slug=slug, params=params, user=self.user, session_key="benchmark")
        with tenant(self.owner):
            return choose_organisation(state=consent.state, organisation_id=organisation, user=self.user)

    def read(self, connection: Connection) -> None:
        with tenant(self.owner):
            request_read(tenant_id=self.owner.pk, connection=connection)

    def flow(self, source: Connection, target: Connection) -> Flow:
        """Orders to invoices with the mapping the product suggests; what it leaves open gets the first account that fits."""
        with tenant(self.owner):
            flow = create_flow(slug="orders", source=source, target=target, start_date=FIRST_DAY, user=self.user)
            assert flow.mapping is not None
            save_mapping(flow=flow, spec=flow.mapping.spec, comment="Suggested", user=self.user)
            return flow

    def go_live(self, flow: Flow) -> None:
        """What the last step of the staircase does to a flow that never compared anything."""
        with tenant(self.owner):
            Flow.objects.filter(pk=flow.pk).update(stage=Stage.LIVE)
            request_work(tenant_id=self.owner.pk, kind="plan", key=str(flow.pk))

    def outcomes(self, flow: Flow) -> Counter[str]:
        with tenant(self.owner):
            found = RecordOutcome.objects.filter(flow=flow).values_list("state").annotate(Count("id"))
            return Counter(dict(found))


@contextmanager
def provider(slug: str) -> Iterator[Simulated]:
    """One simulator, and nothing left open behind."""
    simulated = Simulated(slug)
    try:
        yield simulated
    finally:
        simulated.http.close()


def shop(*, has_lines: bool) -> Shop:
    """A British shop in one currency: with lines and taxes as a shop knows them, or one amount as a payment provider does."""
    return Shop(
        name="Kestrel & Co",
        currency="GBP",
        zone=ZoneInfo("Europe/London"),
        taxes_included=has_lines,
        taxes={"GB": ("VAT", Decimal("0.2"))} if has_lines else {},
        countries=(("GB", 9), ("US", 1)),
        methods=(("shopify_payments", 85), ("paypal", 15)) if has_lines else (("card", 1),),
        products=PRODUCTS,
        fee_rate=Decimal("0.015"),
        fee_fixed=Decimal("0.20"),
        has_lines=has_lines,
    )


def enter_month(slug: str, organisation: str, orders: int) -> Month:
    """A month of business at a source, entered as its customers would."""
    month = make_month(shop(has_lines=slug == "shopify"), FIRST_DAY, orders, seed=7)
    steps: Sequence[Sequence[StandardRecord]] = ([*month.customers, *month.orders], month.refunds, month.payouts)
    with provider(slug) as simulated:
        for records in steps:
            simulated.enter(organisation, records, by="provider")
    return month


class Clock(Protocol):
    """A clock of its own to wait on."""

    def sleep(self, seconds: float) -> None: ...


def work_off(kinds: Collection[str] = KINDS, clock: Clock | None = None) -> int:
    """Serve the queue until nothing of these kinds is due or will be shortly. Answers how many items were served. Raises
    `DidNotFinish` on any problem.

    With a `clock`, what is due later is due once it is wound on: nobody waits.
    """
    until = time.time() + (PATIENCE if clock is None else PATIENCE * 6).total_seconds()
    claims = 0
    while time.time() < until:
        if not _is_more_coming(kinds, SETTLING if clock is None else WOUND_ON):
            _refuse_problems()
            return claims
        claim = claim_work()
        if claim is not None:
            do_work(claim)
            claims += 1
        elif clock is not None:
            clock.sleep(_bring_forward(kinds))
        else:
            time.sleep(0.05)
    raise DidNotFinish("The work did not come to an end.")


def _bring_forward(kinds: Collection[str]) -> float:
    """The next item is due now, which nobody asked for. Answers in how many seconds it would have been."""
    item = WorkItem.objects.filter(kind__in=kinds).annotate(at=Now()).order_by("due_at")[0]
    WorkItem.objects.filter(pk=item.pk, lease_token=None).update(due_at=Now())
    return max(0.0, float((item.due_at - item.at).total_seconds()))


def _is_more_coming(kinds: Collection[str], within: dt.timedelta) -> bool:
    return WorkItem.objects.filter(kind__in=kinds, due_at__lte=Now() + within).exists()


def _refuse_problems() -> None:
    problems = list(WorkItem.objects.exclude(problem="").values_list("kind", "key", "problem"))
    if problems:
        raise DidNotFinish(str(problems))
