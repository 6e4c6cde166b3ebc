"""From a ledger line back to its source: what a trace shows, read in a fixed number of statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db.models import QuerySet

from connectors.sdk.records import decode
from marketplace.cutover.models import Pair
from marketplace.mapping.journal import Journal, OutOfBalance, journal_of
from marketplace.mapping.plan import PlannedDocument
from marketplace.mapping.queries import ledger_of
from marketplace.posting.models import Posting, RecordOutcome, ReversalLine
from marketplace.posting.queries import element_of
from marketplace.posting.reversal_queries import reversal_line_of
from marketplace.sync.models import Change, Record
from tenants.models import Tenant


@dataclass(frozen=True)
class Trace:
    """One posting with everything that led to it and came of it."""

    posting: Posting
    outcome: RecordOutcome | None
    change: Change | None
    changed_since: Change | None
    journal: Journal | None
    element: Any  # this posting's part of the request
    pair: Pair | None
    reversal: ReversalLine | None  # the last one that was confirmed
    siblings: Sequence[Posting]
    versions: Sequence[Posting]


def postings() -> QuerySet[Posting]:
    return Posting.objects.select_related(
        "flow__source",
        "flow__target",
        "mapping__created_by",
        "record__connection",
        "batch",
        "depends_on",
        "reverses",
        "pair__entry",
        "pair__resolved_by",
    )


def trace_of(posting: Posting, owner: Tenant) -> Trace:
    changes = list(Change.objects.filter(record=posting.record).select_related("run").order_by("at", "id"))
    family = list(
        Posting.objects.filter(flow=posting.flow, record=posting.record).exclude(pk=posting.pk).order_by("id")
    )
    before = [change for change in changes if change.at <= posting.created_at]
    return Trace(
        posting=posting,
        outcome=RecordOutcome.objects.filter(flow=posting.flow, record=posting.record).first(),
        change=before[-1] if before else None,
        changed_since=next((change for change in changes if change.at > posting.created_at), None),
        journal=_journal(posting, owner),
        element=element_of(posting),
        pair=getattr(posting, "pair", None),
        reversal=reversal_line_of(posting),
        siblings=[other for other in family if other.purpose != posting.purpose and other.state != "withdrawn"],
        versions=[other for other in family if other.purpose == posting.purpose],
    )


def _journal(posting: Posting, owner: Tenant) -> Journal | None:
    document = decode(posting.data_type, msgspec.json.encode(posting.document))
    try:
        return journal_of([PlannedDocument(purpose=posting.purpose, document=document)], ledger_of(posting.flow, owner))
    except OutOfBalance:
        return None


# --- from a record forward ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecordStory:
    """A record, how it came to be what it is, and what became of it in each flow."""

    record: Record
    changes: Sequence[Change]
    outcomes: Sequence[RecordOutcome]
    postings: Sequence[Posting]
    pairs: Sequence[Pair]  # where staff's entry is this record


def story_of(record: Record) -> RecordStory:
    return RecordStory(
        record,
        list(Change.objects.filter(record=record).select_related("run").order_by("-at", "-id")[:50]),
        list(
            RecordOutcome.objects.filter(record=record)
            .select_related("flow__target", "mapping", "decided_by")
            .order_by("flow__created_at")
        ),
        sorted(
            Posting.objects.filter(record=record).select_related("flow__target").order_by("id"),
            key=lambda posting: posting.state == Posting.State.WITHDRAWN,
        ),
        list(Pair.objects.filter(entry=record).select_related("flow", "posting").order_by("id")),
    )
