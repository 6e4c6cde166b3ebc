"""The only place a flow moves on the staircase, and what each move does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.db import connection as database

from connectors.registry import connector
from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.core.work import request_work, tell_worker
from marketplace.cutover.gate import DEFAULT_TARGETS, Condition, conditions, target_of
from marketplace.cutover.models import Pair, SandboxCase, StageMove, Verdict
from marketplace.cutover.pairing import pair_flow
from marketplace.mapping.models import STAGE_MOVES, Flow, Stage
from marketplace.mapping.templates import template
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.posting.planning import TAKEN_BACK, UNDER_WAY
from tenants.choices import Role
from tenants.context import current_tenant
from tenants.models import Membership, User

APPROVERS = (Role.OWNER, Role.ADMIN)
USUAL_CHOICES = {"closed_period": "hold", "pilot_documents": "drafts"}
#: What a person has decided, or what is gone, is not looked at again when the flow moves.
DECIDED = ("excluded_by_person", "accepted_by_person", "catch_up", "wrong_currency", "deleted", UNDER_WAY, *TAKEN_BACK)


class UnableToMove(Exception):
    """The step cannot be taken; `missing` are the conditions that are not met."""

    def __init__(self, message: str, missing: Collection[Condition] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


class UnableToResolve(Exception):
    """The resolution is incomplete."""


def move_flow(
    *,
    flow: Flow,
    to_stage: str,
    user: User,
    today: dt.date,
    note: str = "",
    parallel_from: dt.date | None = None,
    parallel_until: dt.date | None = None,
) -> StageMove:
    """Take one step. Forward needs every condition; going live needs an owner or admin as the named approver. Back is always
    possible. Raises `UnableToMove`."""
    flow = _locked(flow)
    from_stage = flow.stage
    if to_stage not in STAGE_MOVES[from_stage]:
        raise UnableToMove(f"A flow cannot go from {Stage(from_stage).label} to {Stage(to_stage).label}.")
    is_forward = list(Stage).index(Stage(to_stage)) > list(Stage).index(Stage(from_stage))
    found = conditions(flow, today) if is_forward else []
    missing = [condition for condition in found if not condition.is_met]
    if missing:
        raise UnableToMove(f"{len(missing)} conditions for {Stage(to_stage).label} are not met yet.", missing)
    if to_stage == Stage.LIVE:
        _require_approver(user)
    if to_stage == Stage.PARALLEL:
        _set_period(flow, parallel_from, parallel_until, today)
    flow.stage = to_stage
    flow.save()
    consequences = _consequences(flow, from_stage)
    move = StageMove.objects.create(
        flow=flow,
        from_stage=from_stage,
        to_stage=to_stage,
        moved_by=user,
        approved_by=user if to_stage == Stage.LIVE else None,
        conditions=[{"name": c.name, "found": c.found, "wanted": c.wanted} for c in found],
        consequences=consequences,
        note=note,
        at=now(),
    )
    record_act(
        user=user,
        action="flow.move",
        subject=flow,
        summary=f"{flow.name}: {Stage(from_stage).label} → {Stage(to_stage).label}",
        details={"conditions": move.conditions, "consequences": consequences, "note": note},
    )
    return move


def _require_approver(user: User) -> None:
    membership = Membership.objects.live().filter(user=user, tenant=current_tenant()).first()
    if membership is None or membership.role not in APPROVERS:
        raise UnableToMove("Only an owner or admin can approve going live.")


def _set_period(flow: Flow, first: dt.date | None, last: dt.date | None, today: dt.date) -> None:
    """Without dates the comparison starts today. A period in the past compares with what staff have booked already."""
    flow.parallel_from = first or today
    flow.parallel_until = last or flow.parallel_from + dt.timedelta(days=27)
    if flow.parallel_until < flow.parallel_from:
        raise UnableToMove("The comparison ends before it begins.")
    flow.start_date = min(flow.start_date, flow.parallel_from)


def _consequences(flow: Flow, from_stage: str) -> dict[str, int]:
    """What the step does to what was planned before it. Every record the new stage judges differently is planned again."""
    done: dict[str, int] = {}
    if flow.stage == Stage.LIVE:
        pair_flow(flow=flow, is_final=True)
        done = _link_pairs(flow)
    else:
        stale = Posting.objects.filter(
            flow=flow, reverses=None, state__in=[Posting.State.PLANNED, Posting.State.SHADOW]
        )
        done["postings withdrawn"] = stale.update(state=Posting.State.WITHDRAWN)
        _stop_writing(flow)
        Pair.objects.filter(flow=flow).exclude(posting__state=Posting.State.SHADOW).delete()
        done["records looked at again"] = (
            RecordOutcome.objects.filter(flow=flow)
            .exclude(state=RecordOutcome.State.POSTED)
            .exclude(reason_code__in=DECIDED)
            .update(is_replay_asked=True)
        )
    owner = current_tenant()
    request_work(tenant_id=owner.pk, kind="plan", key=str(flow.pk))
    if flow.stage == Stage.PARALLEL:
        compare_again(flow=flow)  # what staff entered up to this moment has to be there before it is called missing
    return {name: count for name, count in done.items() if count}


def _link_pairs(flow: Flow) -> dict[str, int]:
    """Going live: what staff entered becomes what we posted, so nothing is posted twice; what they forgot is offered; what they
    rightly left out stays out; the rest is planned for writing."""
    values: dict[str, Any] = {"flow": flow.pk, "at": now()}
    done = {}
    with database.cursor() as cursor:
        for name, statement in (
            ("entries linked", _LINK),
            ("left out as decided", _LEAVE_OUT),
            ("records left out", _LEFT_OUT_OUTCOMES),
            ("records linked", _LINKED_OUTCOMES),
            ("held for their currency", _OTHER_CURRENCY),
            ("offered as catch-up", _CATCH_UP),
            ("unfinished in the pilot", _UNFINISHED),
            ("records to post now", _REMAINING),
        ):
            cursor.execute(statement, values)
            done[name] = cursor.rowcount
    return done


def change_choices(*, flow: Flow, closed_period: str, pilot_documents: str, user: User) -> bool:
    """How entries for closed books and documents of the pilot are written. Returns whether that changed anything."""
    flow = _locked(flow)
    chosen = {"closed_period": closed_period, "pilot_documents": pilot_documents}
    changed = {name: value for name, value in chosen.items() if flow.settings.get(name, USUAL_CHOICES[name]) != value}
    if not changed:
        return False
    flow.settings = {**flow.settings, **chosen}
    flow.save(update_fields=["settings"])
    if "closed_period" in changed:
        SandboxCase.objects.filter(flow=flow, name="closed").delete()
        held = RecordOutcome.objects.filter(flow=flow, state=RecordOutcome.State.HELD, reason_code="closed_period")
        held.update(is_replay_asked=True)
        request_work(tenant_id=current_tenant().pk, kind="plan", key=str(flow.pk))
    record_act(
        user=user,
        action="flow.choices_changed",
        subject=flow,
        summary=f"Changed how {flow.name} writes its entries",
        details=changed,
    )
    return True


def agree_targets(*, flow: Flow, targets: Mapping[str, int | str], user: User) -> bool:
    """The figures the gate asks for. Returns whether that changed anything."""
    flow = _locked(flow)
    if {name: str(target_of(flow, name)) for name in targets} == {n: str(Decimal(str(v))) for n, v in targets.items()}:
        return False
    before = {name: flow.targets.get(name, usual) for name, usual in DEFAULT_TARGETS.items()}
    flow.targets = {**flow.targets, **targets}
    flow.save(update_fields=["targets"])
    record_act(
        user=user,
        action="flow.targets_agreed",
        subject=flow,
        summary=f"Agreed on what {flow.name} must reach before it moves on",
        details={"before": before, "now": flow.targets},
    )
    return True


def pause_flow(*, flow: Flow, user: User) -> None:
    """Nothing more is planned or written until somebody resumes; the one request that is being sent at this moment is finished."""
    flow = _set_paused(flow, user, is_paused=True)
    _stop_writing(flow)


def _stop_writing(flow: Flow) -> None:
    """Whoever is writing sends nothing more of this flow."""
    tell_worker(tenant_id=current_tenant().pk, kind="post", key=str(flow.target_id))


def resume_flow(*, flow: Flow, user: User) -> None:
    """Goes on where it stopped: what arrived meanwhile is planned, what was planned is written."""
    flow = _set_paused(flow, user, is_paused=False)
    request_work(tenant_id=current_tenant().pk, kind="plan", key=str(flow.pk))
    request_work(tenant_id=current_tenant().pk, kind="post", key=str(flow.target_id))


def _set_paused(flow: Flow, user: User, *, is_paused: bool) -> Flow:
    flow = _locked(flow)
    if flow.is_paused != is_paused:
        flow.is_paused = is_paused
        flow.save(update_fields=["is_paused"])
        word = "Paused" if is_paused else "Resumed"
        record_act(user=user, action=f"flow.{word.lower()}", subject=flow, summary=f"{word} {flow.name}")
    return flow


def run_cases(*, flow: Flow) -> None:
    """Ask for the sandbox cases to be run. Raises `UnableToMove` when there is no mapping to run them with."""
    if flow.mapping is None:
        raise UnableToMove("Save the field mapping first: the cases are run with it.")
    request_work(tenant_id=current_tenant().pk, kind="rehearse", key=str(flow.pk), is_long=True)


def compare_again(*, flow: Flow) -> None:
    """Read the ledger's entries again, and compare."""
    owner, found = current_tenant(), connector(flow.target.connector)
    for data_type in sorted({found.stream(name).carried_by or name for name in template(flow.template).needs}):
        request_work(tenant_id=owner.pk, kind="sync", key=f"{flow.target_id}:{data_type}")
    request_work(tenant_id=owner.pk, kind="pair", key=str(flow.pk))


def _locked(flow: Flow) -> Flow:
    """As it stands now; planning, comparing and moving one flow wait for each other."""
    related = Flow.objects.select_for_update(of=("self",), no_key=True).select_related("source", "target", "mapping")
    return related.get(pk=flow.pk)


def resolve_pairs(*, flow: Flow, pair_ids: Iterable[int], resolution: str, reason: str, user: User) -> int:
    """Decide one or many differences, with a reason that is kept; a decision may be revised. Raises `UnableToResolve`. Returns how
    many were decided: pairs that agree need no decision."""
    if not reason.strip():
        raise UnableToResolve("Say why: the reason is kept with the decision.")
    if resolution not in Pair.Resolution.values or resolution == Pair.Resolution.OPEN:
        raise UnableToResolve("Choose whose figures are right.")
    chosen = Pair.objects.filter(flow=flow, pk__in=list(pair_ids)).exclude(verdict=Verdict.MATCH)
    details = {"pairs": sorted(chosen.values_list("pk", flat=True)), "reason": reason}
    count = chosen.update(resolution=resolution, resolution_reason=reason, resolved_by=user, resolved_at=now())
    if not count:
        raise UnableToResolve("Choose at least one difference.")
    word = "difference" if count == 1 else "differences"
    record_act(
        user=user,
        action="pair.resolve",
        subject=flow,
        summary=f"{flow.name}: {count} {word} decided: {Pair.Resolution(resolution).label.lower()}",
        details=details,
    )
    return count


_LINK = """
    UPDATE posting_posting AS posting
    SET state = 'linked', external_id = entry.external_id, external_number = entry.number, posted_at = %(at)s,
        external_version = entry.version
    FROM cutover_pair pair JOIN sync_record entry ON entry.id = pair.entry_id
    WHERE pair.flow_id = %(flow)s AND pair.posting_id = posting.id AND posting.state = 'shadow'
"""
_LEAVE_OUT = """
    UPDATE posting_posting AS posting SET state = 'withdrawn'
    FROM cutover_pair pair
    WHERE pair.flow_id = %(flow)s AND pair.posting_id = posting.id AND posting.state = 'shadow'
        AND pair.verdict = 'missing_in_theirs' AND pair.resolution = 'theirs_right'
"""
_LEFT_OUT_OUTCOMES = """
    UPDATE posting_recordoutcome AS outcome
    SET state = 'excluded', stage = 'live', reason_code = 'excluded_by_person', reason = decided.resolution_reason,
        decided_by_id = decided.resolved_by_id, decision = 'exclude', owner = '', next_step = '', updated_at = %(at)s
    FROM (SELECT DISTINCT ON (posting.record_id) posting.record_id, pair.resolution_reason, pair.resolved_by_id
        FROM cutover_pair pair JOIN posting_posting posting ON posting.id = pair.posting_id
        WHERE pair.flow_id = %(flow)s AND posting.state = 'withdrawn') decided
    WHERE outcome.flow_id = %(flow)s AND outcome.state = 'shadow' AND outcome.record_id = decided.record_id
        AND NOT EXISTS (SELECT FROM posting_posting posting WHERE posting.flow_id = outcome.flow_id
            AND posting.record_id = outcome.record_id AND posting.state IN ('shadow', 'linked', 'posted'))
"""
_LINKED_OUTCOMES = """
    UPDATE posting_recordoutcome AS outcome
    SET state = 'posted', stage = 'live', reason_code = 'linked', reason = 'Entered by staff; linked when the flow went live.',
        owner = '', next_step = '', updated_at = %(at)s
    WHERE outcome.flow_id = %(flow)s AND outcome.state = 'shadow'
        AND NOT EXISTS (SELECT FROM posting_posting posting WHERE posting.flow_id = outcome.flow_id
            AND posting.record_id = outcome.record_id AND posting.state = 'shadow')
"""
# Whatever followed would be booked in a currency it never had: such a record waits until the entry is right.
_OTHER_CURRENCY = """
    UPDATE posting_recordoutcome AS outcome
    SET state = 'held', stage = 'live', reason_code = 'wrong_currency',
        reason = format('Staff entered %%s of %%s in %%s; it was paid in %%s.', odd.name, odd.day, odd.theirs, odd.ours),
        owner = 'bookkeeper', next_step = 'Correct the entry in the ledger, then accept it here.', updated_at = %(at)s
    FROM (
        SELECT DISTINCT ON (posting.record_id) posting.record_id, posting.currency AS ours, entry.currency AS theirs,
            coalesce(nullif(entry.number, ''), nullif(entry.reference, ''), 'it') AS name,
            to_char(entry.occurred_on, 'FMDD Mon YYYY') AS day
        FROM posting_posting posting JOIN cutover_pair pair ON pair.posting_id = posting.id
            JOIN sync_record entry ON entry.id = pair.entry_id
        WHERE posting.flow_id = %(flow)s AND posting.state = 'linked' AND pair.verdict = 'currency'
        ORDER BY posting.record_id, entry.number = '', posting.id
    ) AS odd
    WHERE outcome.flow_id = %(flow)s AND outcome.record_id = odd.record_id
"""
_CATCH_UP = """
    UPDATE posting_recordoutcome AS outcome
    SET state = 'held', stage = 'live', reason_code = 'catch_up',
        reason = 'Staff never entered it, or only part of it, while both ran side by side.',
        owner = 'bookkeeper', next_step = 'Post it now, or exclude it with a reason.', updated_at = %(at)s
    WHERE outcome.flow_id = %(flow)s AND outcome.state = 'shadow'
        AND EXISTS (SELECT FROM posting_posting posting JOIN cutover_pair pair ON pair.posting_id = posting.id
            WHERE posting.flow_id = outcome.flow_id AND posting.record_id = outcome.record_id
            AND posting.state = 'shadow' AND posting.data_type <> 'customer' AND pair.verdict = 'missing_in_theirs')
"""
# A pilot that wrote drafts left their payments to staff: whether they were entered, only a person can say.
_UNFINISHED = """
    UPDATE posting_recordoutcome AS outcome
    SET state = 'held', stage = 'live', reason_code = 'catch_up',
        reason = 'The pilot wrote it as a draft and left the rest to staff.',
        owner = 'bookkeeper', next_step = 'Post the rest now, or accept it if staff have entered it.', updated_at = %(at)s
    WHERE outcome.flow_id = %(flow)s AND outcome.state = 'posted' AND outcome.stage = 'pilot'
        AND EXISTS (SELECT FROM posting_posting undone WHERE undone.flow_id = outcome.flow_id
            AND undone.record_id = outcome.record_id AND undone.state = 'withdrawn'
            AND NOT EXISTS (SELECT FROM posting_posting done WHERE done.flow_id = undone.flow_id
                AND done.record_id = undone.record_id AND done.purpose = undone.purpose AND done.state IN ('posted', 'linked')))
"""
# Contacts: nobody forgets to enter one; those that are not there yet are simply written from now on.
_REMAINING = """
    UPDATE posting_recordoutcome SET is_replay_asked = true WHERE flow_id = %(flow)s AND state = 'shadow'
"""
