"""What needs a person, over all flows and systems, dearest first."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlencode

from django.db import connection as database
from django.db.models import Count, Sum
from django.urls import NoReverseMatch, reverse

from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.core.formatting import number_text
from marketplace.cutover.gate import CRITICAL
from marketplace.cutover.models import Pair
from marketplace.installations.models import Connection
from marketplace.installations.queries import connection_name
from marketplace.mapping.models import Flow
from marketplace.mapping.templates import template
from marketplace.posting.decisions import WAITING
from marketplace.posting.models import RecordOutcome
from marketplace.posting.planning import PLANNING_STAGES
from marketplace.posting.proof import sources_of
from marketplace.posting.words import reason_words
from marketplace.sync.events import failing_events
from marketplace.sync.models import RejectedRow
from tenants.context import current_tenant


@dataclass(frozen=True)
class Attention:
    """One thing to look at. `amount` None: it stops money rather than being an amount of it, so it comes first."""

    tone: str
    what: str
    why: str
    url: str
    action: str
    amount: Decimal | None = None
    currency: str = ""

    @property
    def rank(self) -> tuple[bool, Decimal]:
        return self.amount is not None, -abs(self.amount or Decimal(0))


def attention(flows: Sequence[Flow], slug: str) -> list[Attention]:
    found = [
        *_connections(slug),
        *_unplanned(flows, slug),
        *_waiting(flows, slug),
        *_rejected(slug),
        *_messages(slug),
        *_pairs(flows, slug),
    ]
    return sorted(found, key=lambda one: one.rank)


def page_url(name: str, *args: object, **query: object) -> str:
    """The address of a page with a query; empty when there is no such page."""
    try:
        url = reverse(name, args=[str(arg) for arg in args])
    except NoReverseMatch:
        return ""
    return f"{url}?{urlencode(query)}" if query else url


def _connections(slug: str) -> list[Attention]:
    broken = Connection.objects.filter(state=Connection.State.NEEDS_RECONNECT)
    return [
        Attention(
            "bad",
            f"{connection_name(connection)} needs reconnecting",
            connection.problem or "Nothing is read from it or written to it until then.",
            page_url("reconnect", slug, connection.pk),
            "Reconnect",
        )
        for connection in broken
    ]


def _unplanned(flows: Sequence[Flow], slug: str) -> list[Attention]:
    """Records nobody has looked at although their flow should have: paused flows, or work that fails."""
    planning = {flow.pk: flow for flow in flows if flow.stage in PLANNING_STAGES}
    with database.cursor() as cursor:
        cursor.execute(_UNPLANNED, sources_of(list(planning.values())))
        rows = cursor.fetchall()
    return [
        Attention(
            "bad",
            f"{_records(planning[flow_id], count)} not looked at yet",
            f"{planning[flow_id].name} is paused."
            if planning[flow_id].is_paused
            else f"{planning[flow_id].name} is catching up.",
            page_url("flow", slug, flow_id) if planning[flow_id].is_paused else page_url("runs", slug),
            "Open the flow" if planning[flow_id].is_paused else "See the runs",
            amount or Decimal(0),
            currency,
        )
        for flow_id, currency, count, amount in rows
    ]


def _records(flow: Flow, count: int) -> str:
    return f"{number_text(count)} {DATA_TYPE_NAMES[template(flow.template).source_type][count != 1]}"


def _waiting(flows: Sequence[Flow], slug: str) -> list[Attention]:
    by_id = {flow.pk: flow for flow in flows}
    groups = (
        RecordOutcome.objects.filter(state__in=WAITING)
        .values("flow_id", "reason_code", "currency")
        .annotate(count=Count("id"), total=Sum("amount"))
        .order_by("flow_id", "reason_code", "currency")
    )
    return [
        Attention(
            "warn",
            f"{_records(by_id[group['flow_id']], group['count'])}: {reason_words(group['reason_code'])}",
            by_id[group["flow_id"]].name,
            page_url("issues", slug, flow=group["flow_id"], reason=group["reason_code"]),
            "Look at it" if group["count"] == 1 else "Look at them",
            group["total"],
            group["currency"],
        )
        for group in groups
    ]


def _rejected(slug: str) -> list[Attention]:
    groups = (
        RejectedRow.objects.filter(resolved_at=None)
        .values("connection_id", "data_type")
        .annotate(count=Count("id"))
        .order_by("connection__organisation_name", "data_type")
    )
    sources = Connection.objects.in_bulk({group["connection_id"] for group in groups})
    return [
        Attention(
            "bad",
            f"{number_text(group['count'])} {DATA_TYPE_NAMES[group['data_type']][group['count'] != 1]} could not be read",
            f"From {connection_name(sources[group['connection_id']])}. What came is kept, and read again when it changes.",
            page_url("rejected_rows", slug),
            "See what came",
        )
        for group in groups
    ]


def _messages(slug: str) -> list[Attention]:
    """Messages of changes that nobody could follow and that are not tried again by themselves."""
    count = failing_events(current_tenant().pk).filter(is_stuck=True).count()
    if not count:
        return []
    what = f"{number_text(count)} {'message' if count == 1 else 'messages'} of changes could not be followed"
    why = "What they tell of could not be fetched in many tries."
    return [Attention("bad", what, why, page_url("failing_messages", slug), "See why")]


def _pairs(flows: Sequence[Flow], slug: str) -> list[Attention]:
    names = {flow.pk: flow.name for flow in flows}
    groups = (
        Pair.objects.filter(resolution=Pair.Resolution.OPEN, verdict__in=CRITICAL)
        .values("flow_id", "currency")
        .annotate(count=Count("id"), total=Sum("money"))
        .order_by("flow_id", "currency")
    )
    return [
        Attention(
            "warn",
            f"{number_text(group['count'])} {'difference' if group['count'] == 1 else 'differences'} from staff's entries to decide",
            names[group["flow_id"]],
            _parallel_url(slug, group["flow_id"]),
            "Compare",
            group["total"],
            group["currency"],
        )
        for group in groups
    ]


def _parallel_url(slug: str, flow_id: uuid.UUID) -> str:
    return page_url("parallel", slug, flow_id) or page_url("flow", slug, flow_id)


_UNPLANNED = """
    SELECT asked.flow_id, record.currency, count(*), sum(record.amount)
    FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS asked (flow_id, source_id, data_type)
    JOIN sync_record record ON record.connection_id = asked.source_id AND record.data_type = asked.data_type
    LEFT JOIN posting_recordoutcome outcome ON outcome.flow_id = asked.flow_id AND outcome.record_id = record.id
        AND outcome.digest = record.digest
    WHERE outcome.id IS NULL
    GROUP BY asked.flow_id, record.currency ORDER BY asked.flow_id, record.currency
"""
