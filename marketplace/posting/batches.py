"""Requests to a ledger as rows: committed as intent, confirmed, unconfirmed, or surely not arrived. Inside a tenant's transaction."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Sequence

from django.db import connection as database
from django.db.models import F

from connectors.sdk.client import Client, dump_json
from connectors.sdk.errors import ConnectorError, RateLimited, TransientError
from connectors.sdk.streams import Draft, Request
from marketplace.core.clock import now
from marketplace.installations.models import Connection
from marketplace.posting.intent import key_lasts, sending_lasts
from marketplace.posting.keys import documents_digest, request_key
from marketplace.posting.models import Posting, PostingBatch
from marketplace.posting.planning import FLYING
from marketplace.posting.ready import Ready
from marketplace.posting.settling import refresh_outcomes
from marketplace.sync.checkpoint import storable


class UnableToPost(Exception):
    """The ledger cannot be written to now; the postings wait. `retry_in` says for how long."""

    def __init__(self, message: str, retry_in: dt.timedelta) -> None:
        super().__init__(message)
        self.retry_in = retry_in


class PlannedAnew(Exception):
    """What was chosen is not to be written any more as it was; choose again."""


class KeyUsedBefore(Exception):
    """The key stands for another request: it must never be sent with this one."""


def pause_after(error: ConnectorError, attempts: int) -> dt.timedelta:
    """How long to leave a ledger alone that answered with this, after so many attempts."""
    if isinstance(error, RateLimited):
        return dt.timedelta(seconds=error.retry_after)
    if isinstance(error, TransientError):
        return dt.timedelta(seconds=min(300, 2 * 2**attempts))
    return dt.timedelta(minutes=5)


def intend(connection: Connection, chosen: Sequence[Ready], drafts: Sequence[Draft], request: Request) -> PostingBatch:
    """Commit what is about to be sent. Raises `PlannedAnew` when some of it was withdrawn or paused since it was chosen, and
    `KeyUsedBefore`."""
    body = dump_json({"method": request.method, "path": request.path, "body": request.body})
    digest = documents_digest(drafts)
    batch = PostingBatch(
        id=uuid.uuid4(),
        connection=connection,
        data_type=chosen[0].data_type,
        action=chosen[0].action,
        key=request_key(digest, (posting.key_round for posting in chosen)),
        request_digest=digest,
        size=len(chosen),
    )
    named = (batch.pk, connection.pk, batch.data_type, batch.action, batch.key)
    told = (storable(body), digest, batch.size, sending_lasts(connection).total_seconds())
    with database.cursor() as cursor:
        cursor.execute(_INTEND, (*named, *told))
        known = cursor.fetchone()
        if known is None:
            raise KeyUsedBefore(batch.key)
        batch.pk, batch.sent_at, batch.deadline_at = known
        cursor.execute(_TAKE, [batch.pk, [posting.id for posting in chosen]])
        if cursor.rowcount != len(chosen):
            raise PlannedAnew
    return batch


def intend_again(batch: PostingBatch, connection: Connection) -> None:
    """The very same request once more, while the provider knows its key."""
    with database.cursor() as cursor:
        seconds = [lasts(connection).total_seconds() for lasts in (sending_lasts, key_lasts)]
        cursor.execute(_INTEND_AGAIN, [*seconds, batch.pk])
        batch.state, batch.sent_at, batch.deadline_at = cursor.fetchone()
    Posting.objects.filter(batch=batch, state__in=FLYING).update(
        state=Posting.State.SENDING, attempts=F("attempts") + 1
    )


def close(batch: PostingBatch, client: Client) -> None:
    """Everything in it is decided."""
    with database.cursor() as cursor:
        cursor.execute(_CLOSE, [now(), client.calls, batch.pk])
    client.calls = 0


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


# A key that is known stands for the same documents and is not under way, or it is not used.
_INTEND = """
    INSERT INTO posting_postingbatch AS known
        (id, connection_id, data_type, action, key, request, request_digest, size, state, calls, problem, sent_at, intended_at,
        deadline_at)
    SELECT %s, %s, %s, %s, %s, %s::jsonb, %s, %s, 'sending', 0, '', at, at, at + make_interval(secs => %s)
    FROM clock_timestamp() AS at
    ON CONFLICT (connection_id, key) DO UPDATE
    SET request = excluded.request, state = 'sending', problem = '', sent_at = excluded.sent_at, answered_at = NULL,
        intended_at = excluded.intended_at, deadline_at = excluded.deadline_at
    WHERE known.state = 'settled' AND known.request_digest = excluded.request_digest
    RETURNING id, sent_at, deadline_at
"""
_TAKE = """
    UPDATE posting_posting SET state = 'sending', batch_id = %s, attempts = attempts + 1
    WHERE id = ANY(%s) AND state = 'planned'
        AND (reverses_id IS NOT NULL
            OR flow_id IN (SELECT id FROM mapping_flow WHERE NOT is_paused AND stage IN ('pilot', 'live')))
"""
_INTEND_AGAIN = """
    UPDATE posting_postingbatch
    SET state = 'sending', sent_at = clock_timestamp(), 
        deadline_at = LEAST(clock_timestamp() + make_interval(secs => %s), intended_at + make_interval(secs => %s))
    WHERE id = %s RETURNING state, sent_at, deadline_at
"""
_CLOSE = """
    UPDATE posting_postingbatch SET state = 'settled', answered_at = %s, calls = calls + %s, problem = '' WHERE id = %s
"""
