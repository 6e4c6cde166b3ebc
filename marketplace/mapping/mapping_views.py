"""The mapping page with its preview, and its versions. Nothing here asks a provider while a transaction is open."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_POST

from connectors.registry import connector
from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.mapping.compiling import MappingError
from marketplace.mapping.diff import Wording
from marketplace.mapping.mapping_form import MappingForm, offered_for
from marketplace.mapping.models import Flow, MappingVersion
from marketplace.mapping.operations import ask_for_lists, restore_version, save_mapping, suggested_spec
from marketplace.mapping.options import lists_read_at, options_of
from marketplace.mapping.preview import Preview, plan_preview, with_requests
from marketplace.mapping.templates import template
from marketplace.mapping.views import flow_url
from tenants.access import SENDING, TenantRequest, member
from tenants.choices import Role
from tenants.context import tenant


@dataclass
class Page:
    """What the mapping page shows, read in one transaction and completed outside of it."""

    flow: Flow
    form: MappingForm
    preview: Preview
    context: dict[str, Any]


def load_flow(flow_id: uuid.UUID) -> Flow:
    """A flow with both sides, or 404."""
    return get_object_or_404(Flow.objects.select_related("source", "target", "mapping"), pk=flow_id)


def load_page(request: TenantRequest, flow_id: uuid.UUID, typed: QueryDict | None = None) -> Page:
    """Read everything the page needs. Inside the tenant's context."""
    flow = load_flow(flow_id)
    entries = flow.mapping.spec["fields"] if flow.mapping else {}
    offered = offered_for(flow, options_of(flow), suggested_spec(flow)["fields"])
    form = MappingForm(offered=offered, entries=entries, typed=typed)
    if form.is_bound:
        form.full_clean()
    spec = form.spec()
    opened = typed.get("open", "") if typed is not None else request.GET.get("open", "")
    preview = plan_preview(flow=flow, spec=spec, owner=request.tenant, opened=int(opened) if opened.isdecimal() else 0)
    return Page(flow, form, preview, _context(request, flow))


def _context(request: TenantRequest, flow: Flow) -> dict[str, Any]:
    chosen = template(flow.template)
    return {
        "flow": flow,
        "flow_url": flow_url(request.tenant.slug, flow),
        "version": flow.mapping,
        "source_name": connector(flow.source.connector).manifest.name,
        "target_name": connector(flow.target.connector).manifest.name,
        "source_words": DATA_TYPE_NAMES[chosen.source_type],
        "lists_read_at": lists_read_at(flow.target),
        "may_change": request.membership.may(Role.BOOKKEEPER),
    }


def show_page(request: TenantRequest, page: Page, name: str = "mapping/mapping.html") -> HttpResponse:
    """Render outside the transaction, with the opened record's requests."""
    preview = with_requests(page.preview, tenant_id=request.tenant.pk, flow=page.flow)
    rows = page.form.rows
    context = {
        **page.context,
        "form": page.form,
        "preview": preview,
        "missing": [row for row in rows if row.is_missing],
        "essential": [row for row in rows if row.field.is_essential],
        "value_maps": [row for row in rows if row.field.map_over and not row.field.is_essential],
        "others": [row for row in rows if not row.field.is_essential and not row.field.map_over],
    }
    return TemplateResponse(request, name, context)


@member(opens_context=False)
def mapping(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    with tenant(request.tenant):
        page = load_page(request, flow_id)
    return show_page(request, page)


@require_POST
@member(Role.BOOKKEEPER, opens_context=False)
def preview(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    """The page as it would be, nothing saved; for htmx only its preview."""
    with tenant(request.tenant):
        page = load_page(request, flow_id, typed=request.POST)
    is_part = request.headers.get("HX-Request") == "true"
    return show_page(request, page, "mapping/preview.html" if is_part else "mapping/mapping.html")


@require_POST
@member(Role.BOOKKEEPER, opens_context=False, confirms=SENDING)
def save(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    with tenant(request.tenant):
        page = load_page(request, flow_id, typed=request.POST)
        before = page.flow.mapping_id
        if page.form.is_valid():
            comment = page.form.cleaned_data["comment"]
            version = save_mapping(flow=page.flow, spec=page.form.spec(), comment=comment, user=request.user)
    if not page.form.is_valid():
        return show_page(request, page)
    is_new = version.pk != before
    messages.success(request, f"Version {version.number} is saved." if is_new else "Nothing was changed.")
    return redirect("mapping", request.tenant.slug, flow_id)


@require_POST
@member(Role.BOOKKEEPER)
def read_lists(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    flow = load_flow(flow_id)
    ask_for_lists(flow=flow)
    messages.success(request, f"The lists of {flow.target} are being read again.")
    return redirect("mapping", request.tenant.slug, flow.pk)


@member()
def versions(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    """Every version; two of them compared in words."""
    flow = load_flow(flow_id)
    found = list(flow.mapping_versions.select_related("created_by"))
    after = _chosen(found, request.GET.get("is", ""), 0)
    before = _chosen(found, request.GET.get("was", ""), 1)
    wording = Wording(flow=flow, options=options_of(flow))
    context = {
        "flow": flow,
        "flow_url": flow_url(request.tenant.slug, flow),
        "versions": found,
        "before": before,
        "after": after,
        "changes": wording.changes(before.spec, after.spec) if before and after else [],
        "may_change": request.membership.may(Role.BOOKKEEPER),
    }
    return TemplateResponse(request, "mapping/versions.html", context)


def _chosen(found: list[MappingVersion], number: str, place: int) -> MappingVersion | None:
    """The version asked for by number, else the one at a place counted from the newest."""
    by_number = {str(version.number): version for version in found}
    if number in by_number:
        return by_number[number]
    return found[place] if place < len(found) else None


@require_POST
@member(Role.BOOKKEEPER, confirms=SENDING)
def restore(request: TenantRequest, flow_id: uuid.UUID, number: int) -> HttpResponse:
    flow = load_flow(flow_id)
    version = get_object_or_404(flow.mapping_versions, number=number)
    try:
        restored = restore_version(flow=flow, version=version, user=request.user)
    except MappingError as error:
        messages.error(request, f"Version {number} cannot be restored: {error}")
    else:
        messages.success(request, f"Version {restored.number} has the choices of version {number}.")
    return redirect("mapping_versions", request.tenant.slug, flow.pk)
