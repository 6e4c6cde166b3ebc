"""The comparison: what we would post beside what staff entered, and the decisions about it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.core.exports import csv_response
from marketplace.core.formatting import number_text, percent_text
from marketplace.cutover.forms import PairFilterForm, ResolveForm
from marketplace.cutover.frames import checklist_of, frame, the_flow, total_rows, types_text
from marketplace.cutover.gate import conditions, match_rate, target_of
from marketplace.cutover.models import Pair, Verdict
from marketplace.cutover.operations import UnableToResolve, compare_again, resolve_pairs
from marketplace.cutover.queries import (
    Total,
    comparison_under_way,
    data_types_of,
    forecast_of,
    open_count,
    pairs_of,
    sorted_pairs,
    trend_of,
    verdict_totals,
)
from marketplace.cutover.sides import money_rows, side_rows
from marketplace.cutover.words import difference_lines, ledger_name, moneys_text, source_words
from marketplace.mapping.models import Flow, Stage
from marketplace.mapping.options import account_names
from marketplace.mapping.templates import template
from tenants.access import SHOWING, TenantRequest, member
from tenants.choices import Role

PAGE = 50
IN_COLUMNS = ("Amount", "Currency")  # the list has columns for them
CSV_HEADER = (
    "Verdict", "Data type", "Date", "Currency", "At stake", "Our reference", "Our amount", "Their number",
    "Their reference", "Their date", "Their amount", "Differences", "Decision", "Reason", "Decided by",
)  # fmt: skip


@member()
def parallel(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    """Verdicts as filters, the pairs that fit, how far both sides agree, and the gate beside it."""
    return _parallel_page(request, the_flow(flow_id), ResolveForm())


def _parallel_page(request: TenantRequest, flow: Flow, resolve_form: ResolveForm) -> HttpResponse:
    form = PairFilterForm(request.GET, data_types=data_types_of(flow))
    filters = form.filters
    pairs = sorted_pairs(pairs_of(flow, filters), request.GET.get("sort", ""))
    page = Paginator(pairs, PAGE).get_page(request.GET.get("page"))
    accounts = _accounts_in(page, flow)
    work, planning = comparison_under_way(flow)
    context = frame(
        request,
        flow,
        form=form,
        page=page,
        pairs=[_row(pair, flow, accounts) for pair in page],
        chips=_chips(request, verdict_totals(flow, filters)),
        resolve_form=resolve_form,
        resolve_url=f"{reverse('resolve_pairs', args=[request.tenant.slug, flow.pk])}?{request.GET.urlencode()}",
        csv_url=f"{reverse('pairs_csv', args=[request.tenant.slug, flow.pk])}?{request.GET.urlencode()}",
        to_decide=open_count(flow),
        work=work,
        planning=planning,
        planning_words=f"{source_words(flow)} worked out",
        is_under_way=work is not None or planning is not None,
        **_standing(request, flow),
    )
    return TemplateResponse(request, "cutover/parallel.html", context)


def _accounts_in(pairs: Iterable[Pair], flow: Flow) -> Mapping[str, str]:
    """The ledger's accounts by their codes, read only where a difference is about them."""
    is_about_them = any(one["field"] == "Ledger accounts" for pair in pairs for one in pair.differences)
    return account_names(flow.target) if is_about_them else {}


def _standing(request: TenantRequest, flow: Flow) -> dict[str, Any]:
    """How far both sides agree, as figures, as a trend and as the gate."""
    rate = match_rate(flow)
    forgotten = forecast_of(flow).forgotten
    main = forgotten.get(template(flow.template).main_type, Total())
    return {
        "by_count": percent_text(rate.by_count) if rate.pairs else "–",
        "by_money": percent_text(rate.by_money) if rate.pairs else "–",
        "count_tone": "good" if rate.pairs and rate.by_count >= target_of(flow, "count_rate") else "warn",
        "money_tone": "good" if rate.pairs and rate.by_money >= target_of(flow, "money_rate") else "warn",
        "agreeing": f"{number_text(rate.agreeing)} of {number_text(rate.pairs)}",
        "money_rows": money_rows(rate),
        "forgotten": moneys_text(main.moneys).capitalize() if not main.count else moneys_text(main.moneys),
        "forgotten_note": types_text(forgotten) or _nothing_forgotten(rate.pairs),
        "trend": [(f"{day.day} {day:%b}", share) for day, share in trend_of(flow)],
        "trend_target": float(target_of(flow, "count_rate") * 100),
        **_gate(request, flow),
    }


def _nothing_forgotten(pairs: int) -> str:
    return "Every document was entered" if pairs else "Nothing compared yet"


def _gate(request: TenantRequest, flow: Flow) -> dict[str, Any]:
    """What is missing before going live first; nothing on any other step."""
    needed = conditions(flow, timezone.localdate()) if flow.stage == Stage.PARALLEL else []
    items = checklist_of(needed, request, flow)
    missing = [item for item in items if not item["is_met"]]
    return {
        "checklist": items,
        "checklist_missing": missing,
        "checklist_met": [item for item in items if item["is_met"]],
        "missing": len(missing),
        "gate_note": f"{len(missing)} of {len(items)} still missing" if missing else "All conditions are met",
    }


def _chips(request: TenantRequest, totals: dict[str, Total]) -> list[dict[str, Any]]:
    """One a verdict that occurs; a second click takes the filter off again."""
    chosen = request.GET.get("verdict", "")
    chips = []
    for row in total_rows(totals):
        query = request.GET.copy()
        query.pop("page", None)
        query["verdict"] = "" if row["value"] == chosen else row["value"]
        chips.append({**row, "url": f"?{query.urlencode()}", "is_active": row["value"] == chosen})
    return chips


def _row(pair: Pair, flow: Flow, accounts: Mapping[str, str]) -> dict[str, Any]:
    posting, entry = pair.posting, pair.entry
    source = posting.record.number if posting else ""
    return {
        "pair": pair,
        "title": source or (entry.number or entry.reference or entry.external_id if entry else ""),
        "entry_name": (entry.number or entry.reference or entry.external_id) if entry else "",
        "kind": DATA_TYPE_NAMES[pair.data_type][0],
        "kind_title": DATA_TYPE_NAMES[pair.data_type][0].capitalize(),
        "party": (posting.party if posting else "") or (entry.party if entry else ""),
        "ours": posting.amount if posting else None,
        "ours_currency": posting.currency if posting else "",
        "theirs": entry.amount if entry else None,
        "theirs_currency": entry.currency if entry else "",
        "lines": difference_lines(
            [one for one in pair.differences if one["field"] not in IN_COLUMNS],
            pair.currency,
            ledger_name(flow),
            accounts,
        ),
        "needs_decision": pair.verdict != Verdict.MATCH,
    }


@member()
def pair_page(request: TenantRequest, flow_id: uuid.UUID, pair_id: int) -> HttpResponse:
    """Our document beside staff's entry, field by field, with the decision."""
    flow = the_flow(flow_id)
    return _pair_page(request, flow, _pair(flow, pair_id), ResolveForm())


def _pair(flow: Flow, pair_id: int) -> Pair:
    related = Pair.objects.filter(flow=flow).select_related("posting__record", "entry", "resolved_by")
    return get_object_or_404(related, pk=pair_id)


def _pair_page(request: TenantRequest, flow: Flow, pair: Pair, form: ResolveForm) -> HttpResponse:
    accounts = account_names(flow.target)
    context = frame(
        request,
        flow,
        pair=pair,
        row=_row(pair, flow, accounts),
        sides=side_rows(pair, accounts),
        resolve_form=form,
        back_url=f"{reverse('parallel', args=[request.tenant.slug, flow.pk])}?{request.GET.urlencode()}".rstrip("?"),
        action=f"{reverse('resolve_pairs', args=[request.tenant.slug, flow.pk])}?{request.GET.urlencode()}",
    )
    return TemplateResponse(request, "cutover/pair.html", context)


@require_POST
@member(Role.BOOKKEEPER)
def resolve(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    """Decide the ticked pairs, or all that fit the filters of the address."""
    flow = the_flow(flow_id)
    form = ResolveForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Nothing was decided yet: choose a decision and give a reason.")
        return _parallel_page(request, flow, form)
    try:
        count = resolve_pairs(flow=flow, pair_ids=_chosen(request, flow), user=request.user, **form.cleaned_data)
    except UnableToResolve as error:
        messages.error(request, str(error))
        return _parallel_page(request, flow, form)
    word = "difference is" if count == 1 else "differences are"
    messages.success(request, f"{number_text(count)} {word} decided: {form.cleaned_data['reason']}")
    return redirect(f"{reverse('parallel', args=[request.tenant.slug, flow.pk])}?{request.GET.urlencode()}")


def _chosen(request: TenantRequest, flow: Flow) -> list[int]:
    if request.POST.get("all"):
        filters = PairFilterForm(request.GET, data_types=data_types_of(flow)).filters
        return list(pairs_of(flow, filters).exclude(verdict=Verdict.MATCH).values_list("pk", flat=True))
    return [int(value) for value in request.POST.getlist("pair") if value.isdecimal()]


@require_POST
@member(Role.BOOKKEEPER)
def compare(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    flow = the_flow(flow_id)
    compare_again(flow=flow)
    messages.success(request, "The ledger is being read again; then everything is compared anew.")
    return redirect("parallel", request.tenant.slug, flow.pk)


@member(confirms=SHOWING)
def pairs_csv(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponseBase:
    """The filtered list, whole."""
    flow = the_flow(flow_id)
    filters = PairFilterForm(request.GET, data_types=data_types_of(flow)).filters
    pairs = sorted_pairs(pairs_of(flow, filters), request.GET.get("sort", ""))
    return csv_response("comparison.csv", CSV_HEADER, _csv_rows(pairs.iterator(chunk_size=2000), flow))


def _csv_rows(pairs: Iterator[Pair], flow: Flow) -> Iterator[tuple[Any, ...]]:
    ledger, accounts = ledger_name(flow), account_names(flow.target)
    for pair in pairs:
        posting, entry = pair.posting, pair.entry
        yield (
            pair.get_verdict_display(),
            DATA_TYPE_NAMES[pair.data_type][0],
            pair.occurred_on,
            pair.currency,
            pair.money,
            posting.reference if posting else "",
            posting.amount if posting else None,
            entry.number if entry else "",
            entry.reference if entry else "",
            entry.occurred_on if entry else "",
            entry.amount if entry else None,
            "; ".join(difference_lines(pair.differences, pair.currency, ledger, accounts)),
            pair.get_resolution_display(),
            pair.resolution_reason,
            pair.resolved_by or "",
        )
