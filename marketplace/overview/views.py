"""Pages that answer "is everything in the books?" and lead from any figure to its evidence."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse

from connectors.registry import connector
from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.core.clock import now
from marketplace.core.formatting import day_text, money_text
from marketplace.mapping.models import Flow
from marketplace.overview.activity import activity_of
from marketplace.overview.attention import attention, page_url
from marketplace.overview.facts import words_of
from marketplace.overview.forms import ReadingFilter, WritingFilter
from marketplace.overview.months import month_named, month_of
from marketplace.overview.proving import FlowMonth, day_squares, truth_of
from marketplace.overview.queries import (
    FirstSteps,
    all_flows,
    first_steps,
    flow_months,
    latest_month,
    payouts_of,
    records_of_day,
    standing_counts,
)
from marketplace.overview.running import readable, recent_batches, recent_runs
from marketplace.overview.tracing import postings, story_of, trace_of
from marketplace.posting.models import Posting
from marketplace.posting.proof import proofs_of
from marketplace.posting.words import document_words
from marketplace.sync.models import Record
from tenants.access import TenantRequest, member
from tenants.choices import Role

ROWS = 50


@member()
def home(request: TenantRequest) -> HttpResponse:
    flows = all_flows()
    steps = first_steps(flows)
    if not steps.are_taken:
        return TemplateResponse(request, "overview/start.html", _start(request, steps))
    today = _today(request)
    month = month_named(request.GET.get("month", "")) or latest_month(flows, today)
    months = flow_months(flows, month)
    others, payouts = _others(flows, months), payouts_of(month)
    context = {
        **_columns(months, others),
        "month": month,
        "after": month.after if month.after.first <= today else None,
        "truth": truth_of(months, month),
        "days": _linked(day_squares(months, month, today), request.tenant.slug),
        "months": [one for one in months if one.source_count],
        "others": others,
        "attention": attention(flows, request.tenant.slug),
        "payouts": payouts,
        "has_several_payers": len({one.record.connection_id for one in payouts}) > 1,
        "activity": activity_of(request.tenant),
    }
    return TemplateResponse(request, "overview/home.html", context)


def _today(request: TenantRequest) -> dt.date:
    return now().astimezone(ZoneInfo(request.tenant.time_zone)).date()


def _linked(days: list[dict[str, object]], slug: str) -> list[dict[str, object]]:
    """Days with records open to their proof."""
    return [{**day, "url": reverse("day", args=[slug, day["date"]])} if day.get("has_records") else day for day in days]


def _others(flows: Sequence[Flow], months: Sequence[FlowMonth]) -> list[tuple[Flow, dict[str, int]]]:
    """Flows without records that have a day in this month: still being set up, without a date, or nothing happened."""
    dated = {one.flow.pk for one in months if one.source_count}
    rest = [flow for flow in flows if flow.pk not in dated]
    counts = standing_counts(rest)
    return [(flow, counts.get(flow.pk, {})) for flow in rest]


def _columns(months: Sequence[FlowMonth], others: Sequence[tuple[Flow, dict[str, int]]]) -> dict[str, Any]:
    """Columns that would hold nothing but zeros are left out."""
    counts = [*(one.counts for one in months), *(found for _, found in others)]
    compared, pending = (any(found.get(state) for found in counts) for state in ("shadow", "pending"))
    return {"shows_compared": compared, "shows_pending": pending, "columns": 5 + compared + pending}


FIRST_STEPS = (
    ("Connect where you sell", "A shop or a payment provider: where your sales come from."),
    ("Connect your ledger", "Where they belong in the end."),
    ("Add a flow", "What goes where. Orders to invoices is a good first one; most choices are made for you."),
    (
        "Rehearse and compare",
        "Edge cases first, then a few records, then beside what staff post. You say when it goes live.",
    ),
)


def _start(request: TenantRequest, steps: FirstSteps) -> dict[str, object]:
    taken = [steps.has_source, steps.has_ledger, steps.flow is not None]
    current = next((position for position, is_taken in enumerate(taken) if not is_taken), len(taken))
    return {
        "steps": steps,
        "titles": [title for title, _ in FIRST_STEPS],
        "current": current + 1,
        "step": FIRST_STEPS[current],
        "may_connect": request.membership.may(Role.ADMIN),
        "activity": activity_of(request.tenant),
    }


@member()
def activity(request: TenantRequest) -> HttpResponse:
    """The panel that refreshes by itself."""
    return TemplateResponse(request, "overview/activity.html", {"activity": activity_of(request.tenant)})


@member()
def day(request: TenantRequest, date: str) -> HttpResponse:
    """The proof of one day: every record of a flow's source and what became of it."""
    wanted = _date_or_404(date)
    flows = all_flows()
    months = _day_of(flows, wanted)
    chosen = next((one for one in months if str(one.flow.pk) == request.GET.get("flow")), months[0] if months else None)
    rows = records_of_day(chosen.flow, wanted) if chosen else Record.objects.none()
    context = {
        "date": wanted,
        "month": month_of(wanted),
        "before": wanted - dt.timedelta(days=1),
        "after": wanted + dt.timedelta(days=1),
        "months": months,
        "chosen": chosen,
        "page": Paginator(rows, ROWS).get_page(request.GET.get("page")),
    }
    return TemplateResponse(request, "overview/day.html", context)


def _date_or_404(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise Http404("Not a day.") from None


def _day_of(flows: Sequence[Flow], date: dt.date) -> list[FlowMonth]:
    proofs = proofs_of(flows, date, date)
    return [FlowMonth(flow, proofs[flow.pk]) for flow in flows if proofs[flow.pk]]


@member()
def record(request: TenantRequest, record_id: int) -> HttpResponse:
    found = get_object_or_404(Record.objects.select_related("connection"), pk=record_id)
    context = {
        "record": found,
        "title": f"{DATA_TYPE_NAMES[found.data_type][0].capitalize()} {found}",
        "kind": DATA_TYPE_NAMES[found.data_type][0],
        "list_name": DATA_TYPE_NAMES[found.data_type][1].capitalize(),
        "list_query": f"?connection={found.connection_id}&type={found.data_type}",
        "provider": connector(found.connection.connector).manifest.name,
        "words": words_of(found, ZoneInfo(request.tenant.time_zone)),
        "story": story_of(found),
    }
    return TemplateResponse(request, "overview/record.html", context)


@member()
def posting(request: TenantRequest, posting_id: int) -> HttpResponse:
    """From the ledger's line back to its source."""
    found = get_object_or_404(postings(), pk=posting_id)
    flow, record = found.flow, found.record
    ledger_name = connector(flow.target.connector).manifest.name
    source_kind = DATA_TYPE_NAMES[record.data_type][0]
    context = {
        "posting": found,
        "title": document_words(found),
        "lead": f"{money_text(found.amount, found.currency)} on {day_text(found.occurred_on)} in {flow.target}, made of {source_kind} {record}.",
        "trace": trace_of(found, request.tenant),
        "source_words": words_of(record, ZoneInfo(request.tenant.time_zone)),
        "source_kind": source_kind,
        "source_name": connector(flow.source.connector).manifest.name,
        "ledger_name": ledger_name,
        "request_line": _request_line(found),
        "flow_url": page_url("flow", request.tenant.slug, flow.pk),
        "may_reverse": request.membership.may(Role.BOOKKEEPER),
    }
    return TemplateResponse(request, "overview/posting.html", context)


def _request_line(posting: Posting) -> str:
    sent = posting.batch.request if posting.batch else {}
    return f"{sent.get('method', '')} {sent.get('path', '')}".strip()


@member()
def runs(request: TenantRequest) -> HttpResponse:
    """What is read and written, now and lately."""
    shows_writes = request.GET.get("show") == "writes"
    form = WritingFilter(request.GET) if shows_writes else ReadingFilter(request.GET)
    rows = recent_batches(**form.chosen) if shows_writes else recent_runs(**form.chosen)
    context = {
        "form": form,
        "shows_writes": shows_writes,
        "page": Paginator(rows, ROWS).get_page(request.GET.get("page")),
        "systems": readable(),
        "activity": activity_of(request.tenant),
        "may_read": request.membership.may(Role.BOOKKEEPER),
    }
    return TemplateResponse(request, "overview/runs.html", context)
