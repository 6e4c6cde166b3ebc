"""The trail of one business: read, checked, and taken along as a file."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET

from marketplace.audit.anchors import AnchorsDamaged, anchors_of
from marketplace.audit.forms import TrailForm
from marketplace.audit.models import AuditEntry
from marketplace.audit.operations import verify_trail
from marketplace.audit.queries import COLUMNS, action_words, entries, row_of
from marketplace.core.exports import csv_response
from tenants.access import SHOWING, TenantRequest, member
from tenants.choices import Role

ENTRIES_A_PAGE = 50


@require_GET
@member(Role.ADMIN)
def audit_trail(request: TenantRequest) -> HttpResponse:
    form = TrailForm(request.GET)
    found = entries(**form.cleaned_data) if form.is_valid() else entries()
    page = Paginator(found, ENTRIES_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "form": form,
        "page": page,
        "rows": [(entry, action_words(entry.action)) for entry in page],
        "total": AuditEntry.objects.count(),
        "check": _check(request) if "check" in request.GET else None,
        "query": request.GET.urlencode(),
    }
    return TemplateResponse(request, "audit/audit_trail.html", context)


def _check(request: TenantRequest) -> dict[str, Any]:
    """What became of the chain, and of what was written down about it outside of the database."""
    try:
        anchors = anchors_of(request.tenant.pk)
    except AnchorsDamaged:
        return {"broken": verify_trail(), "is_file_damaged": True}
    return {"broken": verify_trail(anchors), "anchors": len(anchors), "last": anchors[-1] if anchors else None}


@require_GET
@member(Role.ADMIN, confirms=SHOWING)
def export(request: TenantRequest) -> HttpResponseBase:
    """The entries the page's filters leave, oldest first."""
    form = TrailForm(request.GET)
    found = entries(**form.cleaned_data) if form.is_valid() else entries()
    rows = (row_of(entry) for entry in found.order_by("sequence").iterator())
    return csv_response(f"audit-trail-{request.tenant.slug}.csv", COLUMNS, rows)
