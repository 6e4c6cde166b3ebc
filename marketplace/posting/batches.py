"""Requests to a ledger as rows: committed as intent, confirmed, unconfirmed, or surely not arrived. Inside a tenant's transaction."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
from django.db import connection as database
from django.db.models import F

from connectors.sdk.client import Client, dump_json
from connectors.sdk.errors import ConnectorError, RateLimited, TransientError
from connectors.sdk.streams import JSON, Draft, Request, WritableStream
from marketplace.core.clock import now
from marketplace.installations.models import Connection
from marketplace.posting.intent import key_lasts, sending_lasts
from marketplace.posting.models import Posting, PostingBatch
from marketplace.posting.planning import FLYING
from marketplace.posting.ready import Ready
from marketplace.posting.settling import refresh_outcomes
from marketplace.sync.checkpoint import storable

#: On a request of which no byte left.
NOT_SENT = "It was not sent: writing paused before its turn."


class UnableToPost(Exception):
    """The ledger cannot be written to now; the postings wait. `retry_in` says for how long."""

    def __init__(self, message: str, retry_in: dt.timedelta) -> None:
        super().__init__(message)
        self.retry_in = retry_in


class KeyUsedBefore(Exception):
    """The key stands for another request: it must never be sent with this one."""


class NotIntended(Enum):
    """Why a request was not committed. `CHOOSE_AGAIN`: some of its documents were withdrawn or paused since they were chosen, or are
    being changed right now."""

    CHOOSE_AGAIN = "choose again"
    KEY_USED = "key used"


def pause_after(error: ConnectorError, attempts: int) -> dt.timedelta:
    """How long to leave a ledger alone that answered with this, after so many attempts."""
    if isinstance(error, RateLimited):
        return dt.timedelta(seconds=error.retry_after)
    if isinstance(error, TransientError):
        return dt.timedelta(seconds=min(300, 2 * 2**attempts))
    return dt.timedelta(minutes=5)


@dataclass(frozen=True)
class Chosen:
    """What one request is to hold. `key` and `digest`: by which the provider and we know it again."""

    stream: WritableStream
    postings: Sequence[Ready]
    drafts: Sequence[Draft]
    digest: str
    key: str
    request: Request


def intend(connection: Connection, chosen: Sequence[Chosen]) -> list[PostingBatch | NotIntended]:
    """Commit what is about to be sent, several requests in one statement, each whole or not at all. Nobody is waited for."""
    batches = [_batch_of(connection, one) for one in chosen]
    lasts = sending_lasts(connection).total_seconds()
    with database.cursor() as cursor:
        cursor.execute(_INTEND, [storable(_as_rows(batches, chosen)), connection.pk, lasts])
        known = {key: found for key, *found in cursor.fetchall()}
    return [_intended(batch, *known[batch.key]) for batch in batches]


def _batch_of(connection: Connection, one: Chosen) -> PostingBatch:
    return PostingBatch(
        id=uuid.uuid4(),
        connection=connection,
        data_type=one.postings[0].data_type,
        action=one.postings[0].action,
        key=one.key,
        request_digest=one.digest,
        size=len(one.postings),
    )


def _as_rows(batches: Sequence[PostingBatch], chosen: Sequence[Chosen]) -> bytes:
    return dump_json(
        [
            {
                "id": batch.pk, "data_type": batch.data_type, "action": batch.action, "key": batch.key,
                "request_digest": batch.request_digest, "size": batch.size,
                "request": _as_json(one.request),
                "postings": [posting.id for posting in one.postings],
            }
            for batch, one in zip(batches, chosen, strict=True)
        ]
    )  # fmt: skip


def _as_json(request: Request) -> dict[str, Any]:
    """With the bytes that will be sent, where they are JSON themselves."""
    body = msgspec.Raw(request.content) if request.content_type == JSON else request.body
    return {"method": request.method, "path": request.path, "body": body}


def _intended(
    batch: PostingBatch, is_whole: bool, id: uuid.UUID | None, sent_at: dt.datetime, deadline_at: dt.datetime
) -> PostingBatch | NotIntended:
    if id is None:
        return NotIntended.KEY_USED if is_whole else NotIntended.CHOOSE_AGAIN
    batch.pk, batch.sent_at, batch.deadline_at = id, sent_at, deadline_at
    return batch


def intend_again(batch: PostingBatch, connection: Connection, request: Request) -> None:
    """The very same request once more, while the provider knows its key."""
    with database.cursor() as cursor:
        seconds = [lasts(connection).total_seconds() for lasts in (sending_lasts, key_lasts)]
        cursor.execute(_INTEND_AGAIN, [storable(dump_json(_as_json(request))), *seconds, batch.pk])
        batch.state, batch.sent_at, batch.deadline_at = cursor.fetchone()
    Posting.objects.filter(batch=batch, state__in=FLYING).update(
        state=Posting.State.SENDING, attempts=F("attempts") + 1
    )


def close(batch: PostingBatch, client: Client) -> None:
    """Everything in it is decided."""
    close_all({batch: client.calls})
    client.calls = 0


def close_all(calls: Mapping[PostingBatch, int]) -> None:
    """Everything in these is decided, after so many calls each."""
    told = dump_json([{"id": batch.pk, "calls": count} for batch, count in calls.items()])
    with database.cursor() as cursor:
        cursor.execute(_CLOSE, [now(), told.decode()])


def give_back(unsent: Sequence[PostingBatch]) -> None:
    """No byte of these left: their postings are as if they had never been chosen. Only for intents of this writer's own, which it
    never began to send."""
    with database.cursor() as cursor:
        cursor.execute(_GIVE_BACK, {"batches": [batch.pk for batch in unsent], "at": now(), "problem": NOT_SENT})


def mark_uncertain(batch: PostingBatch, error: ConnectorError) -> None:
    PostingBatch.objects.filter(pk=batch.pk).update(state=PostingBatch.State.UNCERTAIN, problem=error.user_message)
    Posting.objects.filter(batch=batch, state=Posting.State.SENDING).update(
        state=Posting.State.UNCERTAIN, problem=error.user_message
    )


def plan_again(batch: PostingBatch, error: ConnectorError) -> None:
    """Surely nothing was written: the postings are as they were before."""
    PostingBatch.objects.filter(pk=batch.pk).update(
        state=PostingBatch.State.SETTLED, answered_at=now(), problem=error.user_message
    )
    Posting.objects.filter(batch=batch).update(state=Posting.State.PLANNED, problem=error.user_message)


def plan_anew(posting_ids: Collection[int], *, with_fresh_key: bool) -> None:
    """The ledger was asked and does not have them. With a fresh key, what it may answer to the old one does not matter."""
    rounds = F("key_round") + 1 if with_fresh_key else F("key_round")
    Posting.objects.filter(pk__in=posting_ids, state__in=FLYING).update(
        state=Posting.State.PLANNED, key_round=rounds, problem=""
    )
    refresh_outcomes(posting_ids)


# A key that is known stands for the same documents and is not under way, or it is not used. What somebody else is changing is passed
# over: whoever plans holds postings and asks for our work, whose row we hold.
_INTEND = """
    WITH told AS (
        SELECT * FROM jsonb_to_recordset(%s::jsonb) AS told (id uuid, data_type text, action text, key text, request jsonb,
            request_digest text, size int, postings bigint[])
    ), taken AS (
        SELECT posting.id, asked.batch FROM posting_posting posting
        JOIN (SELECT id AS batch, unnest(postings) AS id FROM told) AS asked USING (id)
        WHERE posting.state = 'planned' AND (posting.reverses_id IS NOT NULL
            OR posting.flow_id IN (SELECT id FROM mapping_flow WHERE NOT is_paused AND stage IN ('pilot', 'live')))
        FOR NO KEY UPDATE OF posting SKIP LOCKED
    ), whole AS (
        SELECT told.* FROM told WHERE told.size = (SELECT count(*) FROM taken WHERE taken.batch = told.id)
    ), intended AS (
        INSERT INTO posting_postingbatch AS known
            (id, connection_id, data_type, action, key, request, request_digest, size, state, calls, problem, sent_at, intended_at,
            deadline_at)
        SELECT id, %s, data_type, action, key, request, request_digest, size, 'sending', 0, '', at, at,
            at + make_interval(secs => %s)
        FROM whole, clock_timestamp() AS at
        ON CONFLICT (connection_id, key) DO UPDATE
        SET request = excluded.request, state = 'sending', problem = '', sent_at = excluded.sent_at, answered_at = NULL,
            intended_at = excluded.intended_at, deadline_at = excluded.deadline_at
        WHERE known.state = 'settled' AND known.request_digest = excluded.request_digest
        RETURNING id, key, sent_at, deadline_at
    ), sending AS (
        UPDATE posting_posting AS posting SET state = 'sending', batch_id = intended.id, attempts = attempts + 1
        FROM taken JOIN whole ON whole.id = taken.batch JOIN intended ON intended.key = whole.key
        WHERE posting.id = taken.id
    )
    SELECT told.key, whole.id IS NOT NULL, intended.id, intended.sent_at, intended.deadline_at
    FROM told LEFT JOIN whole ON whole.id = told.id LEFT JOIN intended ON intended.key = whole.key
"""
_INTEND_AGAIN = """
    UPDATE posting_postingbatch
    SET request = %s::jsonb, state = 'sending', sent_at = clock_timestamp(),
        deadline_at = LEAST(clock_timestamp() + make_interval(secs => %s), intended_at + make_interval(secs => %s))
    WHERE id = %s RETURNING state, sent_at, deadline_at
"""
_CLOSE = """
    UPDATE posting_postingbatch AS batch SET state = 'settled', answered_at = %s, calls = batch.calls + told.calls, problem = ''
    FROM jsonb_to_recordset(%s::jsonb) AS told (id uuid, calls int) WHERE batch.id = told.id
"""
_GIVE_BACK = """
    WITH unsent AS (
        UPDATE posting_postingbatch SET state = 'settled', answered_at = %(at)s, problem = %(problem)s
        WHERE id = ANY(%(batches)s) AND state = 'sending' RETURNING id
    )
    UPDATE posting_posting AS posting SET state = 'planned', attempts = attempts - 1
    FROM unsent WHERE posting.batch_id = unsent.id AND posting.state = 'sending'
"""
