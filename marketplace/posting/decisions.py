"""What a person decides about records that wait: post again, exclude, accept."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.core.work import request_work
from marketplace.posting.intent import is_being_sent
from marketplace.posting.looking_again import ask_to_look_again
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.posting.planning import UNDER_WAY
from marketplace.posting.settling import ENTERED_TWICE, UNCONFIRMED
from marketplace.posting.summaries import refresh_summary
from tenants.context import current_tenant
from tenants.models import User

WAITING = (RecordOutcome.State.HELD, RecordOutcome.State.FAILED)
#: Reasons about an entry that is in the ledger already: it can be accepted as it stands.
ACCEPTABLE = (
    "changed_after_posting",
    "total_differs",
    "wrong_currency",
    "taken_back_in_part",
    "not_taken_back",
    ENTERED_TWICE,
)


class UnableToDecide(Exception):
    """The decision does not fit what waits; the message says why."""


def post_again(*, outcome_ids: Collection[int], user: User) -> int:
    """Plan these records anew with today's mapping. What was never confirmed is not in the ledger, says who decides so.
    Returns how many. Raises `UnableToDecide`."""
    _refuse_under_way(outcome_ids)
    chosen = RecordOutcome.objects.filter(pk__in=outcome_ids, state__in=WAITING)
    _refuse_mixed(chosen)
    _send_anew(chosen)
    flows = set(chosen.values_list("flow_id", flat=True))
    count = chosen.update(is_replay_asked=True, decided_by=user, decision="post again", updated_at=now())
    _plan(flows)
    _record(user, "posting.post_again", count, "asked to post again")
    return count


def exclude(*, outcome_ids: Collection[int], reason: str, user: User) -> int:
    """Leave these records out of the ledger for good, for a reason that is kept. Raises `UnableToDecide`."""
    if not reason.strip():
        raise UnableToDecide("Say why these records do not belong in the ledger.")
    _refuse_under_way(outcome_ids)
    chosen = RecordOutcome.objects.filter(pk__in=outcome_ids, state__in=WAITING)
    in_ledger = Posting.objects.filter(
        flow_id__in=chosen.values("flow_id"),
        record_id__in=chosen.values("record_id"),
        reverses=None,
        state__in=[Posting.State.POSTED, Posting.State.LINKED],
    )
    if in_ledger.exists():
        raise UnableToDecide("Some of these records are in the ledger already: accept them or reverse them instead.")
    if _unconfirmed(chosen).exists():
        raise UnableToDecide(
            "The ledger may have some of these. Look there first, then accept them or post them again."
        )
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
    _refuse_under_way(outcome_ids)
    chosen = RecordOutcome.objects.filter(pk__in=outcome_ids, state__in=WAITING)
    in_ledger = Posting.objects.filter(
        flow_id=OuterRef("flow_id"),
        record_id=OuterRef("record_id"),
        reverses=None,
        state__in=[Posting.State.POSTED, Posting.State.LINKED],
    )
    others = chosen.exclude(reason_code__in=(*ACCEPTABLE, UNCONFIRMED))
    if others.exclude(Q(reason_code="catch_up") & Exists(in_ledger)).exists():
        raise UnableToDecide("Only records that are in the ledger already can be accepted.")
    _refuse_mixed(chosen)
    _take_as_posted(chosen)
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


def _unconfirmed(chosen: QuerySet[RecordOutcome]) -> QuerySet[Posting]:
    """What the ledger may or may not have of these records."""
    held = chosen.filter(flow_id=OuterRef("flow_id"), record_id=OuterRef("record_id"), reason_code=UNCONFIRMED)
    return Posting.objects.filter(Exists(held), reverses=None, state=Posting.State.UNCERTAIN)


def _send_anew(chosen: QuerySet[RecordOutcome]) -> None:
    """Under a key the provider has never seen: what it answered to the old one is of no use any more."""
    found = _unconfirmed(chosen)
    if any(is_being_sent(batch_id) for batch_id in set(found.values_list("batch_id", flat=True)) if batch_id):
        raise UnableToDecide("One of our workers has not finished sending this. Try again in a few minutes.")
    for target in set(found.values_list("flow__target_id", flat=True)):
        ask_to_look_again(target)
    found.update(state=Posting.State.PLANNED, key_round=F("key_round") + 1, problem="")


def _take_as_posted(chosen: QuerySet[RecordOutcome]) -> None:
    found = _unconfirmed(chosen)
    for target in set(found.values_list("flow__target_id", flat=True)):
        request_work(tenant_id=current_tenant().pk, kind="post", key=str(target))
    found.update(state=Posting.State.POSTED, posted_at=now(), problem="")


def _refuse_under_way(outcome_ids: Collection[int]) -> None:
    if RecordOutcome.objects.filter(pk__in=outcome_ids, reason_code=UNDER_WAY).exists():
        raise UnableToDecide("Some of these records are being taken back at this moment. Wait until that is done.")


def _refuse_mixed(chosen: QuerySet[RecordOutcome]) -> None:
    """Deciding about what was never confirmed says what is in the ledger. Nobody says so in passing, among others."""
    unsure = chosen.filter(reason_code=UNCONFIRMED).count()
    if unsure and unsure < chosen.count():
        words = "was" if unsure == 1 else "were"
        raise UnableToDecide(
            f"{unsure} of these {words} never confirmed by the ledger. Look there first, and decide about them apart from the others:"
            " filter by that reason, or one by one."
        )


def _plan(flow_ids: set[uuid.UUID]) -> None:
    for flow_id in flow_ids:
        request_work(tenant_id=current_tenant().pk, kind="plan", key=str(flow_id))


def _record(user: User, action: str, count: int, what: str) -> None:
    refresh_summary(current_tenant())
    if count:
        record_act(user=user, action=action, subject=None, summary=f"{count} records {what}", details={"count": count})
