"""The only place a flow moves on the staircase, and what each move does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from django.db import connection as database

from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.core.work import request_work
from marketplace.cutover.gate import Condition, conditions
from marketplace.cutover.models import Pair, StageMove
from marketplace.mapping.models import STAGE_MOVES, Flow, Stage
from marketplace.posting.models import Posting, RecordOutcome
from tenants.choices import Role
from tenants.context import current_tenant
from tenants.models import Membership, User

APPROVERS = (Role.OWNER, Role.ADMIN)


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
    flow = Flow.objects.select_for_update(of=("self",)).select_related("source", "target", "mapping").get(pk=flow.pk)
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
    membership = Membership.objects.filter(user=user, tenant=current_tenant()).first()
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
        done = _link_pairs(flow)
    else:
        stale = Posting.objects.filter(flow=flow, state__in=[Posting.State.PLANNED, Posting.State.SHADOW])
        done["postings withdrawn"] = stale.update(state=Posting.State.WITHDRAWN)
        Pair.objects.filter(flow=flow).exclude(posting__state=Posting.State.SHADOW).delete()
    judged_anew = RecordOutcome.objects.filter(flow=flow).exclude(state=RecordOutcome.State.POSTED)
    done["records looked at again"] = (
        judged_anew.exclude(reason_code__in=["excluded_by_person", "catch_up", "deleted"]).update(is_replay_asked=True)
    )
    owner = current_tenant()
    request_work(tenant_id=owner.pk, kind="plan", key=str(flow.pk))
    if flow.stage == Stage.PARALLEL:
        request_work(tenant_id=owner.pk, kind="pair", key=str(flow.pk))
    return {name: count for name, count in done.items() if count}


def _link_pairs(flow: Flow) -> dict[str, int]:
    """Going live: what staff entered becomes what we posted, so nothing is posted twice; what they forgot is offered."""
    values = {"flow": flow.pk, "at": now()}
    with database.cursor() as cursor:
        cursor.execute(_LINK, values)
        linked = cursor.rowcount
        cursor.execute(_LINKED_OUTCOMES, values)
        records = cursor.rowcount
        cursor.execute(_CATCH_UP, values)
        forgotten = cursor.rowcount
    return {"entries linked": linked, "records linked": records, "offered as catch-up": forgotten}


def resolve_pairs(*, pair_ids: Collection[int], resolution: str, reason: str, user: User) -> int:
    """Decide one or many differences, with a reason that is kept. Raises `UnableToResolve`. Returns how many were open."""
    if not reason.strip():
        raise UnableToResolve("Say why: the reason is kept with the decision.")
    if resolution not in Pair.Resolution.values or resolution == Pair.Resolution.OPEN:
        raise UnableToResolve("Choose whose figures are right.")
    count = Pair.objects.filter(pk__in=pair_ids).update(
        resolution=resolution, resolution_reason=reason, resolved_by=user, resolved_at=now()
    )
    record_act(
        user=user,
        action="pair.resolve",
        subject=None,
        summary=f"{count} differences: {Pair.Resolution(resolution).label.lower()} – {reason}",
        details={"pairs": sorted(pair_ids)[:500]},
    )
    return count


_LINK = """
    UPDATE posting_posting AS posting
    SET state = 'linked', external_id = entry.external_id, external_number = entry.number, posted_at = %(at)s,
        external_version = entry.version
    FROM cutover_pair pair JOIN sync_record entry ON entry.id = pair.entry_id
    WHERE pair.flow_id = %(flow)s AND pair.posting_id = posting.id AND posting.state = 'shadow'
"""
_LINKED_OUTCOMES = """
    UPDATE posting_recordoutcome AS outcome
    SET state = 'posted', stage = 'live', reason_code = 'linked', reason = 'Entered by staff; linked when the flow went live.',
        owner = '', next_step = '', updated_at = %(at)s
    WHERE outcome.flow_id = %(flow)s AND outcome.state = 'shadow'
        AND NOT EXISTS (SELECT FROM posting_posting posting WHERE posting.flow_id = outcome.flow_id
            AND posting.record_id = outcome.record_id AND posting.state = 'shadow')
"""
_CATCH_UP = """
    UPDATE posting_recordoutcome AS outcome
    SET state = 'held', stage = 'live', reason_code = 'catch_up',
        reason = 'Staff never entered it, or only part of it, while both ran side by side.',
        owner = 'bookkeeper', next_step = 'Post it now, or exclude it with a reason.', updated_at = %(at)s
    WHERE outcome.flow_id = %(flow)s AND outcome.state = 'shadow'
        AND EXISTS (SELECT FROM posting_posting posting JOIN cutover_pair pair ON pair.posting_id = posting.id
            WHERE posting.flow_id = outcome.flow_id AND posting.record_id = outcome.record_id
            AND posting.state = 'shadow' AND pair.verdict = 'missing_in_theirs')
"""
