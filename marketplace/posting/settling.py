"""What the ledger answered, written down: on the posting, and on the record's outcome."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from django.db import connection as database

from connectors.sdk.client import dump_json
from connectors.sdk.errors import RecordRejected
from connectors.sdk.streams import Written
from marketplace.core.clock import now
from marketplace.posting.echoes import confirm_pairs, lock_pairs_of
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.sync.checkpoint import storable

#: What a refusal means for the person who sees it: whose move it is, and the next step.
NEXT_STEPS: dict[str, tuple[str, str, str]] = {
    "closed_period": (
        RecordOutcome.State.HELD,
        RecordOutcome.Owner.BOOKKEEPER,
        "Decide on the flow's page what happens to entries dated in a closed period, then post it again.",
    ),
    "archived_account": (
        RecordOutcome.State.HELD,
        RecordOutcome.Owner.BOOKKEEPER,
        "Choose another ledger account in the field mapping, then post it again.",
    ),
    "missing_reference": (
        RecordOutcome.State.HELD,
        RecordOutcome.Owner.BOOKKEEPER,
        "Correct the field mapping so that it names something the ledger has, then post it again.",
    ),
    "amount": (
        RecordOutcome.State.HELD,
        RecordOutcome.Owner.BOOKKEEPER,
        "Compare the amounts with the source; correct the mapping of taxes or discounts, then post it again.",
    ),
    "duplicate": (
        RecordOutcome.State.HELD,
        RecordOutcome.Owner.BOOKKEEPER,
        "The ledger already has an entry with this number. Link to it or change the number in the field mapping.",
    ),
}
OTHERWISE = (
    RecordOutcome.State.FAILED,
    RecordOutcome.Owner.BOOKKEEPER,
    "Read what the ledger said, correct it there or in the field mapping, then post it again.",
)

#: Whether the ledger has it is not known, and looking it up does not tell.
UNCONFIRMED = "unconfirmed"
#: The ledger has it more than once; only a person takes that back.
ENTERED_TWICE = "entered_twice"


def settle_written(written: Mapping[int, Written]) -> None:
    """The ledger holds these documents now; a total that differs from ours is held for a person, never ignored."""
    if not written:
        return
    answered = {pk: found for pk, found in written.items() if found.record is not None}
    as_sent = lock_pairs_of(answered) if answered else []
    told = [
        {"id": pk, "external_id": w.external_id, "number": w.number[:120], "version": w.version[:80], "url": w.url[:500], "total": w.total}
        for pk, w in written.items()
    ]  # fmt: skip
    with database.cursor() as cursor:
        cursor.execute(_WRITTEN, [now(), storable(dump_json(told))])
    refresh_outcomes(written)
    if as_sent:
        confirm_pairs(as_sent, answered)


def settle_failures(refused: Mapping[int, RecordRejected]) -> None:
    """The ledger refused these documents; the others of their batch are unharmed."""
    for pk, error in refused.items():
        Posting.objects.filter(pk=pk).update(state=Posting.State.FAILED, problem=error.user_message)
        posting = Posting.objects.get(pk=pk)
        if posting.reverses_id is not None:
            continue  # its reversal tells what that means for the record
        state, owner, next_step = NEXT_STEPS.get(error.code, OTHERWISE)
        RecordOutcome.objects.filter(flow_id=posting.flow_id, record_id=posting.record_id).update(
            state=state,
            reason_code=error.code,
            reason=error.user_message,
            owner=owner,
            next_step=next_step,
            updated_at=now(),
        )


def refresh_outcomes(posting_ids: Collection[int]) -> None:
    """A record is posted once everything planned for it is in the ledger with the right total."""
    with database.cursor() as cursor:
        cursor.execute(_REFRESH, [dump_json(list(posting_ids)).decode(), now()])


def hold_unconfirmed(posting_ids: Collection[int], reason: str) -> None:
    """Nobody can tell from here whether the ledger has these documents: a person looks, and looking them up goes on."""
    with database.cursor() as cursor:
        cursor.execute(_HOLD, {"ids": list(posting_ids), "reason": reason, "code": UNCONFIRMED, "at": now()})


_WRITTEN = """
    UPDATE posting_posting AS posting
    SET state = 'posted', posted_at = %s, external_id = told.external_id, external_number = told.number,
        external_version = told.version, url = told.url, next_attempt_at = NULL,
        problem = CASE WHEN told.total <> posting.amount
            THEN 'The ledger made it ' || round(told.total, GREATEST(2, scale(trim_scale(told.total)))) || ', we sent '
                || round(posting.amount, GREATEST(2, scale(trim_scale(posting.amount)))) || '.' ELSE '' END
    FROM jsonb_to_recordset(%s::jsonb) AS told (id bigint, external_id text, number text, version text, url text, total numeric)
    WHERE posting.id = told.id
"""
_REFRESH = """
    WITH touched AS (
        SELECT DISTINCT flow_id, record_id FROM posting_posting WHERE reverses_id IS NULL AND id IN (SELECT value::bigint FROM jsonb_array_elements_text(%s::jsonb))
    ), standing AS (
        SELECT posting.flow_id, posting.record_id,
            bool_or(posting.state IN ('planned', 'sending', 'uncertain')) AS is_waiting,
            bool_or(posting.state = 'failed') AS has_failed,
            string_agg(DISTINCT NULLIF(posting.problem, ''), ' ') FILTER (WHERE posting.state = 'posted') AS differs
        FROM posting_posting posting JOIN touched USING (flow_id, record_id)
        WHERE posting.state NOT IN ('withdrawn', 'reversed') AND posting.reverses_id IS NULL
        GROUP BY posting.flow_id, posting.record_id
    )
    UPDATE posting_recordoutcome AS outcome
    SET updated_at = %s,
        state = CASE WHEN standing.is_waiting THEN 'pending' WHEN standing.differs IS NOT NULL THEN 'held' ELSE 'posted' END,
        reason_code = CASE WHEN standing.differs IS NOT NULL THEN 'total_differs' ELSE '' END,
        reason = COALESCE(standing.differs, ''),
        owner = CASE WHEN standing.differs IS NOT NULL THEN 'bookkeeper' ELSE '' END,
        next_step = CASE WHEN standing.differs IS NOT NULL
            THEN 'Compare the entry with the source; correct it in the ledger or accept the difference.' ELSE '' END
    FROM standing
    WHERE outcome.flow_id = standing.flow_id AND outcome.record_id = standing.record_id AND NOT standing.has_failed
        AND outcome.reason_code <> 'entered_twice'
"""
_HOLD = """
    UPDATE posting_recordoutcome AS outcome
    SET state = 'held', reason_code = %(code)s, reason = %(reason)s, owner = 'bookkeeper', updated_at = %(at)s,
        next_step = 'Look in the ledger for "' || posting.reference || '". If the entry is there, once and right, accept it.'
            || ' If it is not there, post it again.'
    FROM posting_posting posting
    WHERE posting.id = ANY(%(ids)s) AND posting.reverses_id IS NULL AND outcome.flow_id = posting.flow_id AND outcome.record_id = posting.record_id
        AND (outcome.reason_code, outcome.reason) IS DISTINCT FROM (%(code)s, %(reason)s)
"""
