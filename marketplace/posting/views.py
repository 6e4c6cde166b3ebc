"""Clearing what waits: the list, one record with its evidence, and the decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from marketplace.core.exports import csv_response
from marketplace.core.formatting import number_text
from marketplace.posting.conflicts import conflicts
from marketplace.posting.decisions import UnableToDecide, accept, exclude, post_again
from marketplace.posting.forms import DecisionForm, IssueFilter, OneDecisionForm
from marketplace.posting.models import RecordOutcome
from marketplace.posting.queries import (
    evidence_of,
    issues,
    mark_of_choice,
    reason_groups,
    record_words,
    working_out,
)
from marketplace.posting.words import MAPPING_REASONS, reason_words
from tenants.access import SHOWING, TenantRequest, member
from tenants.choices import Role

ROWS = 50
DONE: dict[str, str] = {
    "post_again": "{count} {records} will be worked out again as mapped now.",
    "exclude": "{count} {records} left out of the books.",
    "accept": "{count} {entries} accepted as they stand.",
}
#: About all that fit a filter: the question, what happens, and what stays as it is.
ASKED = {
    "post_again": "Post {count} record{s} again",
    "exclude": "Leave {count} record{s} out of the books",
    "accept": "Accept the entries of {count} record{s}",
}
HAPPENS = {
    "post_again": [
        "Each record is worked out again with today’s field mapping, and posted if nothing is in the way any more.",
        "What still cannot be posted comes back here with its reason.",
    ],
    "exclude": [
        "None of them is posted; each day’s proof counts them as left out.",
        "Your name and the reason are kept with each of them.",
    ],
    "accept": [
        "Each entry counts as posted, as it stands in the ledger now.",
        "Your name and the reason are kept with each of them.",
    ],
}
STAYS = {
    "post_again": ["What is in the ledger already is not posted twice."],
    "exclude": [
        "The records themselves, with all evidence, under Records.",
        "Nothing is changed in the shop or the ledger.",
    ],
    "accept": ["Nothing is changed in the shop or the ledger."],
}


@member()
def issue_list(request: TenantRequest) -> HttpResponse:
    form = IssueFilter(request.GET)
    return _list_page(request, form, DecisionForm(initial={"decision": "post_again", "covers": "chosen"}))


def _list_page(request: TenantRequest, form: IssueFilter, decision: DecisionForm, status: int = 200) -> HttpResponse:
    found = _found(form, form.data)
    groups = reason_groups(found)
    query = _query(form)
    context = {
        "form": form,
        "decision": decision,
        "groups": groups,
        "again_count": sum(group.again for group in groups),
        "working_out": working_out(found) if any(group.again for group in groups) else [],
        "page": Paginator(found, ROWS).get_page(form.data.get("page")),
        "query": query,
        "watched": f"{reverse('issues', args=[request.tenant.slug])}?{query}&watch=1",
        "is_watching": "watch" in form.data,
        "chosen": set(request.POST.getlist("outcome")),
        "may_decide": request.membership.may(Role.BOOKKEEPER),
    }
    return TemplateResponse(request, "posting/issues.html", context, status=status)


def _query(form: IssueFilter) -> str:
    """What the list was asked for, without whether it is asked for again and again."""
    return urlencode([(name, value) for name, value in form.data.items() if name != "watch"])


def _found(form: IssueFilter, query: Any) -> QuerySet[RecordOutcome]:
    return issues(sort=query.get("sort", ""), **form.chosen)


@member(confirms=SHOWING)
def issues_export(request: TenantRequest) -> HttpResponseBase:
    """What the list shows, all pages of it."""
    rows = [
        [outcome.flow.name, str(outcome.record), outcome.occurred_on, outcome.record.party, outcome.currency,
         outcome.amount, outcome.get_state_display(), reason_words(outcome.reason_code), outcome.reason,
         outcome.get_owner_display(), outcome.next_step]
        for outcome in _found(IssueFilter(request.GET), request.GET)
    ]  # fmt: skip
    header = [
        "Flow",
        "Record",
        "Date",
        "Name",
        "Currency",
        "Amount",
        "State",
        "Reason",
        "What happened",
        "Whose move",
        "Next step",
    ]
    return csv_response("needs-attention.csv", header, rows)


@require_POST
@member(Role.BOOKKEEPER)
def decide(request: TenantRequest) -> HttpResponse:
    """One decision about one or many records; the filter the list was shown with comes along. All that fit it are counted
    and shown first: nobody decides about more than they have seen."""
    query = QueryDict(request.POST.get("query", ""))
    form, filters = DecisionForm(request.POST), IssueFilter(query)
    if form.is_valid() and (ids := _ids(request, form, filters)):
        if form.cleaned_data["covers"] == "all" and request.POST.get("seen") != mark_of_choice(ids):
            return _all_page(request, form, filters, ids)
        try:
            count = _act(form.cleaned_data["decision"])(ids, form.cleaned_data["reason"], request)
        except UnableToDecide as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _done(form.cleaned_data["decision"], count))
            return redirect(f"{reverse('issues', args=[request.tenant.slug])}?{query.urlencode()}")
    elif form.is_valid():
        form.add_error(None, "Choose at least one record.")
    return _list_page(request, filters, form, status=422)


def _ids(request: TenantRequest, form: DecisionForm, filters: IssueFilter) -> list[int]:
    if form.cleaned_data["covers"] == "all":
        return list(issues(**filters.chosen).values_list("pk", flat=True))
    return [int(pk) for pk in request.POST.getlist("outcome") if pk.isdecimal()]


def _all_page(request: TenantRequest, form: DecisionForm, filters: IssueFilter, ids: list[int]) -> HttpResponse:
    """What a decision about all that fit the filter is about, to be confirmed; again when it has changed meanwhile."""
    decision, query = form.cleaned_data["decision"], request.POST.get("query", "")
    context = {
        "ask": ASKED[decision].format(count=number_text(len(ids)), s="" if len(ids) == 1 else "s"),
        "happens": HAPPENS[decision],
        "stays": STAYS[decision],
        "groups": reason_groups(issues(**filters.chosen)),
        "has_changed": "seen" in request.POST,
        "cancel": f"{reverse('issues', args=[request.tenant.slug])}?{query}",
        "carried": [
            ("decision", decision),
            ("reason", form.cleaned_data["reason"]),
            ("covers", "all"),
            ("query", query),
            ("seen", mark_of_choice(ids)),
        ],
        "reason": form.cleaned_data["reason"],
    }
    return TemplateResponse(request, "posting/decide_all.html", context)


def _act(decision: str) -> Callable[[list[int], str, TenantRequest], int]:
    acts: dict[str, Callable[[list[int], str, TenantRequest], int]] = {
        "post_again": lambda ids, _, request: post_again(outcome_ids=ids, user=request.user),
        "exclude": lambda ids, reason, request: exclude(outcome_ids=ids, reason=reason, user=request.user),
        "accept": lambda ids, reason, request: accept(outcome_ids=ids, reason=reason, user=request.user),
    }
    return acts[decision]


def _done(decision: str, count: int) -> str:
    return DONE[decision].format(
        count=count, records="record" if count == 1 else "records", entries="entry" if count == 1 else "entries"
    )


@member()
def issue(request: TenantRequest, outcome_id: int) -> HttpResponse:
    """One record that waits: what happened, whose move it is, what can be done, and the evidence."""
    outcome = get_object_or_404(
        RecordOutcome.objects.select_related("flow__source", "flow__target", "record", "mapping", "decided_by"),
        pk=outcome_id,
    )
    evidence = evidence_of(outcome)
    may_decide = request.membership.may(Role.BOOKKEEPER) and outcome.state in (
        RecordOutcome.State.HELD,
        RecordOutcome.State.FAILED,
    )
    form = OneDecisionForm(request.POST or None, evidence=evidence)
    if request.method == "POST" and may_decide and form.is_valid():
        try:
            count = _act(form.cleaned_data["decision"])([outcome.pk], form.cleaned_data["reason"], request)
        except UnableToDecide as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _done(form.cleaned_data["decision"], count))
            return redirect("issue", request.tenant.slug, outcome.pk)
    context = {
        "outcome": outcome,
        "title": record_words(outcome),
        "evidence": evidence,
        "form": form,
        "may_decide": may_decide,
        "mapping_helps": outcome.reason_code in MAPPING_REASONS,
        "open_conflict": conflicts(is_open=True).filter(flow=outcome.flow, record=outcome.record).first(),
    }
    return TemplateResponse(request, "posting/issue.html", context)
