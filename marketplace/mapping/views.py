"""Flows, the pilot's scope and the source of truth: load, form, one operation, redirect."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_POST

from connectors.registry import connectors
from connectors.sdk.records import DATA_TYPE_NAMES
from connectors.sdk.streams import Field
from marketplace.installations.models import Connection
from marketplace.mapping.forms import FlowForm, ScopeForm, SourceOfTruthForm
from marketplace.mapping.labels import WHOLE_KINDS, stream_fields
from marketplace.mapping.models import Flow, SourceOfTruth, Stage
from marketplace.mapping.operations import (
    UnableToAddFlow,
    UnableToSaveScope,
    create_flow,
    decide_source_of_truth,
    save_scope,
)
from marketplace.mapping.options import SourceRow, latest_records
from marketplace.mapping.pairs import can_run, reads, writes_all
from marketplace.mapping.queries import connected, flow_rows
from marketplace.mapping.scope import is_in_scope
from marketplace.mapping.templates import TEMPLATES, Template, UnknownTemplate, template
from tenants.access import SENDING, TenantRequest, member
from tenants.choices import Role

COUNTED = 200  # of how many of the latest records the scope page says how many are in scope


def flow_url(tenant_slug: str, flow: Flow) -> str:
    """The flow's own page; its mapping where there is none."""
    try:
        return reverse("flow", args=[tenant_slug, flow.pk])
    except NoReverseMatch:
        return reverse("mapping", args=[tenant_slug, flow.pk])


@member()
def flows(request: TenantRequest) -> HttpResponse:
    rows = [(row.flow, row.counts, flow_url(request.tenant.slug, row.flow)) for row in flow_rows()]
    context = {"rows": rows, "may_change": request.membership.may(Role.BOOKKEEPER)}
    return TemplateResponse(request, "flows/flows.html", context)


@dataclass(frozen=True, kw_only=True)
class TemplateRow:
    """A template with the connected pairs that can run it, or what is missing for the first one."""

    chosen: Template
    pairs: Sequence[tuple[Connection, Connection]]
    missing: str


@member(Role.BOOKKEEPER)
def new_flow(request: TenantRequest) -> HttpResponse:
    found = connected()
    rows = [_template_row(chosen, found) for chosen in TEMPLATES.values()]
    return TemplateResponse(request, "flows/new_flow.html", {"rows": rows})


def _template_row(chosen: Template, found: list[Connection]) -> TemplateRow:
    pairs = [(source, target) for source in found for target in found if can_run(chosen, source, target)]
    return TemplateRow(chosen=chosen, pairs=pairs, missing="" if pairs else _missing(chosen, found))


def _missing(chosen: Template, found: list[Connection]) -> str:
    """One sentence: what to connect, or that the catalogue has nothing for it."""
    source_words = DATA_TYPE_NAMES[chosen.source_type][1]
    target_words = " and ".join(DATA_TYPE_NAMES[name][1] for name in chosen.needs)
    reading = [slug for slug in connectors() if reads(slug, chosen.source_type)]
    writing = [slug for slug in connectors() if writes_all(slug, chosen.needs)]
    if not reading:
        return f"No connector in the catalogue reads {source_words} yet."
    if not writing:
        return f"No connector in the catalogue writes {target_words} yet."
    if not any(reads(connection.connector, chosen.source_type) for connection in found):
        return f"Connect a system that has {source_words}: {_names(reading)}."
    if not any(writes_all(connection.connector, chosen.needs) for connection in found):
        return f"Connect a system that takes {target_words}: {_names(writing)}."
    return f"Connect a second system that takes {target_words}: {_names(writing)}."


def _names(slugs: list[str]) -> str:
    return " or ".join(connectors()[slug].manifest.name for slug in slugs)


@member(Role.BOOKKEEPER)
def add_flow(request: TenantRequest, template_slug: str) -> HttpResponse:
    try:
        chosen = template(template_slug)
    except UnknownTemplate as error:
        raise Http404("No such flow.") from error
    form = FlowForm(chosen=chosen, connections=connected(), typed=request.POST if request.method == "POST" else None)
    for name in ("source", "target"):
        form.initial[name] = request.GET.get(name, "")
    if form.is_valid():
        try:
            flow = create_flow(slug=chosen.slug, user=request.user, **form.cleaned_data)
        except UnableToAddFlow as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{flow.name} is added. Check what we suggest, then save.")
            return redirect("mapping", request.tenant.slug, flow.pk)
    return TemplateResponse(request, "flows/add_flow.html", {"form": form, "chosen": chosen})


@member()
def scope(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    flow = _flow(flow_id)
    form = ScopeForm(source_fields=_scope_fields(flow), scope=flow.scope)
    return _scope_page(request, flow, form, flow.scope)


@require_POST
@member(Role.BOOKKEEPER)
def change_scope(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    """Save, or only count and offer one more row."""
    flow = _flow(flow_id)
    form = ScopeForm(source_fields=_scope_fields(flow), scope=flow.scope, typed=request.POST)
    if not form.is_valid() or "count" in request.POST:
        return _scope_page(request, flow, form, form.scope() if form.is_valid() else None)
    try:
        save_scope(flow=flow, scope=form.scope(), user=request.user)
    except UnableToSaveScope as error:
        form.add_error(None, str(error))
        return _scope_page(request, flow, form, None)
    messages.success(request, "The pilot's scope is saved.")
    return redirect("scope", request.tenant.slug, flow.pk)


def _flow(flow_id: uuid.UUID) -> Flow:
    return get_object_or_404(Flow.objects.select_related("source", "target", "mapping"), pk=flow_id)


def _scope_fields(flow: Flow) -> list[Field]:
    source_type = template(flow.template).source_type
    return [field for field in stream_fields(flow.source.connector, source_type) if field.kind not in WHOLE_KINDS]


def _scope_page(
    request: TenantRequest, flow: Flow, form: ScopeForm, conditions: list[dict[str, str]] | None
) -> HttpResponse:
    rows = latest_records(flow.source, template(flow.template).source_type, COUNTED)
    context = {
        "flow": flow,
        "flow_url": flow_url(request.tenant.slug, flow),
        "form": form,
        "looked_at": len(rows),
        "in_scope": None if conditions is None else _count_in_scope(request, rows, conditions),
        "data_type": DATA_TYPE_NAMES[template(flow.template).source_type][1],
        "is_over": flow.stage in (Stage.PARALLEL, Stage.LIVE),
        "may_change": request.membership.may(Role.BOOKKEEPER),
    }
    return TemplateResponse(request, "flows/scope.html", context)


def _count_in_scope(request: TenantRequest, rows: list[SourceRow], conditions: list[dict[str, str]]) -> int:
    zone = ZoneInfo(request.tenant.time_zone)
    return sum(1 for row in rows if is_in_scope(conditions, row.record, zone))


@member()
def source_of_truth(request: TenantRequest) -> HttpResponse:
    return _truth_page(request, SourceOfTruthForm(connections=connected(), decided=_decided()))


@require_POST
@member(Role.BOOKKEEPER, confirms=SENDING)
def decide(request: TenantRequest) -> HttpResponse:
    form = SourceOfTruthForm(connections=connected(), decided=_decided(), typed=request.POST)
    if not form.is_valid():
        return _truth_page(request, form)
    changed = [decide_source_of_truth(user=request.user, **decision) for decision in form.decisions()]
    messages.success(request, "Saved." if any(changed) else "Nothing was changed.")
    return redirect("source_of_truth", request.tenant.slug)


def _decided() -> dict[str, SourceOfTruth]:
    return {found.data_type: found for found in SourceOfTruth.objects.all()}


def _truth_page(request: TenantRequest, form: SourceOfTruthForm) -> HttpResponse:
    context = {
        "form": form,
        "connections": list(form.by_id.values()),
        "may_change": request.membership.may(Role.BOOKKEEPER),
    }
    return TemplateResponse(request, "mapping/source_of_truth.html", context)
