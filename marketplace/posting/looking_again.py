"""Entries that are in a ledger twice although nobody saw it happen.

A request that was given up, because the ledger showed nothing of it and had forgotten its key, was sent once more under a fresh one. If it
was only very late, both are entered. So what went out under a fresh key is looked for again for a while, and a second entry with our
reference is held for a person. Reads the ledger, sends nothing.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence

from django.db import connection as database

from connectors.registry import connector
from connectors.sdk.errors import ConnectorError
from connectors.sdk.streams import Written
from marketplace.core.clock import now
from marketplace.core.summaries import ask_for_summary
from marketplace.core.work import request_work
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.posting.batches import UnableToPost, pause_after
from marketplace.posting.ready import Ready, drafts_of, postings_as_sent
from marketplace.posting.settling import ENTERED_TWICE
from tenants.context import current_tenant, tenant

KIND = "look_again"
#: A second entry is found within a quarter of an hour of its arrival, with time for one look that fails.
EVERY = dt.timedelta(minutes=6)
#: How long after its last sending; no request takes nearly so long on its way.
WATCHED = dt.timedelta(minutes=45)


def ask_to_look_again(connection_id: uuid.UUID) -> None:
    """Something is sent to this ledger under a fresh key. Inside the tenant's context."""
    request_work(tenant_id=current_tenant().pk, kind=KIND, key=str(connection_id), delay=EVERY)


def look_again(*, tenant_id: uuid.UUID, connection_id: uuid.UUID) -> dt.timedelta | None:
    """Look once; answers when to look the next time, if anything is watched still. Raises `UnableToPost`."""
    with tenant(tenant_id):
        connection = Connection.objects.select_related("installation").get(pk=connection_id)
        if connection.state == Connection.State.DISCONNECTED:
            return None
        posted, is_waiting = _watched(connection)
        drafts = drafts_of(posted, connection)
    client = client_for(tenant_id, connection)
    for data_type in dict.fromkeys(posting.data_type for posting in posted):
        chosen = [(one, draft) for one, draft in zip(posted, drafts, strict=True) if one.data_type == data_type]
        try:
            found = connector(connection.connector).writable(data_type).find(client, [draft for _, draft in chosen])
        except ConnectorError as error:
            raise UnableToPost(error.user_message, min(EVERY, pause_after(error, 0))) from error
        with tenant(tenant_id):
            _hold_twice(connection, {one: found[one.key] for one, _ in chosen if one.key in found})
            ask_for_summary(tenant_id)
    return EVERY if posted or is_waiting else None


def _watched(connection: Connection) -> tuple[Sequence[Ready], bool]:
    """What was posted under a fresh key lately, and whether any other is still to be sent."""
    with database.cursor() as cursor:
        cursor.execute(_WATCHED, [connection.pk, WATCHED.total_seconds()])
        states = dict(cursor.fetchall())
    posted = [pk for pk, state in states.items() if state == "posted"]
    return postings_as_sent(posted), len(posted) < len(states)


def _hold_twice(connection: Connection, found: Mapping[Ready, Written]) -> None:
    name = connector(connection.connector).manifest.name
    twice = {posting: written for posting, written in found.items() if written.others}
    with database.cursor() as cursor:
        for posting, written in twice.items():
            reason = (
                f"{name} has {len(written.others) + 1} entries with its reference: the first request arrived after all."
            )
            cursor.execute(_HOLD, {"id": posting.id, "reason": reason, "code": ENTERED_TWICE, "at": now()})


# Times are the database's own. What waits for its turn has no new request yet.
_WATCHED = """
    SELECT posting.id, posting.state
    FROM posting_posting posting JOIN mapping_flow flow ON flow.id = posting.flow_id
    LEFT JOIN posting_postingbatch batch ON batch.id = posting.batch_id
    WHERE flow.target_id = %s AND posting.key_round > 0 AND posting.action = 'create' AND posting.reverses_id IS NULL
        AND (posting.state IN ('planned', 'sending', 'uncertain')
            OR posting.state = 'posted' AND batch.intended_at > clock_timestamp() - make_interval(secs => %s))
    ORDER BY posting.id
"""
_HOLD = """
    UPDATE posting_recordoutcome AS outcome
    SET state = 'held', reason_code = %(code)s, reason = %(reason)s, owner = 'bookkeeper', updated_at = %(at)s,
        next_step = 'Look in the ledger for "' || posting.reference || '". Take out the entry that is too many, then accept the other.'
    FROM posting_posting posting
    WHERE posting.id = %(id)s AND posting.state = 'posted' AND outcome.flow_id = posting.flow_id AND outcome.record_id = posting.record_id
        AND outcome.state IN ('pending', 'posted') AND outcome.decision <> 'accept'
"""
