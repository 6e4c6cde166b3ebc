"""Fields both sides changed: what is to be decided, the decision, and who won before."""

from __future__ import annotations

from collections import Counter

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse

from marketplace.mapping.queries import other_way
from marketplace.posting.conflict_forms import ConflictForm, ManyConflictsForm
from marketplace.posting.conflicts import conflicts, decide_alike, decide_conflicts
from marketplace.posting.decisions import UnableToDecide
from marketplace.posting.models import Conflict
from tenants.access import TenantRequest, member
from tenants.choices import Role

ROWS = 50


@member()
def conflict_list(request: TenantRequest) -> HttpResponse:
    """Open ones first of all, to be decided one by one or many alike; the history on a tab of its own."""
    is_open = request.GET.get("show") != "history"
    waiting = list(conflicts(is_open=True))
    field = request.GET.get("field", "")
    fitting = [found for found in waiting if field in ("", found.field)] if is_open else []
    may_decide = request.membership.may(Role.BOOKKEEPER) and bool(fitting)
    form = ManyConflictsForm(request.POST or None, fitting=fitting)
    if request.method == "POST" and may_decide and form.is_valid():
        try:
            count = decide_alike(shown=form.shown, keep=form.kept_side, user=request.user)
        except UnableToDecide as error:
            messages.error(request, str(error))
        else:
            messages.success(request, _decided(count))
        return redirect("conflicts", request.tenant.slug)
    context = {
        "is_open": is_open,
        "page": Paginator(fitting if is_open else conflicts(is_open=False), ROWS).get_page(request.GET.get("page")),
        "open_count": len(waiting),
        "field": field,
        "fields": Counter(found.field for found in waiting).items(),
        "form": form,
        "may_decide": may_decide,
        "ticked": request.POST.getlist("conflict"),
    }
    return TemplateResponse(request, "posting/conflicts.html", context)


def _decided(count: int) -> str:
    return f"{count} field{'' if count == 1 else 's'} decided. The chosen value is written now."


@member()
def conflict(request: TenantRequest, conflict_id: int) -> HttpResponse:
    """One customer's fields that wait, a choice for each, and the history of this customer."""
    found = get_object_or_404(Conflict.objects.select_related("flow__source", "flow__target", "record"), pk=conflict_id)
    waiting = list(conflicts(is_open=True).filter(pair=found.pair_id))
    may_decide = request.membership.may(Role.BOOKKEEPER) and bool(waiting)
    form = ConflictForm(request.POST or None, waiting=waiting)
    if request.method == "POST" and may_decide and form.is_valid():
        try:
            count = decide_conflicts(choices=form.choices, shown=form.shown, user=request.user)
        except UnableToDecide as error:
            messages.error(request, str(error))
        else:
            messages.success(request, _decided(count))
        return redirect("conflict", request.tenant.slug, found.pk)
    context = {
        "conflict": found,
        "form": form,
        "waiting": waiting,
        "may_decide": may_decide,
        "history": conflicts(is_open=False).filter(pair=found.pair_id),
        "other_way": other_way(found.flow),
    }
    return TemplateResponse(request, "posting/conflict.html", context)
