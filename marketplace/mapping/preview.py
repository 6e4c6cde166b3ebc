"""Before and after: the source's latest records, what a mapping makes of them, and the very requests that would be sent.

`plan_preview` reads and plans inside the tenant's context; `with_requests` asks the target's connector outside of it, because a
connector may have to look something up at its provider.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import msgspec

from connectors.registry import connector
from connectors.sdk.client import dump_json
from connectors.sdk.errors import ConnectorError
from connectors.sdk.records import Record, encode
from connectors.sdk.streams import Draft, Field
from marketplace.core.formatting import day_text, money_text
from marketplace.installations.clients import client_for
from marketplace.mapping.compiling import MappingError, planner_of
from marketplace.mapping.drafting import draft_for
from marketplace.mapping.journal import Journal, journal_of
from marketplace.mapping.labels import stream_fields
from marketplace.mapping.models import Flow
from marketplace.mapping.options import SourceRow, latest_records
from marketplace.mapping.plan import Circumstances, Excluded, NotPlanned, PlannedDocument, Planner
from marketplace.mapping.queries import circumstances_of
from marketplace.mapping.scope import check_agreed, reach
from marketplace.mapping.steps import as_local, as_text
from marketplace.mapping.templates import template
from marketplace.mapping.templates.contacts import differing
from tenants.models import Tenant

SHOWN = 10
SUMMARY_KINDS = ("money", "date", "datetime", "choice", "text")
MOST_FACTS = 10


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What would be sent for one document: the provider's request, or why only our document can be shown."""

    title: str
    text: str
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Before:
    """A source record in its provider's words."""

    id: int
    title: str
    facts: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]
    total: Decimal | None
    currency: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """One record with what becomes of it: a refusal, or drafts and their journal."""

    before: Before
    refusal: NotPlanned | None = None
    drafts: tuple[Draft, ...] = ()
    journal: Journal | None = None
    booked: Decimal | None = None
    sent: tuple[Sent, ...] = ()

    @property
    def is_equal(self) -> bool:
        return self.booked is not None and self.booked == self.before.total


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The latest records; `problem` says why a mapping cannot be run at all. `opened` is the record shown in full."""

    results: tuple[Result, ...] = ()
    problem: str = ""
    opened: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


def plan_preview(*, flow: Flow, spec: Mapping[str, Any], owner: Tenant, opened: int = 0) -> Preview:
    """Plan the latest records with a mapping that need not be saved. Writes nothing."""
    chosen = template(flow.template)
    try:
        planner = planner_of(chosen.slug, spec)
    except MappingError as error:
        return Preview(problem=str(error))
    circumstances = circumstances_of(flow, owner)
    rows = latest_records(flow.source, chosen.source_type, SHOWN)
    results = tuple(_result(flow, owner, row, planner, circumstances) for row in rows)
    counts = {
        "posted": sum(1 for result in results if result.refusal is None),
        "held": sum(1 for result in results if result.refusal and result.refusal.state == "held"),
        "excluded": sum(1 for result in results if result.refusal and result.refusal.state == "excluded"),
    }
    return Preview(results=results, opened=_opened(results, opened), counts=counts)


def _opened(results: tuple[Result, ...], wanted: int) -> int:
    """The record asked for, else the first that would be posted."""
    known = {result.before.id for result in results}
    if wanted in known:
        return wanted
    return next((result.before.id for result in results if result.drafts), 0)


def _result(flow: Flow, owner: Tenant, row: SourceRow, planner: Planner, circumstances: Circumstances) -> Result:
    before = _before(flow, row, circumstances)
    try:
        if row.is_deleted:
            raise Excluded("deleted", "It was deleted at the source.")
        check_agreed(flow, row.record, row.occurred_on, circumstances.time_zone)
        whole = planner(row.record, circumstances)
    except NotPlanned as refusal:
        return Result(before=before, refusal=refusal)
    planned = [part for one in whole if (part := differing(one, circumstances)) is not None]
    return Result(
        before=before,
        drafts=tuple(draft_for(owner, flow, row.external_id, part) for part in planned),
        journal=journal_of(planned, circumstances.ledger),
        booked=_booked(planned),
    )


def _booked(planned: list[PlannedDocument]) -> Decimal | None:
    """The total of the main document, which is the first."""
    main = planned[0].document if planned else None
    return getattr(main, "total", getattr(main, "amount", None))


def _before(flow: Flow, row: SourceRow, circumstances: Circumstances) -> Before:
    record = row.record
    fields = stream_fields(flow.source.connector, record.data_type)
    facts = [(field.label, _words(record, field, circumstances)) for field in fields if _is_summary(field)]
    currency = getattr(record, "currency", "")
    return Before(
        id=row.id,
        title=str(getattr(record, "number", "") or getattr(record, "name", "") or row.external_id),
        facts=tuple((label, words) for label, words in facts if words)[:MOST_FACTS],
        lines=tuple(
            f"{line.description} · {money_text(line.amount, currency)}" for line in getattr(record, "lines", ())
        ),
        total=getattr(record, "total", getattr(record, "net", None)),
        currency=currency,
    )


def _is_summary(field: Field) -> bool:
    return field.kind in SUMMARY_KINDS and not field.path.startswith("lines.") and field.path not in ("id", "custom")


def _words(record: Record, field: Field, circumstances: Circumstances) -> str:
    values = [as_local(value, circumstances.time_zone) for value in reach(record, field.path)]
    if field.kind == "money":
        currency = getattr(record, "currency", "")
        return ", ".join(money_text(value, currency) for value in values if isinstance(value, Decimal))
    return ", ".join(
        filter(None, (day_text(value) if isinstance(value, dt.date) else as_text(value) for value in values))
    )


def with_requests(preview: Preview, *, tenant_id: uuid.UUID, flow: Flow) -> Preview:
    """Add the exact requests of the opened record. Called outside the tenant's context."""
    results = tuple(
        replace(result, sent=_sent(result, tenant_id, flow)) if result.before.id == preview.opened else result
        for result in preview.results
    )
    return replace(preview, results=results)


def _sent(result: Result, tenant_id: uuid.UUID, flow: Flow) -> tuple[Sent, ...]:
    """One entry a document; a provider that cannot be asked now does not keep the document from being shown."""
    found = connector(flow.target.connector)
    sent = []
    for draft in result.drafts:
        stream = found.writable(draft.document.data_type)
        try:
            request = stream.preview(client_for(tenant_id, flow.target), [draft])
        except ConnectorError as error:
            sent.append(Sent(title=stream.label, text=_json(encode(draft.document)), problem=error.user_message))
        else:
            title = f"{request.method} {request.path}"
            sent.append(Sent(title=title, text=_json(dump_json(request.body))))
    return tuple(sent)


def _json(body: bytes) -> str:
    """JSON to read, every number digit for digit as it is sent."""
    return msgspec.json.format(body, indent=2).decode()
