"""Browsing what was read, and asking for more."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Case, QuerySet, Value, When
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_POST

from connectors.registry import connector
from marketplace.core.exports import csv_response
from marketplace.installations.models import Connection
from marketplace.sync.drift import drift_of
from marketplace.sync.events import failing_events, let_go, try_again
from marketplace.sync.forms import RecordFilter, SetAsideForm
from marketplace.sync.models import Record, SyncRun
from marketplace.sync.operations import request_read, set_aside
from marketplace.sync.queries import Shelf, open_rejections, records_of, shelves
from tenants.access import SHOWING, TenantRequest, member
from tenants.choices import Role

ROWS = 50


@member()
def records(request: TenantRequest) -> HttpResponse:
    """One data type of one connection at a time."""
    every = shelves()
    shelf = _chosen(every, request)
    form = RecordFilter(request.GET)
    rows = _rows(shelf, form, request) if shelf else Record.objects.none()
    context = {
        "shelves": every,
        "shelf": shelf,
        "form": form,
        "page": Paginator(rows, ROWS).get_page(request.GET.get("page")),
        "query": request.GET.urlencode(),
    }
    return TemplateResponse(request, "sync/records.html", context)


def _chosen(every: list[tuple[Connection, list[Shelf]]], request: TenantRequest) -> Shelf | None:
    """The one asked for, else the first there is."""
    flat = [shelf for _, here in every for shelf in here]
    wanted = (request.GET.get("connection"), request.GET.get("type"))
    return next(
        (shelf for shelf in flat if (str(shelf.connection.pk), shelf.data_type) == wanted), flat[0] if flat else None
    )


def _rows(shelf: Shelf, form: RecordFilter, request: TenantRequest) -> QuerySet[Record]:
    return records_of(shelf.connection, shelf.data_type, sort=request.GET.get("sort", ""), **form.chosen)


_COLUMNS = ("number", "occurred_on", "party", "reference", "currency", "amount", "tax_amount", "external_id", "deleted")


@member(confirms=SHOWING)
def records_export(request: TenantRequest) -> HttpResponseBase:
    """What the list shows, all pages of it."""
    shelf = _chosen(shelves(), request)
    rows: Iterable[tuple[Any, ...]] = ()
    if shelf:
        rows = _rows(shelf, RecordFilter(request.GET), request).annotate(
            deleted=Case(When(is_deleted=True, then=Value("yes")), default=Value(""))
        ).values_list(*_COLUMNS).iterator(chunk_size=2000)  # fmt: skip
    header = [
        "Number",
        "Date",
        "Party",
        "Reference",
        "Currency",
        "Amount",
        "Tax",
        "Identity at the provider",
        "Deleted",
    ]
    return csv_response(f"{shelf.data_type if shelf else 'records'}.csv", header, rows)


@member()
def rejected_rows(request: TenantRequest) -> HttpResponse:
    context = {"page": Paginator(open_rejections(), ROWS).get_page(request.GET.get("page"))}
    return TemplateResponse(request, "sync/rejected_rows.html", context)


@member()
def rejected_row(request: TenantRequest, row_id: int) -> HttpResponse:
    """What came, and setting it aside."""
    row = get_object_or_404(open_rejections(), pk=row_id)
    may_decide = request.membership.may(Role.BOOKKEEPER)
    form = SetAsideForm(request.POST or None)
    if request.method == "POST" and may_decide and form.is_valid():
        set_aside(row=row, reason=form.cleaned_data["reason"], user=request.user)
        messages.success(request, "Set aside. It comes back if the provider sends it unreadable again.")
        return redirect("rejected_rows", request.tenant.slug)
    context = {
        "row": row,
        "form": form,
        "may_decide": may_decide,
        "provider": connector(row.connection.connector).manifest.name,
    }
    return TemplateResponse(request, "sync/rejected_row.html", context)


@member()
def failing_messages(request: TenantRequest) -> HttpResponse:
    """Messages of changes that could not be followed: why, who acts, and what happens next."""
    page = Paginator(failing_events(request.tenant.pk), ROWS).get_page(request.GET.get("page"))
    sources = Connection.objects.in_bulk({copy.connection_id for copy in page})
    context = {
        "page": page,
        "rows": [(copy, sources[copy.connection_id]) for copy in page if copy.connection_id in sources],
        "may_decide": request.membership.may(Role.BOOKKEEPER),
    }
    return TemplateResponse(request, "sync/messages.html", context)


@require_POST
@member(Role.BOOKKEEPER)
def decide_message(request: TenantRequest, copy_id: int) -> HttpResponse:
    """Try it again now, or set it aside."""
    copy = get_object_or_404(failing_events(request.tenant.pk), pk=copy_id)
    connection = get_object_or_404(Connection, pk=copy.connection_id)
    if "let_go" in request.POST:
        let_go(copy=copy, connection=connection, user=request.user)
        messages.success(request, "Set aside. The regular check still reads what it can.")
    else:
        try_again(copy=copy, connection=connection, user=request.user)
        messages.success(request, "It is fetched again now.")
    return redirect("failing_messages", request.tenant.slug)


@member()
def missed(request: TenantRequest, run_id: uuid.UUID) -> HttpResponse:
    """Which records a check found that no message had told of."""
    run = get_object_or_404(SyncRun.objects.select_related("connection"), pk=run_id)
    context = {
        "run": run,
        "page": Paginator(drift_of(run), ROWS).get_page(request.GET.get("page")),
        "provider": connector(run.connection.connector).manifest.name,
    }
    return TemplateResponse(request, "sync/missed.html", context)


@require_POST
@member(Role.BOOKKEEPER)
def read_now(request: TenantRequest, connection_id: uuid.UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, pk=connection_id, state=Connection.State.CONNECTED)
    count = request_read(tenant_id=request.tenant.pk, connection=connection)
    messages.success(request, f"Reading {count} lists of {connection.organisation_name}.")
    return redirect("runs", request.tenant.slug)
