"""Taking back what was posted: choose, read the plan, confirm, watch, and see what came of it."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from connectors.registry import connector
from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.core.exports import csv_response
from marketplace.core.formatting import number_text
from marketplace.mapping.models import Flow
from marketplace.posting.models import Posting, PostingBatch, Reversal, ReversalLine
from marketplace.posting.reversal_forms import ConfirmForm, NewReversalForm, ReasonForm
from marketplace.posting.reversal_queries import (
    effect_rows,
    happens,
    ledger_of_reversal,
    lines_of,
    problem_of,
    progress_of,
    reading_of,
    result_of,
    reversals,
    shown_counts,
    totals,
)
from marketplace.posting.reversing import (
    LARGE,
    UnableToReverse,
    ask_for_reversal,
    confirm_reversal,
    discard_reversal,
    go_on,
    others_to_confirm,
    plan_again,
)
from marketplace.posting.trial_balances import comparison_of
from marketplace.posting.words import document_words
from tenants.access import SHOWING, TenantRequest, member
from tenants.choices import Role

ROWS = 50
UNDER_WAY = (Reversal.State.PLANNING, Reversal.State.RUNNING)


@dataclass(frozen=True)
class Subject:
    """What the page to ask for a reversal was opened about; without a selection, a period is to be chosen."""

    flow: Flow
    selection: dict[str, Any]
    covers: str


@member()
def reversal_list(request: TenantRequest) -> HttpResponse:
    context = {
        "page": Paginator(reversals(), ROWS).get_page(request.GET.get("page")),
        "flows": Flow.objects.order_by("created_at"),
        "may_ask": request.membership.may(Role.BOOKKEEPER),
    }
    return TemplateResponse(request, "posting/reversals.html", context)


@member(Role.BOOKKEEPER)
def new_reversal(request: TenantRequest) -> HttpResponse:
    """What should be taken back: of a flow in a period, or what one request or one entry belongs to."""
    if not any(request.GET.get(name) for name in ("flow", "batch", "posting")):
        messages.info(request, "Choose a flow, a document or a run first.")
        return redirect("reversals", request.tenant.slug)
    subject = _subject(request)
    form = _form(request, subject)
    if form.is_valid():
        selection, covers = subject.selection, subject.covers
        if isinstance(form, NewReversalForm):
            selection, covers = form.selection, form.covers
        try:
            made = ask_for_reversal(
                flow=subject.flow,
                selection=selection,
                covers=covers,
                reason=form.cleaned_data["reason"],
                user=request.user,
            )
        except UnableToReverse as error:
            form.add_error(None, str(error))
        else:
            return redirect("reversal", request.tenant.slug, made.pk)
    context = {
        "form": form,
        "subject": subject,
        "ledger": connector(subject.flow.target.connector).manifest.name,
        "may_confirm": request.membership.may(Role.ADMIN),
    }
    return TemplateResponse(request, "posting/new_reversal.html", context, status=422 if form.is_bound else 200)


def _subject(request: TenantRequest) -> Subject:
    """Raises `Http404` for what is not there, or says nothing."""
    if posting_id := request.GET.get("posting", ""):
        posting = _one(Posting.objects.select_related("flow__target"), posting_id)
        return Subject(posting.flow, {"posting": posting.pk}, f"{document_words(posting)} and all that belongs to it")
    if batch_id := request.GET.get("batch", ""):
        batch = _one(PostingBatch.objects.defer("request"), batch_id)
        first = Posting.objects.filter(batch=batch).select_related("flow__target").order_by("id").first()
        if first is None:
            raise Http404("Nothing was written by it.")
        words = DATA_TYPE_NAMES[batch.data_type][batch.size != 1]
        sent_at = timezone.localtime(batch.sent_at)
        covers = f"The {number_text(batch.size)} {words} sent on {sent_at:%-d %b %Y at %H:%M}"
        return Subject(first.flow, {"batch": str(batch.pk)}, covers)
    return Subject(_one(Flow.objects.select_related("target"), request.GET.get("flow", "")), {}, "")


def _one(found: Any, text: str) -> Any:
    try:
        return get_object_or_404(found, pk=uuid.UUID(text) if "-" in text else int(text))
    except ValueError:
        raise Http404("There is no such thing.") from None


def _form(request: TenantRequest, subject: Subject) -> ReasonForm:
    typed = request.POST if request.method == "POST" else None
    if subject.selection:
        return ReasonForm(typed)
    return NewReversalForm(typed, initial={"first": _since(request, subject.flow), "last": timezone.localdate()})


def _since(request: TenantRequest, flow: Flow) -> dt.date:
    """The day a link names, such as that of going live; else the flow's first."""
    try:
        return dt.date.fromisoformat(request.GET.get("since", ""))
    except ValueError:
        return flow.start_date


@member()
def reversal(request: TenantRequest, reversal_id: uuid.UUID) -> HttpResponse:
    return _page(request, _reversal(reversal_id), ConfirmForm())


def _reversal(reversal_id: uuid.UUID) -> Reversal:
    return get_object_or_404(reversals(), pk=reversal_id)


def _page(request: TenantRequest, found: Reversal, form: ConfirmForm, status: int = 200) -> HttpResponse:
    shown = request.GET.get("show", "")
    counted = totals(found)
    progress = progress_of(found)
    context = {
        "reversal": found,
        "ledger": ledger_of_reversal(found),
        "is_under_way": found.state in UNDER_WAY,
        "progress": progress,
        "reading": reading_of(found) if found.state == Reversal.State.PLANNING else None,
        "problem": problem_of(found) if found.state == Reversal.State.RUNNING else "",
        "totals": counted,
        "happens": happens(found, counted),
        "effect": effect_rows(found),
        "is_whole": all(row.after == 0 for row in effect_rows(found)),
        "comparison": comparison_of(
            found.trial_balance, found.connection.base_currency or request.tenant.base_currency
        ),
        "result": result_of(found) if found.state == Reversal.State.DONE else None,
        "stay_count": lines_of(found, "stays").count(),
        "shown": shown,
        "filters": shown_counts(found),
        "page": Paginator(lines_of(found, shown), ROWS).get_page(request.GET.get("page")),
        "form": form,
        "may_plan": request.membership.may(Role.BOOKKEEPER),
        "may_confirm": request.membership.may(Role.ADMIN),
        "large": LARGE,
        "others": others_to_confirm(found, progress.total, request.user),
    }
    return TemplateResponse(request, "posting/reversal.html", context, status=status)


@member(Role.ADMIN)
def confirm(request: TenantRequest, reversal_id: uuid.UUID) -> HttpResponse:
    """From here on it is carried out."""
    found = _reversal(reversal_id)
    if request.method != "POST":
        return redirect("reversal", request.tenant.slug, found.pk)
    form = ConfirmForm(request.POST)
    if form.is_valid():
        try:
            confirm_reversal(reversal=found, user=request.user)
        except UnableToReverse as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "It is being taken back. This page shows how far it is.")
            return redirect("reversal", request.tenant.slug, found.pk)
    return _page(request, found, form, status=422)


@require_POST
@member(Role.BOOKKEEPER)
def replan(request: TenantRequest, reversal_id: uuid.UUID) -> HttpResponse:
    return _act(request, reversal_id, plan_again, "The ledger is being read again.")


@require_POST
@member(Role.BOOKKEEPER)
def discard(request: TenantRequest, reversal_id: uuid.UUID) -> HttpResponse:
    return _act(request, reversal_id, discard_reversal, "The plan was discarded. Nothing was taken back.")


@require_POST
@member(Role.BOOKKEEPER)
def take_the_rest(request: TenantRequest, reversal_id: uuid.UUID) -> HttpResponse:
    """A new plan for what this one left."""
    found = _reversal(reversal_id)
    try:
        made = go_on(reversal=found, user=request.user)
    except UnableToReverse as error:
        messages.error(request, str(error))
        return redirect("reversal", request.tenant.slug, found.pk)
    return redirect("reversal", request.tenant.slug, made.pk)


def _act(request: TenantRequest, reversal_id: uuid.UUID, act: Any, done: str) -> HttpResponse:
    found = _reversal(reversal_id)
    try:
        act(reversal=found, user=request.user)
    except UnableToReverse as error:
        messages.error(request, str(error))
    else:
        messages.success(request, done)
    return redirect("reversal", request.tenant.slug, found.pk)


@member(confirms=SHOWING)
def export(request: TenantRequest, reversal_id: uuid.UUID) -> HttpResponseBase:
    """All lines of the plan, with what became of them."""
    found = _reversal(reversal_id)
    header = ["Document", "Record", "Date", "Currency", "Amount", "Plan", "State", "Why", "Whose move", "Next step"]
    return csv_response("reversal.csv", header, [_row(line) for line in lines_of(found, request.GET.get("show", ""))])


def _row(line: ReversalLine) -> list[Any]:
    posting = line.posting
    return [document_words(posting), str(posting.record), posting.occurred_on, posting.currency, posting.amount,
            line.get_action_display(), line.get_state_display(), line.reason, line.get_owner_display(), line.next_step]  # fmt: skip
