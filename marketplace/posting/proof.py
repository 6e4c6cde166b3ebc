"""Proof: for every day, source total = posted + held + excluded, counted from the source's records, not from what we posted."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection as database

from marketplace.mapping.models import Flow
from marketplace.mapping.templates import template

STATES = ("posted", "shadow", "pending", "held", "failed", "excluded")


@dataclass(frozen=True)
class DayProof:
    """One day of one flow in one currency. `unplanned` records have no outcome yet: while there are any, nothing is proved."""

    date: dt.date
    currency: str
    counts: dict[str, int]
    amounts: dict[str, Decimal]
    source_count: int
    source_amount: Decimal

    @property
    def unplanned(self) -> int:
        return self.source_count - sum(self.counts.values())

    @property
    def difference(self) -> Decimal:
        """Money no outcome accounts for."""
        return self.source_amount - sum(self.amounts.values(), Decimal(0))

    @property
    def is_proved(self) -> bool:
        return self.unplanned == 0 and self.difference == 0 and not self.counts["pending"]

    @property
    def needs_attention(self) -> bool:
        return bool(self.counts["held"] or self.counts["failed"])

    @property
    def state(self) -> str:
        """good: proved and nothing waits; warn: proved, something waits for a person; bad: not proved."""
        if not self.is_proved:
            return "bad" if self.difference or self.unplanned else "warn"
        return "warn" if self.needs_attention else "good"


def proof_of(flow: Flow, first: dt.date, last: dt.date) -> list[DayProof]:
    """The proof of each day from `first` to `last`, days without records left out, oldest first."""
    return proofs_of([flow], first, last)[flow.pk]


def proofs_of(flows: Sequence[Flow], first: dt.date, last: dt.date) -> dict[uuid.UUID, list[DayProof]]:
    """`proof_of` several flows, in one statement."""
    with database.cursor() as cursor:
        cursor.execute(_PROOF, [*sources_of(flows), first, last])
        rows = cursor.fetchall()
    days: dict[uuid.UUID, dict[tuple[dt.date, str], DayProof]] = {flow.pk: {} for flow in flows}
    for flow_id, date, currency, state, count, amount, told in rows:
        day = days[flow_id].get((date, currency)) or DayProof(
            date, currency, dict.fromkeys(STATES, 0), dict.fromkeys(STATES, Decimal(0)), 0, Decimal(0)
        )
        days[flow_id][date, currency] = _with(day, state, count, amount, told)
    return {flow_id: list(found.values()) for flow_id, found in days.items()}


def sources_of(flows: Sequence[Flow]) -> tuple[list[uuid.UUID], list[uuid.UUID], list[str]]:
    """Which records belong to which flow, as three columns for `unnest`."""
    return (
        [flow.pk for flow in flows],
        [flow.source_id for flow in flows],
        [template(flow.template).source_type for flow in flows],
    )


def _with(day: DayProof, state: str | None, count: int, amount: Decimal, told: Decimal | None) -> DayProof:
    counts, amounts = dict(day.counts), dict(day.amounts)
    if state is not None:
        counts[state] += count
        amounts[state] += told or 0
    return DayProof(
        day.date, day.currency, counts, amounts, day.source_count + count, day.source_amount + (amount or 0)
    )


def total_of(days: Sequence[DayProof]) -> dict[str, dict[str, int]]:
    """Counts per state over several days, by currency."""
    totals: dict[str, dict[str, int]] = {}
    for day in days:
        total = totals.setdefault(day.currency, {"source": 0, **dict.fromkeys(STATES, 0)})
        total["source"] += day.source_count
        for state in STATES:
            total[state] += day.counts[state]
    return totals


# The source's amount comes from the record as read; the outcome's from the plan that decided about it.
_PROOF = """
    SELECT asked.flow_id, record.occurred_on, record.currency, outcome.state, count(*), sum(coalesce(record.amount, 0)),
        sum(outcome.amount)
    FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS asked (flow_id, source_id, data_type)
    JOIN sync_record record ON record.connection_id = asked.source_id AND record.data_type = asked.data_type
    LEFT JOIN posting_recordoutcome outcome ON outcome.flow_id = asked.flow_id AND outcome.record_id = record.id
        AND outcome.digest = record.digest
    WHERE record.occurred_on BETWEEN %s AND %s
    GROUP BY asked.flow_id, record.occurred_on, record.currency, outcome.state
    ORDER BY record.occurred_on, record.currency
"""
