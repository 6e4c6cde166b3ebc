"""What waits for a person, found and described."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection as database
from django.db.models import Count, Q, QuerySet, Sum

from connectors.registry import connector
from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.core.formatting import day_text, money_text
from marketplace.mapping.models import Flow
from marketplace.mapping.templates import template
from marketplace.posting.decisions import ACCEPTABLE, WAITING
from marketplace.posting.keys import mark_of
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.posting.settling import UNCONFIRMED
from marketplace.posting.words import reason_words
from marketplace.sync.models import Record

SORTS = {"money": "amount", "date": "occurred_on", "record": "record__number"}
IN_LEDGER = (Posting.State.POSTED, Posting.State.LINKED)


def issues(
    *,
    flow_id: uuid.UUID | None = None,
    reason: str = "",
    state: str = "",
    owner: str = "",
    text: str = "",
    first: dt.date | None = None,
    last: dt.date | None = None,
    sort: str = "",
) -> QuerySet[RecordOutcome]:
    """Held and failed outcomes, dearest first."""
    found = RecordOutcome.objects.filter(state__in=[state] if state in WAITING else WAITING)
    equal = {"flow_id": flow_id, "reason_code": reason, "owner": owner}
    found = found.filter(**{name: value for name, value in equal.items() if value})
    if first:
        found = found.filter(occurred_on__gte=first)
    if last:
        found = found.filter(occurred_on__lte=last)
    for word in text.split():
        found = found.filter(
            Q(record__number__icontains=word)
            | Q(record__party__icontains=word)
            | Q(record__external_id__icontains=word)
            | Q(reason__icontains=word)
        )
    return _with_record(found).order_by(*_order(sort))


def _with_record(found: QuerySet[RecordOutcome]) -> QuerySet[RecordOutcome]:
    return found.select_related("flow__source", "flow__target", "record").defer("record__body", "record__raw")


def _order(sort: str) -> Sequence[str]:
    column = SORTS.get(sort.removeprefix("-"), "amount")
    sign = "-" if sort.startswith("-") or sort.removeprefix("-") not in SORTS else ""
    return (f"{sign}{column}", "id")


@dataclass(frozen=True)
class ReasonGroup:
    """Waiting records of one reason, in one currency."""

    code: str
    currency: str
    count: int
    amount: Decimal
    again: int  # being worked out again as mapped now

    @property
    def words(self) -> str:
        return reason_words(self.code)


def reason_groups(found: QuerySet[RecordOutcome]) -> list[ReasonGroup]:
    """The list by reason, dearest first."""
    rows = (
        found.order_by()
        .values("reason_code", "currency")
        .annotate(count=Count("id"), total=Sum("amount"), again=Count("id", filter=Q(is_replay_asked=True)))
        .order_by("-total", "reason_code")
    )
    return [ReasonGroup(row["reason_code"], row["currency"], row["count"], row["total"], row["again"]) for row in rows]


@dataclass(frozen=True)
class WorkingOut:
    """Records of one flow that somebody asked to post again: how far the flow's records are worked out."""

    flow: Flow
    done: int
    total: int

    @property
    def what(self) -> str:
        return f"{DATA_TYPE_NAMES[template(self.flow.template).source_type][1]} worked out"


def working_out(found: QuerySet[RecordOutcome]) -> list[WorkingOut]:
    """What of these is being worked out again, flow by flow."""
    asked = found.order_by().filter(is_replay_asked=True).values("flow_id")
    flows = list(Flow.objects.filter(pk__in=asked).order_by("created_at"))
    if not flows:
        return []
    shares = planned_shares(flows)
    return [WorkingOut(flow, *shares[flow.pk]) for flow in flows]


def mark_of_choice(ids: Sequence[int]) -> str:
    """Of exactly these records: what a person was shown before they confirmed a decision about all of them."""
    return hashlib.sha256(",".join(map(str, sorted(ids))).encode()).hexdigest()


def waiting_reasons() -> list[tuple[str, str]]:
    """For the filter: only reasons something waits for now."""
    codes = RecordOutcome.objects.filter(state__in=WAITING).values_list("reason_code", flat=True).distinct().order_by()
    return sorted(((code, reason_words(code).capitalize()) for code in codes if code), key=lambda pair: pair[1])


def record_words(outcome: RecordOutcome) -> str:
    """Such as "Order #1001 of 3 Oct 2026, GBP 40.00"."""
    record: Record = outcome.record
    name = DATA_TYPE_NAMES[record.data_type][0].capitalize()
    money = f", {money_text(outcome.amount, outcome.currency)}" if outcome.currency else ""
    return f"{name} {record} of {day_text(outcome.occurred_on)}{money}"


def planned_shares(flows: Sequence[Flow]) -> dict[uuid.UUID, tuple[int, int]]:
    """How many records of each flow's source are worked out as they stand, and how many there are."""
    types = [template(flow.template).source_type for flow in flows]
    with database.cursor() as cursor:
        cursor.execute(_PLANNED_SHARES, [[flow.pk for flow in flows], [flow.source_id for flow in flows], types])
        return {flow_id: (done, total) for flow_id, done, total in cursor.fetchall()}


_PLANNED_SHARES = """
    SELECT flow.id, count(*) FILTER (WHERE outcome.digest = record.digest AND NOT outcome.is_replay_asked), count(record.id)
    FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS flow (id, source_id, data_type)
    LEFT JOIN sync_record record ON record.connection_id = flow.source_id AND record.data_type = flow.data_type
    LEFT JOIN posting_recordoutcome outcome ON outcome.flow_id = flow.id AND outcome.record_id = record.id
    GROUP BY flow.id
"""


@dataclass(frozen=True)
class Evidence:
    """Everything a bookkeeper may want to see before deciding about one record."""

    outcome: RecordOutcome
    postings: Sequence[Posting]

    @property
    def flow(self) -> Flow:
        return self.outcome.flow

    @property
    def ledger(self) -> str:
        return connector(self.flow.target.connector).manifest.name

    @property
    def source(self) -> str:
        return connector(self.flow.source.connector).manifest.name

    @property
    def in_ledger(self) -> list[Posting]:
        return [posting for posting in self.postings if posting.state in IN_LEDGER and posting.reverses_id is None]

    @property
    def latest(self) -> list[Posting]:
        return [posting for posting in self.postings if posting.state != Posting.State.WITHDRAWN]

    @property
    def sent(self) -> list[tuple[Posting, Any]]:
        """Each document with its part of the request."""
        return [(posting, element_of(posting)) for posting in self.latest]

    @property
    def may_accept(self) -> bool:
        """There is an entry in the ledger that can be called right, or a person can see whether there is."""
        return self.is_unconfirmed or (self.outcome.reason_code in ACCEPTABLE and bool(self.in_ledger))

    @property
    def may_exclude(self) -> bool:
        return not self.in_ledger and not self.is_unconfirmed

    @property
    def is_unconfirmed(self) -> bool:
        return self.outcome.reason_code == UNCONFIRMED


def evidence_of(outcome: RecordOutcome) -> Evidence:
    postings = Posting.objects.filter(flow=outcome.flow, record=outcome.record).select_related("batch").order_by("id")
    return Evidence(outcome, list(postings))


def element_of(posting: Posting) -> Any:
    """This posting's element of a request that carried several, found by its mark, else by its place in the batch."""
    if posting.batch is None:
        return None
    elements = _elements(posting.batch.request["body"], posting.batch.size)
    if elements is None:
        return posting.batch.request["body"]
    marked = [element for element in elements if mark_of(posting.key) in json.dumps(element)]
    if len(marked) == 1:
        return marked[0]
    order = list(Posting.objects.filter(batch=posting.batch).order_by("id").values_list("pk", flat=True))
    return elements[order.index(posting.pk)] if len(order) == len(elements) else posting.batch.request["body"]


def _elements(body: Any, size: int) -> list[Any] | None:
    """The list in a request's body that holds one element a document."""
    if isinstance(body, list) and len(body) == size:
        return body
    if isinstance(body, dict):
        return next((found for value in body.values() if (found := _elements(value, size)) is not None), None)
    return None
