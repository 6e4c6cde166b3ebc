"""Writing to a ledger: intent first, one writer per connection, never a blind repeat.

1. What an earlier writer left `sending` is `uncertain`: it may or may not have arrived.
2. Uncertain batches are looked up by reference. What is found is posted; a batch of which nothing is found is sent once more after a
   quiet time, under the same key, so that the provider takes it once even if the first request was only late.
3. The next batch is committed as intent, the lease is checked, the request is sent, the answer is committed.

Each step is its own transaction; HTTP happens between them. Each transaction holds the lease, so a writer that was overtaken while it
waited for an answer writes nothing down any more.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection as database
from django.db.models import F

from connectors.registry import connector
from connectors.sdk.client import Client, dump_json
from connectors.sdk.errors import ConnectorError, OutcomeUnknown, RateLimited, RecordRejected, TransientError
from connectors.sdk.streams import Draft, Outcome, Request, WritableStream, Written
from marketplace.core.clock import now
from marketplace.core.work import check_lease, holding_lease, slice_is_over
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.posting.keys import batch_key
from marketplace.posting.models import Posting, PostingBatch
from marketplace.posting.planning import FLYING
from marketplace.posting.ready import Ready, drafts_of, flying_postings, ready_postings
from marketplace.posting.settling import settle_failures, settle_written
from marketplace.sync.checkpoint import storable
from tenants.context import tenant
from tenants.models import Tenant

WRITE_ORDER = ("customer", "invoice", "credit_note", "customer_payment", "bank_transfer", "expense")
QUIET_SECONDS = 10
PAUSED_AGAIN = dt.timedelta(
    minutes=5
)  # nothing is sent while a flow is paused; what is unconfirmed is looked up now and then
AHEAD = 1000  # how many documents are looked up together, and told to the connector, before the first batch of them is written


class UnableToPost(Exception):
    """The ledger cannot be written to now; the postings wait. `retry_in` says for how long."""

    def __init__(self, message: str, retry_in: dt.timedelta) -> None:
        super().__init__(message)
        self.retry_in = retry_in


class PlannedAnew(Exception):
    """What was chosen is not to be written any more as it was; choose again."""


#: A batch of which the ledger shows nothing, and its postings.
Unconfirmed = tuple[PostingBatch, list[Ready]]


@dataclass(frozen=True)
class Sending:
    """A committed intent and what goes with it."""

    batch: PostingBatch
    postings: Sequence[Ready]
    drafts: Sequence[Draft]
    stream: WritableStream


@dataclass
class Writer:
    """One slice of writing to one ledger. `ahead` are documents of one kind that were found ready together, less those taken."""

    owner: Tenant
    connection: Connection
    client: Client
    ahead: deque[tuple[Ready, Draft]] = field(default_factory=deque)


def write_postings(*, tenant_id: uuid.UUID, connection_id: uuid.UUID) -> dt.timedelta | None:
    """Write what is planned for one ledger for a slice of time. Answers when to go on; None when nothing is left."""
    with holding_lease(tenant_id) as owner:
        connection = Connection.objects.get(pk=connection_id)
        if connection.state != Connection.State.CONNECTED:
            raise UnableToPost("the connection needs reconnecting", dt.timedelta(minutes=15))
        PostingBatch.objects.filter(connection=connection, state=PostingBatch.State.SENDING).update(
            state=PostingBatch.State.UNCERTAIN, problem="The answer never came."
        )
    writer = Writer(owner, connection, client_for(tenant_id, connection))
    still_unknown, to_repeat = _look_up_uncertain(writer)
    while True:
        sending = _intend_again(writer, *to_repeat.pop(0)) if to_repeat else _commit_intent(writer)
        if sending is None:
            return still_unknown
        if not _send(writer, sending) or slice_is_over():
            return dt.timedelta(0)


def _commit_intent(writer: Writer) -> Sending | None:
    """The next batch: one kind of document, everything it waits for in the ledger, not more than the provider takes at once."""
    if not writer.ahead and not _look_ahead(writer):
        return None
    stream = connector(writer.connection.connector).writable(writer.ahead[0][0].data_type)
    chosen = _next_batch(writer.ahead, stream.batch_size)
    postings, drafts = [posting for posting, _ in chosen], [draft for _, draft in chosen]
    request = stream.preview(writer.client, drafts)
    try:
        with holding_lease(writer.owner):
            return Sending(_intend(writer.connection, stream, postings, request), postings, drafts, stream)
    except PlannedAnew:
        writer.ahead.clear()
        return _commit_intent(writer)


def _look_ahead(writer: Writer) -> bool:
    """Find what is written next, some batches of it at once; a connector is told when there is more than one. What becomes of
    it meanwhile, such as a pause or a new plan, is looked at again when a batch is committed."""
    with tenant(writer.owner):
        found: list[Ready] = []
        for data_type in WRITE_ORDER:
            if found := ready_postings(writer.connection, data_type, AHEAD):
                break
        writer.ahead.extend(zip(found, drafts_of(found, writer.connection), strict=True))
    if found:
        _anticipate(writer, connector(writer.connection.connector).writable(found[0].data_type))
    return bool(found)


def _anticipate(writer: Writer, stream: WritableStream) -> None:
    created = [draft for posting, draft in writer.ahead if posting.action == "create"]
    if len(created) > stream.batch_size:
        check_lease()
        stream.anticipate(writer.client, created, key=batch_key(draft.key for draft in created))


def _next_batch(ahead: deque[tuple[Ready, Draft]], size: int) -> list[tuple[Ready, Draft]]:
    """Documents that go in one request; an update goes alone."""
    chosen = [ahead.popleft()]
    action = chosen[0][0].action
    while ahead and len(chosen) < size and ahead[0][0].action == action != "update":
        chosen.append(ahead.popleft())
    return chosen


def _intend(connection: Connection, stream: WritableStream, chosen: Sequence[Ready], request: Request) -> PostingBatch:
    """Commit what is about to be sent. Raises `PlannedAnew` when some of it was withdrawn or paused since it was chosen."""
    body = dump_json({"method": request.method, "path": request.path, "body": request.body})
    batch = PostingBatch(
        connection=connection,
        data_type=stream.data_type,
        action=chosen[0].action,
        key=batch_key(posting.key for posting in chosen),
        request_digest=hashlib.sha256(body).hexdigest(),
        size=len(chosen),
        sent_at=now(),
    )
    row: list[Any] = [
        batch.pk,
        connection.pk,
        batch.data_type,
        batch.action,
        batch.key,
        storable(body),
        batch.request_digest,
    ]
    with database.cursor() as cursor:
        cursor.execute(_INTEND, (*row, batch.size, batch.sent_at))
        cursor.execute(_TAKE, [batch.pk, [posting.id for posting in chosen]])
        if cursor.rowcount != len(chosen):
            raise PlannedAnew
    return batch


def _intend_again(writer: Writer, batch: PostingBatch, postings: Sequence[Ready]) -> Sending:
    """The very same request once more: the same documents in the same order, so the provider knows the key."""
    with holding_lease(writer.owner):
        batch.state, batch.sent_at = PostingBatch.State.SENDING, now()
        batch.save(update_fields=["state", "sent_at"])
        Posting.objects.filter(batch=batch, state__in=FLYING).update(
            state=Posting.State.SENDING, attempts=F("attempts") + 1
        )
        drafts = drafts_of(postings, writer.connection)
    stream = connector(writer.connection.connector).writable(batch.data_type)
    return Sending(batch, postings, drafts, stream)


def _send(writer: Writer, sending: Sending) -> bool:
    """Send one committed intent and commit its answer. False when the outcome is unknown and must be looked up first."""
    check_lease()
    try:
        outcomes = _write(writer.client, sending)
    except OutcomeUnknown as error:
        with holding_lease(writer.owner):
            _mark_uncertain(sending.batch, error)
        return False
    except ConnectorError as error:
        with holding_lease(writer.owner):
            _plan_again(sending.batch, error)
        raise UnableToPost(error.user_message, _pause(error, sending.postings)) from error
    with holding_lease(writer.owner):
        _settle(sending, outcomes, writer.client)
    return True


def _write(client: Client, sending: Sending) -> list[Outcome]:
    if sending.batch.action == "update":
        posting, draft = sending.postings[0], sending.drafts[0]
        return [sending.stream.update(client, posting.external_id, draft, version=posting.external_version)]
    return sending.stream.create(client, sending.drafts, key=sending.batch.key)


def _settle(sending: Sending, outcomes: Sequence[Outcome], client: Client) -> None:
    if len(outcomes) != len(sending.postings):
        raise RuntimeError(f"{len(outcomes)} outcomes for {len(sending.postings)} postings")
    written = {p.id: o for p, o in zip(sending.postings, outcomes, strict=True) if isinstance(o, Written)}
    refused = {p.id: o for p, o in zip(sending.postings, outcomes, strict=True) if isinstance(o, RecordRejected)}
    settle_written(written)
    settle_failures(refused)
    _close(sending.batch, client)


def _close(batch: PostingBatch, client: Client) -> None:
    with database.cursor() as cursor:
        cursor.execute(_CLOSE, [now(), client.calls, batch.pk])
    client.calls = 0


def _mark_uncertain(batch: PostingBatch, error: ConnectorError) -> None:
    PostingBatch.objects.filter(pk=batch.pk).update(state=PostingBatch.State.UNCERTAIN, problem=error.user_message)
    Posting.objects.filter(batch=batch, state=Posting.State.SENDING).update(
        state=Posting.State.UNCERTAIN, problem=error.user_message
    )


def _plan_again(batch: PostingBatch, error: ConnectorError) -> None:
    """Surely nothing was written: the postings are as they were before."""
    PostingBatch.objects.filter(pk=batch.pk).update(
        state=PostingBatch.State.SETTLED, answered_at=now(), problem=error.user_message
    )
    Posting.objects.filter(batch=batch).update(state=Posting.State.PLANNED, problem=error.user_message)


def _pause(error: ConnectorError, postings: Sequence[Ready]) -> dt.timedelta:
    if isinstance(error, RateLimited):
        return dt.timedelta(seconds=error.retry_after)
    if isinstance(error, TransientError):
        attempts = postings[0].attempts if postings else 1
        return dt.timedelta(seconds=min(300, 2 * 2**attempts))
    return dt.timedelta(minutes=5)


def _look_up_uncertain(writer: Writer) -> tuple[dt.timedelta | None, list[Unconfirmed]]:
    """Settle what can be settled. Answers when to look again at what the ledger does not show yet, and what to send once more."""
    with tenant(writer.owner):
        open_batches = PostingBatch.objects.filter(
            connection=writer.connection, state=PostingBatch.State.UNCERTAIN
        ).defer("request")
        batches = list(open_batches)
        waiting = flying_postings([batch.pk for batch in batches]) if batches else {}
        drafts = {batch.pk: drafts_of(waiting[batch.pk], writer.connection) for batch in batches}
    pauses, to_repeat = [], []
    for batch in batches:
        postings = waiting[batch.pk]
        found = _found(writer, batch, postings, drafts[batch.pk])
        is_quiet = (now() - batch.sent_at).total_seconds() > QUIET_SECONDS
        with holding_lease(writer.owner):
            settle_written({posting.id: found[posting.key] for posting in postings if posting.key in found})
            if len(found) < len(postings) and not is_quiet:
                pauses.append(dt.timedelta(seconds=QUIET_SECONDS / 2))
            elif found or not _is_whole(batch, postings):
                # The provider had the request, or cannot be given the same one: what is missing is planned anew.
                Posting.objects.filter(batch=batch, state__in=FLYING).update(state=Posting.State.PLANNED)
                _close(batch, writer.client)
            elif any(posting.is_paused for posting in postings):
                pauses.append(PAUSED_AGAIN)
            else:
                to_repeat.append((batch, postings))
    return min(pauses, default=None), to_repeat


def _is_whole(batch: PostingBatch, postings: Sequence[Ready]) -> bool:
    """Whether the same request can be made again. An update is not: it carries the version it replaces."""
    return batch.action == "create" and batch_key(posting.key for posting in postings) == batch.key


def _found(
    writer: Writer, batch: PostingBatch, postings: Sequence[Ready], drafts: Sequence[Draft]
) -> dict[str, Written]:
    if batch.action == "update":
        return {}  # an update carries the version it replaces: sent again, it takes effect once or is refused as stale
    stream = connector(writer.connection.connector).writable(batch.data_type)
    try:
        return stream.find(writer.client, drafts)
    except ConnectorError as error:
        raise UnableToPost(error.user_message, _pause(error, postings)) from error


_INTEND = """
    INSERT INTO posting_postingbatch
        (id, connection_id, data_type, action, key, request, request_digest, size, sent_at, state, calls, problem)
    VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s, 'sending', 0, '')
"""
_TAKE = """
    UPDATE posting_posting SET state = 'sending', batch_id = %s, attempts = attempts + 1
    WHERE id = ANY(%s) AND state = 'planned' AND flow_id IN (SELECT id FROM mapping_flow WHERE NOT is_paused)
"""
_CLOSE = """
    UPDATE posting_postingbatch SET state = 'settled', answered_at = %s, calls = calls + %s, problem = '' WHERE id = %s
"""
