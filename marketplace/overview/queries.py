"""What the home page and the day page read; a fixed number of statements, however many flows and records there are."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from django.db.models import Count, F, FilteredRelation, Max, Q, QuerySet

from connectors.registry import connectors
from connectors.sdk.records import Payout, decode
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow, Stage
from marketplace.mapping.templates import template
from marketplace.overview.months import Month, month_of
from marketplace.overview.proving import FlowMonth
from marketplace.posting.models import RecordOutcome
from marketplace.posting.planning import PLANNING_STAGES
from marketplace.posting.proof import proofs_of
from marketplace.sync.models import Record


def all_flows() -> list[Flow]:
    return list(Flow.objects.select_related("source", "target").order_by("created_at"))


def flow_months(flows: Sequence[Flow], month: Month) -> list[FlowMonth]:
    """The flows that stand on a step where records are planned."""
    planning = [flow for flow in flows if flow.stage in PLANNING_STAGES]
    proofs = proofs_of(planning, month.first, month.last)
    return [FlowMonth(flow, proofs[flow.pk]) for flow in planning]


def latest_month(flows: Sequence[Flow], today: dt.date) -> Month:
    """The month in which something last happened at a source; without records, this one."""
    sides = Q(pk__in=[])
    for flow in flows:
        sides |= Q(connection_id=flow.source_id, data_type=template(flow.template).source_type)
    last = Record.objects.filter(sides, occurred_on__lte=today).aggregate(last=Max("occurred_on"))["last"]
    return month_of(last or today)


def standing_counts(flows: Sequence[Flow]) -> dict[uuid.UUID, dict[str, int]]:
    """Outcomes of records that have no day, such as contacts, by flow and state."""
    rows = (
        RecordOutcome.objects.filter(flow__in=flows, record__occurred_on=None)
        .values_list("flow_id", "state")
        .annotate(Count("id"))
        .order_by()
    )
    counts: dict[uuid.UUID, dict[str, int]] = {}
    for flow_id, state, count in rows:
        counts.setdefault(flow_id, {})[state] = count
    return counts


@dataclass(frozen=True)
class FirstSteps:
    """What a new business has done of what comes before the first proof."""

    has_source: bool
    has_ledger: bool
    flow: Flow | None

    @property
    def are_taken(self) -> bool:
        return self.flow is not None and self.flow.stage in PLANNING_STAGES


def first_steps(flows: Sequence[Flow]) -> FirstSteps:
    live = Connection.objects.exclude(state=Connection.State.DISCONNECTED).values_list("connector", flat=True)
    categories = {connectors()[slug].manifest.category for slug in set(live) if slug in connectors()}
    furthest = max(flows, key=lambda flow: list(Stage).index(Stage(flow.stage)), default=None)
    return FirstSteps(bool(categories - {"ledger"}), "ledger" in categories, furthest)


# --- payouts ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PayoutProof:
    """A payout with the sum that proves it, and what became of it."""

    record: Record
    payout: Payout
    outcomes: Sequence[RecordOutcome] = field(default_factory=list)

    @property
    def expected(self) -> Any:
        return self.payout.gross - self.payout.fees - self.payout.refunds + self.payout.adjustments

    @property
    def adds_up(self) -> bool:
        return bool(self.expected == self.payout.net)


def payouts_of(month: Month) -> list[PayoutProof]:
    """Every payout of the month, gross to deposit."""
    records = (
        Record.objects.filter(data_type="payout", is_deleted=False, occurred_on__range=(month.first, month.last))
        .select_related("connection")
        .defer("raw")
        .order_by("occurred_on", "id")
        .prefetch_related("outcomes__flow")
    )
    return [
        PayoutProof(
            record,
            cast(Payout, decode("payout", msgspec.json.encode(record.body))),
            list(record.outcomes.all()),
        )
        for record in records
    ]


# --- a day -------------------------------------------------------------------------------------------------------


def records_of_day(flow: Flow, date: dt.date) -> QuerySet[Record]:
    """Every record of the flow's source on this day, with what became of it (`state` None: not looked at)."""
    return (
        Record.objects.filter(
            connection_id=flow.source_id, data_type=template(flow.template).source_type, occurred_on=date
        )
        .annotate(ours=FilteredRelation("outcomes", condition=Q(outcomes__flow=flow)))
        .annotate(
            outcome_id=F("ours__id"),
            state=F("ours__state"),
            reason=F("ours__reason"),
            outcome_amount=F("ours__amount"),
        )
        .defer("body", "raw")
        .order_by("number", "id")
    )
