"""Reading what the staircase's pages show."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from django.db.models import Case, Count, Exists, F, OuterRef, Q, QuerySet, Sum, Value, When

from marketplace.core.formatting import problem_words
from marketplace.core.models import WorkItem
from marketplace.core.progress import progress_of_work
from marketplace.cutover.gate import IS_AGREED
from marketplace.cutover.models import Pair, SandboxCase, StageMove, Verdict
from marketplace.mapping.models import Flow, Stage
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.posting.queries import planned_shares
from marketplace.sync.models import Record
from tenants.context import current_tenant

Moneys = dict[str, Decimal]
SORTS = {
    "date": ("occurred_on", "pk"),
    "money": ("money", "pk"),
    "verdict": ("verdict", "-money", "pk"),
}


@dataclass
class Total:
    """How many, and how much in each currency."""

    count: int = 0
    moneys: Moneys = field(default_factory=dict)

    def add(self, count: int, currency: str, money: Decimal | None) -> None:
        self.count += count
        self.moneys[currency] = self.moneys.get(currency, Decimal(0)) + (money or 0)


TypeTotals = dict[str, Total]


@dataclass(frozen=True, kw_only=True)
class Work:
    """Something the queue does for a flow: under way, or stopped by a problem and tried again. `done` of `total`, where it was told."""

    problem: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What going live would do, by the comparison as it stands; each by data type, since an order is an invoice and a payment."""

    linked: TypeTotals
    forgotten: TypeTotals
    left_out: TypeTotals
    later: int  # shadow postings dated outside the period: compared at the moment of going live


def flow_of(flow_id: uuid.UUID) -> Flow | None:
    related = Flow.objects.select_related("source", "target", "mapping__created_by")
    return related.filter(pk=flow_id).first()


def outcome_totals(flow: Flow) -> dict[str, Total]:
    """What became of the flow's records, by state, in the states' own order."""
    rows = RecordOutcome.objects.filter(flow=flow).values_list("state", "currency")
    totals: dict[str, Total] = {}
    for state, currency, count, money in rows.annotate(Count("pk"), Sum("amount")).order_by("currency"):
        totals.setdefault(state, Total()).add(count, currency, money)
    return {state: totals[state] for state in RecordOutcome.State.values if state in totals}


def waiting_count(flow: Flow) -> int:
    """Worked out and not in the ledger."""
    waiting = [Posting.State.PLANNED, Posting.State.SHADOW]
    return Posting.objects.filter(flow=flow, reverses=None, state__in=waiting).count()


def in_ledger_count(flow: Flow) -> int:
    return Posting.objects.filter(flow=flow, reverses=None, state=Posting.State.POSTED, action="create").count()


def moves_of(flow: Flow) -> QuerySet[StageMove]:
    return StageMove.objects.filter(flow=flow).select_related("moved_by", "approved_by")


def cases_of(flow: Flow) -> dict[str, SandboxCase]:
    """The latest result of each edge case, by name."""
    return {case.name: case for case in SandboxCase.objects.filter(flow=flow).select_related("mapping")}


def work_under_way(kind: str, key: str) -> Work | None:
    """Whether the queue still has this work to do."""
    return _works([kind], key).get(kind)


def comparison_under_way(flow: Flow) -> tuple[Work | None, Work | None]:
    """The comparison, and before it working out the source's records, with how far that is."""
    works = _works(["pair", "plan"], str(flow.pk))
    planning = works.get("plan")
    done, total = planned_shares([flow])[flow.pk] if planning else (0, 0)
    return works.get("pair"), replace(planning, done=done, total=total) if planning and done < total else None


def _works(kinds: list[str], key: str) -> dict[str, Work]:
    items = WorkItem.objects.filter(tenant_id=current_tenant().pk, kind__in=kinds, key=key)
    return {item.kind: _work(item) for item in items.only("tenant_id", "kind", "key", "problem", "lease_until")}


def _work(item: WorkItem) -> Work:
    problem = problem_words(item.problem) if item.problem else ""
    told = progress_of_work(tenant_id=item.tenant_id, kind=item.kind, key=item.key) if item.lease_until else None
    return Work(problem=problem, done=told.done, total=told.total) if told else Work(problem=problem)


def pilot_outcomes(flow: Flow) -> QuerySet[RecordOutcome]:
    """Records in the pilot's scope, newest first."""
    ours = RecordOutcome.objects.filter(flow=flow, stage=Stage.PILOT).exclude(reason_code="outside_pilot")
    return ours.select_related("record").order_by("-occurred_on", "-pk")


def outside_pilot_count(flow: Flow) -> int:
    return RecordOutcome.objects.filter(flow=flow, stage=Stage.PILOT, reason_code="outside_pilot").count()


def documents_of(flow: Flow, outcomes: Iterable[RecordOutcome]) -> dict[int, list[Posting]]:
    """The documents written for these records, by record."""
    found: dict[int, list[Posting]] = {}
    postings = Posting.objects.filter(flow=flow, record_id__in=[outcome.record_id for outcome in outcomes])
    for posting in postings.exclude(state=Posting.State.WITHDRAWN).order_by("pk"):
        found.setdefault(posting.record_id, []).append(posting)
    return found


def pairs_of(flow: Flow, filters: Mapping[str, Any]) -> QuerySet[Pair]:
    """The flow's pairs that fit what was asked for: verdict, data type, decision, dates and text."""
    pairs = Pair.objects.filter(flow=flow)
    exact = {"verdict": "verdict", "data_type": "data_type", "since": "occurred_on__gte", "until": "occurred_on__lte"}
    pairs = pairs.filter(**{lookup: filters[name] for name, lookup in exact.items() if filters.get(name)})
    decision = filters.get("decision")
    if decision == "open":
        pairs = pairs.filter(resolution=Pair.Resolution.OPEN).exclude(verdict=Verdict.MATCH)
    elif decision:
        pairs = pairs.filter(resolution=decision)
    if filters.get("q"):
        pairs = pairs.filter(_mentions(flow, filters["q"]))
    return pairs


def _mentions(flow: Flow, text: str) -> Q:
    """Numbers, references and names of either side. Each side is searched by itself: joined, every pair would be looked up on both."""
    ours = Posting.objects.filter(_any_holds(text, "record__number", "reference", "number", "party"), flow=flow)
    theirs = Record.objects.filter(_any_holds(text, "number", "reference", "party"), connection=flow.target_id)
    return Q(posting__in=ours.values("pk")) | Q(entry__in=theirs.values("pk"))


def _any_holds(text: str, *names: str) -> Q:
    found = Q()
    for name in names:
        found |= Q(**{f"{name}__icontains": text})
    return found


def sorted_pairs(pairs: QuerySet[Pair], asked: str) -> QuerySet[Pair]:
    """With both sides at hand, in the asked order; unless asked otherwise what is to decide comes first and what agrees last, the most
    money on top."""
    name, is_down = asked.removeprefix("-"), asked.startswith("-")
    columns = SORTS.get(name, ())
    if not columns:
        is_decided = ~Q(resolution=Pair.Resolution.OPEN)
        first = Case(When(verdict=Verdict.MATCH, then=Value(2)), When(is_decided, then=Value(1)), default=Value(0))
        return pairs.select_related("posting__record", "entry", "resolved_by").order_by(first, "-money", "pk")
    order = [
        F(column.lstrip("-")).desc() if is_down != column.startswith("-") else column.lstrip("-") for column in columns
    ]
    return pairs.select_related("posting__record", "entry", "resolved_by").order_by(*order)


def verdict_totals(flow: Flow, filters: Mapping[str, Any]) -> dict[str, Total]:
    """Count and money by verdict, of what the other filters leave, in the verdicts' own order."""
    pairs = pairs_of(flow, {**filters, "verdict": ""})
    totals: dict[str, Total] = {}
    for verdict, currency, count, money in (
        pairs.values_list("verdict", "currency").annotate(Count("pk"), Sum("money")).order_by("currency")
    ):
        totals.setdefault(verdict, Total()).add(count, currency, money)
    return {verdict: totals[verdict] for verdict in Verdict.values if verdict in totals}


def data_types_of(flow: Flow) -> list[str]:
    return list(Pair.objects.filter(flow=flow).order_by("data_type").values_list("data_type", flat=True).distinct())


def open_count(flow: Flow) -> int:
    return pairs_of(flow, {"decision": "open"}).count()


def trend_of(flow: Flow) -> list[tuple[dt.date, Decimal]]:
    """The share of pairs that agree, day by day, in percent."""
    days = Pair.objects.filter(flow=flow).values_list("occurred_on")
    rows = days.annotate(pairs=Count("pk"), agreeing=Count("pk", filter=IS_AGREED)).order_by("occurred_on")
    return [(day, (Decimal(agreed * 100) / count).quantize(Decimal("0.1"))) for day, count, agreed in rows]


def forecast_of(flow: Flow) -> Forecast:
    """One statement over the pairs, one over the postings."""
    linked: TypeTotals = {}
    forgotten: TypeTotals = {}
    left_out: TypeTotals = {}
    both = Q(posting__isnull=False, entry__isnull=False)
    missing = Pair.objects.filter(flow=flow).filter(both | Q(verdict=Verdict.MISSING_IN_THEIRS))
    is_left_out = Q(verdict=Verdict.MISSING_IN_THEIRS, resolution=Pair.Resolution.THEIRS_RIGHT)
    kind = Case(When(both, then=Value("linked")), When(is_left_out, then=Value("left")), default=Value("forgotten"))
    rows = missing.annotate(kind=kind).values_list("kind", "data_type", "currency").order_by("data_type", "currency")
    for name, data_type, currency, count, money in rows.annotate(Count("pk"), Sum("posting__amount")):
        totals = {"linked": linked, "left": left_out, "forgotten": forgotten}[name]
        totals.setdefault(data_type, Total()).add(count, currency, money)
    is_paired = Exists(Pair.objects.filter(posting=OuterRef("pk")))
    later = Posting.objects.filter(flow=flow, state=Posting.State.SHADOW).exclude(is_paired).count()
    return Forecast(linked=linked, forgotten=forgotten, left_out=left_out, later=later)
