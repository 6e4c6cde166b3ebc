"""What a person decides about records that wait: post again, exclude, accept."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.db.models import Exists, OuterRef, Q

from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.core.work import request_work
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.posting.summaries import refresh_summary
from tenants.context import current_tenant
from tenants.models import User

WAITING = (RecordOutcome.State.HELD, RecordOutcome.State.FAILED)
#: Reasons about an entry that is in the ledger already: it can be accepted as it stands.
ACCEPTABLE = ("changed_after_posting", "total_differs", "wrong_currency")


class UnableToDecide(Exception):
    """The decision does not fit what waits; the message says why."""


def post_again(*, outcome_ids: Collection[int], user: User) -> int:
    """Plan these records anew with today's mapping. Returns how many."""
    chosen = RecordOutcome.objects.filter(pk__in=outcome_ids, state__in=WAITING)
    flows = set(chosen.values_list("flow_id", flat=True))
    count = chosen.update(is_replay_asked=True, decided_by=user, decision="post again", updated_at=now())
    _plan(flows)
    _record(user, "posting.post_again", count, "asked to post again")
    return count


def exclude(*, outcome_ids: Collection[int], reason: str, user: User) -> int:
    """Leave these records out of the ledger for good, for a reason that is kept. Raises `UnableToDecide`."""
    if not reason.strip():
        raise UnableToDecide("Say why these records do not belong in the ledger.")
    chosen = RecordOutcome.objects.filter(pk__in=outcome_ids, state__in=WAITING)
    in_ledger = Posting.objects.filter(
        flow_id__in=chosen.values("flow_id"),
        record_id__in=chosen.values("record_id"),
        state__in=[Posting.State.POSTED, Posting.State.LINKED],
    )
    if in_ledger.exists():
        raise UnableToDecide("Some of these records are in the ledger already: accept them or reverse them instead.")
    count = chosen.update(
        state=RecordOutcome.State.EXCLUDED,
        reason_code="excluded_by_person",
        reason=reason,
        owner="",
        next_step="",
        decided_by=user,
        decision="exclude",
        updated_at=now(),
    )
    _record(user, "posting.exclude", count, f"excluded: {reason}")
    return count


def accept(*, outcome_ids: Collection[int], reason: str, user: User) -> int:
    """The entry in the ledger is right as it is. Raises `UnableToDecide`."""
    if not reason.strip():
        raise UnableToDecide("Say why the entry is right as it is.")
    chosen = RecordOutcome.objects.filter(pk__in=outcome_ids, state__in=WAITING)
    in_ledger = Posting.objects.filter(
        flow_id=OuterRef("flow_id"),
        record_id=OuterRef("record_id"),
        state__in=[Posting.State.POSTED, Posting.State.LINKED],
    )
    if chosen.exclude(reason_code__in=ACCEPTABLE).exclude(Q(reason_code="catch_up") & Exists(in_ledger)).exists():
        raise UnableToDecide("Only records that are in the ledger already can be accepted.")
    count = chosen.update(
        state=RecordOutcome.State.POSTED,
        reason_code="accepted_by_person",
        reason=reason,
        owner="",
        next_step="",
        decided_by=user,
        decision="accept",
        updated_at=now(),
    )
    _record(user, "posting.accept", count, f"accepted as posted: {reason}")
    return count


def _plan(flow_ids: set[uuid.UUID]) -> None:
    for flow_id in flow_ids:
        request_work(tenant_id=current_tenant().pk, kind="plan", key=str(flow_id))


def _record(user: User, action: str, count: int, what: str) -> None:
    refresh_summary(current_tenant())
    if count:
        record_act(user=user, action=action, subject=None, summary=f"{count} records {what}", details={"count": count})
