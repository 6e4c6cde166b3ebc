"""What every page of one flow shows: the staircase with its links, the checklist of the next step, who may act."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from django.http import Http404
from django.urls import NoReverseMatch, reverse

from marketplace.core.formatting import look_of
from marketplace.cutover.gate import Condition
from marketplace.cutover.queries import Total, flow_of
from marketplace.cutover.words import (
    ledger_name,
    moneys_text,
    period_words,
    source_name,
    source_words,
    type_totals_text,
)
from marketplace.mapping.models import STAGE_MOVES, Flow, Stage
from tenants.access import TenantRequest
from tenants.choices import Role

STAGE_PAGES = {Stage.SET_UP: "mapping", Stage.SANDBOX: "sandbox", Stage.PILOT: "pilot", Stage.PARALLEL: "parallel"}


def the_flow(flow_id: uuid.UUID) -> Flow:
    """Raises `Http404`."""
    flow = flow_of(flow_id)
    if flow is None:
        raise Http404("There is no such flow.")
    return flow


def url_of(name: str, request: TenantRequest, flow: Flow) -> str:
    """The page of this name for the flow, or else for the business; empty when there is none."""
    for args in ([request.tenant.slug, flow.pk], [request.tenant.slug]):
        try:
            return reverse(name, args=args)
        except NoReverseMatch:
            continue
    return ""


def frame(request: TenantRequest, flow: Flow, **context: Any) -> dict[str, Any]:
    """The context of a page of this flow."""
    reached = list(Stage).index(Stage(flow.stage))
    pages = {stage: url_of(name, request, flow) for stage, name in STAGE_PAGES.items()}
    return {
        "flow": flow,
        "ledger": ledger_name(flow),
        "source": source_name(flow),
        "records": source_words(flow),
        "stage_notes": _notes(flow),
        "stage_urls": {stage: url for stage, url in pages.items() if list(Stage).index(stage) <= reached},
        "here_url": pages.get(Stage(flow.stage), "") if flow.stage != Stage.SET_UP else "",
        "period": period_words(flow),
        "may_change": request.membership.may(Role.BOOKKEEPER),
        "may_approve": request.membership.may(Role.ADMIN),
        **{f"{name}_url": url_of(name, request, flow) for name in _LINKED},
        **context,
    }


_LINKED = ("flows", "mapping", "scope", "source_of_truth", "connections", "issues", "runs")


def _notes(flow: Flow) -> dict[str, str]:
    standing = "Paused here" if flow.is_paused else "You are here"
    notes = {
        Stage.SET_UP: "Connect and map",
        Stage.SANDBOX: "Edge cases",
        Stage.PILOT: "A few real ones",
        Stage.PARALLEL: "Compare with staff",
        Stage.LIVE: "Posts by itself",
    }
    return {**{stage.value: note for stage, note in notes.items()}, flow.stage: standing}


def next_stage(flow: Flow) -> Stage | None:
    """One step forward; none for a flow that is live."""
    return _neighbour(flow, 1)


def previous_stage(flow: Flow) -> Stage | None:
    """One step back; none for a flow that has not begun."""
    return _neighbour(flow, -1)


def _neighbour(flow: Flow, offset: int) -> Stage | None:
    stages = list(Stage)
    place = stages.index(Stage(flow.stage)) + offset
    return stages[place] if 0 <= place < len(stages) and stages[place] in STAGE_MOVES[flow.stage] else None


def checklist_of(conditions: Iterable[Condition], request: TenantRequest, flow: Flow) -> list[dict[str, Any]]:
    """The gate as its component takes it: what was found, what is wanted, and where to do what is missing."""
    return [
        {
            "is_met": condition.is_met,
            "text": condition.name,
            "hint": condition.found if condition.is_met else _missing(condition),
            "url": "" if condition.is_met or not condition.url_name else url_of(condition.url_name, request, flow),
        }
        for condition in conditions
    ]


def _missing(condition: Condition) -> str:
    found = f"Now: {condition.found}. " if condition.found else ""
    wanted = f"Needed: {condition.wanted}. " if condition.wanted else ""
    return f"{found}{wanted}{condition.missing}"


def types_text(totals: dict[str, Total]) -> str:
    return type_totals_text({name: (total.count, total.moneys) for name, total in totals.items()})


def total_rows(totals: dict[str, Total]) -> Sequence[dict[str, Any]]:
    """Rows of state, word, count and money, for tables and chips."""
    return [
        {"value": value, "look": look_of(value), "count": total.count, "money": moneys_text(total.moneys)}
        for value, total in totals.items()
    ]
