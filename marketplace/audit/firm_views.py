"""The trail of an accounting firm: read, checked, and taken along as a file by its partners."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET

from marketplace.audit.forms import FirmTrailForm
from marketplace.audit.views import ENTRIES_A_PAGE
from marketplace.core.exports import csv_response
from tenants import firms
from tenants.access import SHOWING, FirmRequest, firm_staff
from tenants.choices import FirmRole
from tenants.models import FirmEntry


@require_GET
@firm_staff(FirmRole.PARTNER)
def trail(request: FirmRequest) -> HttpResponse:
    form, found = _found(request)
    page = Paginator(found, ENTRIES_A_PAGE).get_page(request.GET.get("page"))
    context: dict[str, Any] = {
        "firm": request.firm,
        "form": form,
        "page": page,
        "rows": [(entry, firms.ACTION_WORDS[entry.action]) for entry in page],
        "total": request.firm.entries.count(),
        "is_checked": "check" in request.GET,
        "broken": firms.verify_trail(request.firm) if "check" in request.GET else [],
        "query": request.GET.urlencode(),
    }
    return TemplateResponse(request, "audit/firm_trail.html", context)


@require_GET
@firm_staff(FirmRole.PARTNER, confirms=SHOWING)
def export(request: FirmRequest) -> HttpResponseBase:
    """The entries the page's filters leave, oldest first. Taking them along is an act of its own, and stands in the trail too."""
    _, found = _found(request)
    rows = [[*firms.row_of(entry), entry.digest] for entry in found.order_by("sequence").iterator()]
    firms.record(request.firm, user=request.user, action="trail_exported", summary=f"Exported {len(rows)} entries")
    return csv_response("firm-trail.csv", (*firms.COLUMNS, "digest"), rows)


def _found(request: FirmRequest) -> tuple[FirmTrailForm, QuerySet[FirmEntry]]:
    form = FirmTrailForm(request.GET, firm=request.firm)
    form.is_valid()
    return form, firms.entries(request.firm, **{name: value for name, value in form.cleaned_data.items() if value})
