"""The staircase of one flow: load, form, one operation, redirect."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from marketplace.cutover.forms import ApprovalForm, ChoicesForm, MoveForm, ParallelForm, TargetsForm, usual_period
from marketplace.cutover.frames import checklist_of, frame, next_stage, previous_stage, the_flow, total_rows, types_text
from marketplace.cutover.gate import conditions
from marketplace.cutover.operations import (
    UnableToMove,
    agree_targets,
    change_choices,
    move_flow,
    pause_flow,
    resume_flow,
    run_cases,
)
from marketplace.cutover.queries import (
    cases_of,
    documents_of,
    forecast_of,
    in_ledger_count,
    moves_of,
    open_count,
    outcome_totals,
    outside_pilot_count,
    pilot_outcomes,
    waiting_count,
    work_under_way,
)
from marketplace.cutover.rehearsal import cases_for
from marketplace.cutover.words import (
    back_effect,
    choice_words,
    forward_effect,
    result_rows,
    result_words,
    step_of,
    writes_drafts,
)
from marketplace.mapping.models import Flow, Stage
from marketplace.mapping.queries import other_way
from marketplace.mapping.templates import template
from tenants.access import TenantRequest, member
from tenants.choices import Role

RECENT_MOVES = 8
PAGE = 50


@member()
def flow_page(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    """Where the flow stands, and what the next step needs, does and writes."""
    flow = the_flow(flow_id)
    following = next_stage(flow)
    needed = conditions(flow, timezone.localdate())
    context = frame(
        request,
        flow,
        following=following,
        step=step_of(flow, following) if following else None,
        checklist=checklist_of(needed, request, flow),
        missing=sum(not condition.is_met for condition in needed),
        previous=previous_stage(flow),
        **_reversible(request, flow),
        totals=total_rows(outcome_totals(flow)),
        moves=moves_of(flow)[:RECENT_MOVES],
        closed_period=choice_words(flow, "closed_period"),
        pilot_documents=choice_words(flow, "pilot_documents"),
        other_way=other_way(flow),
    )
    return TemplateResponse(request, "cutover/flow.html", context)


def _reversible(request: TenantRequest, flow: Flow) -> dict[str, Any]:
    """What there is to take back, and since when the flow has been posting."""
    began = moves_of(flow).filter(to_stage__in=[Stage.PILOT, Stage.LIVE]).order_by("-at").first()
    in_ledger = in_ledger_count(flow)
    return {
        "in_ledger": in_ledger,
        "may_reverse": bool(in_ledger) and request.membership.may(Role.BOOKKEEPER),
        "posting_since": timezone.localdate(began.at) if began else flow.start_date,
    }


@member(Role.BOOKKEEPER)
def move(request: TenantRequest, flow_id: uuid.UUID, to_stage: str) -> HttpResponse:
    """One step, confirmed with what happens and what stays. Going live has a page of its own."""
    flow = the_flow(flow_id)
    following, previous = next_stage(flow), previous_stage(flow)
    if to_stage == Stage.LIVE and to_stage == following:
        return redirect("go_live", request.tenant.slug, flow.pk)
    if to_stage not in (following, previous):
        messages.info(request, f"{flow.name} stands on the step {flow.get_stage_display()}.")
        return redirect("flow", request.tenant.slug, flow.pk)
    form = _move_form(request, flow, to_stage)
    if form.is_valid():
        return _moved(request, flow, to_stage, form)
    is_forward = to_stage == following
    needed = conditions(flow, timezone.localdate()) if is_forward else []
    waiting = waiting_count(flow)
    if is_forward:
        effect = forward_effect(flow, to_stage, waiting=waiting)
    else:
        effect = back_effect(flow, to_stage, waiting=waiting, in_ledger=in_ledger_count(flow))
    context = frame(
        request,
        flow,
        form=form,
        to_stage=Stage(to_stage),
        is_forward=is_forward,
        effect=effect,
        button=step_of(flow, to_stage).button if is_forward else f"Go back to {Stage(to_stage).label}",
        checklist=checklist_of(needed, request, flow),
        missing=sum(not condition.is_met for condition in needed),
        **_reversible(request, flow),
    )
    return TemplateResponse(request, "cutover/move.html", context)


def _move_form(request: TenantRequest, flow: Flow, to_stage: str) -> MoveForm:
    typed = request.POST if request.method == "POST" else None
    if to_stage == Stage.PARALLEL:
        return ParallelForm(typed, initial=usual_period(timezone.localdate()))
    return MoveForm(typed)


def _moved(request: TenantRequest, flow: Flow, to_stage: str, form: MoveForm) -> HttpResponse:
    cleaned: dict[str, Any] = form.cleaned_data
    try:
        taken = move_flow(
            flow=flow,
            to_stage=to_stage,
            user=request.user,
            today=timezone.localdate(),
            note=cleaned["note"],
            parallel_from=cleaned.get("first"),
            parallel_until=cleaned.get("last"),
        )
    except UnableToMove as error:
        messages.error(request, str(error))
        return redirect("flow", request.tenant.slug, flow.pk)
    messages.success(request, f"{flow.name} stands on the step {Stage(taken.to_stage).label} now.")
    page = {Stage.SANDBOX: "sandbox", Stage.PILOT: "pilot", Stage.PARALLEL: "parallel"}.get(Stage(to_stage), "flow")
    return redirect(page, request.tenant.slug, flow.pk)


@member(Role.ADMIN)
def go_live(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    """The approval by name: what will happen, then a tick and a note."""
    flow = the_flow(flow_id)
    if flow.stage != Stage.PARALLEL:
        messages.info(request, f"{flow.name} stands on the step {flow.get_stage_display()}.")
        return redirect("flow", request.tenant.slug, flow.pk)
    form = ApprovalForm(request.POST or None)
    if form.is_valid():
        return _gone_live(request, flow, form)
    needed = conditions(flow, timezone.localdate())
    forecast = forecast_of(flow)
    context = frame(
        request,
        flow,
        form=form,
        linked=types_text(forecast.linked),
        forgotten=types_text(forecast.forgotten),
        left_out=types_text(forecast.left_out),
        later=forecast.later,
        undecided=open_count(flow),
        step=step_of(flow, Stage.LIVE),
        checklist=checklist_of(needed, request, flow),
        missing=sum(not condition.is_met for condition in needed),
    )
    return TemplateResponse(request, "cutover/go_live.html", context)


def _gone_live(request: TenantRequest, flow: Flow, form: ApprovalForm) -> HttpResponse:
    try:
        taken = move_flow(
            flow=flow,
            to_stage=Stage.LIVE,
            user=request.user,
            today=timezone.localdate(),
            note=form.cleaned_data["note"],
        )
    except UnableToMove as error:
        messages.error(request, str(error))
        return redirect("go_live", request.tenant.slug, flow.pk)
    messages.success(request, f"{flow.name} is live, approved by {request.user}.")
    return redirect("flow_move", request.tenant.slug, flow.pk, taken.pk)


@member()
def flow_move(request: TenantRequest, flow_id: uuid.UUID, move_id: int) -> HttpResponse:
    """One step that was taken: who, when, the conditions as they stood, and what it did."""
    flow = the_flow(flow_id)
    taken = get_object_or_404(moves_of(flow), pk=move_id)
    stages = list(Stage)
    is_back = stages.index(Stage(taken.to_stage)) < stages.index(Stage(taken.from_stage))
    context = frame(request, flow, taken=taken, is_back=is_back, **_reversible(request, flow))
    return TemplateResponse(request, "cutover/flow_move.html", context)


@member()
def sandbox(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    """The edge cases beside what came out of them."""
    flow = the_flow(flow_id)
    results, is_contact = cases_of(flow), template(flow.template).main_type == "customer"
    rows = []
    for case in cases_for(flow):
        result = results.get(case.name)
        rows.append({"case": case, "result": result, **_told(result, is_contact=is_contact)})
    rows.sort(key=lambda row: row["result"] is None or row["result"].has_passed)
    version = next((result.mapping for result in results.values()), None)
    context = frame(
        request,
        flow,
        rows=rows,
        passed=sum(result.has_passed for result in results.values()),
        failed=sum(not result.has_passed for result in results.values()),
        version=version,
        is_stale=version is not None and version.pk != flow.mapping_id,
        run_at=max((result.run_at for result in results.values()), default=None),
        work=work_under_way("rehearse", str(flow.pk)),
    )
    return TemplateResponse(request, "cutover/sandbox.html", context)


def _told(result: Any, *, is_contact: bool) -> dict[str, Any]:
    if result is None:
        return {}
    return {
        "expected": result_words(result.expected, is_contact=is_contact),
        "found": result_words(result.found, is_contact=is_contact),
        "figures": result_rows(result.expected, result.found),
    }


@require_POST
@member(Role.BOOKKEEPER)
def run_sandbox(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    flow = the_flow(flow_id)
    try:
        run_cases(flow=flow)
    except UnableToMove as error:
        messages.error(request, str(error))
    return redirect("sandbox", request.tenant.slug, flow.pk)


@member()
def pilot(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    """The records in the pilot's scope and the documents written for them."""
    flow = the_flow(flow_id)
    page = Paginator(pilot_outcomes(flow), PAGE).get_page(request.GET.get("page"))
    documents = documents_of(flow, page.object_list)
    rows = [(outcome, documents.get(outcome.record_id, [])) for outcome in page]
    context = frame(
        request,
        flow,
        page=page,
        rows=rows,
        totals=total_rows(outcome_totals(flow)),
        outside=outside_pilot_count(flow),
        are_drafts=writes_drafts(flow),
        checklist=checklist_of(conditions(flow, timezone.localdate()), request, flow)
        if flow.stage == Stage.PILOT
        else [],
        work=work_under_way("plan", str(flow.pk)) or work_under_way("post", str(flow.target_id)),
    )
    return TemplateResponse(request, "cutover/pilot.html", context)


@member(Role.BOOKKEEPER)
def flow_choices(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    """How entries are written, and what the gate asks for."""
    flow = the_flow(flow_id)
    form = ChoicesForm.of(flow, request.POST or None)
    if form.is_valid():
        change_choices(flow=flow, user=request.user, **form.cleaned_data)
        messages.success(request, "Saved.")
        return redirect("flow", request.tenant.slug, flow.pk)
    return _choices_page(request, flow, form, TargetsForm.of(flow))


@require_POST
@member(Role.ADMIN)
def flow_targets(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    flow = the_flow(flow_id)
    form = TargetsForm.of(flow, request.POST)
    if not form.is_valid():
        return _choices_page(request, flow, ChoicesForm.of(flow), form)
    agree_targets(flow=flow, targets=form.targets, user=request.user)
    messages.success(request, "Agreed. The gate asks for these figures from now on.")
    return redirect("flow", request.tenant.slug, flow.pk)


def _choices_page(request: TenantRequest, flow: Flow, choices: ChoicesForm, targets: TargetsForm) -> HttpResponse:
    context = frame(request, flow, choices=choices, targets=targets)
    return TemplateResponse(request, "cutover/choices.html", context)


@require_POST
@member(Role.BOOKKEEPER)
def pause(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    flow = the_flow(flow_id)
    pause_flow(flow=flow, user=request.user)
    messages.success(request, f"{flow.name} is paused: nothing is written until you resume it.")
    return redirect("flow", request.tenant.slug, flow.pk)


@require_POST
@member(Role.BOOKKEEPER)
def resume(request: TenantRequest, flow_id: uuid.UUID) -> HttpResponse:
    flow = the_flow(flow_id)
    resume_flow(flow=flow, user=request.user)
    messages.success(request, f"{flow.name} goes on; what arrived meanwhile is worked out now.")
    return redirect("flow", request.tenant.slug, flow.pk)
