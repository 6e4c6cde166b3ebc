"""Writing to a ledger: intent first, one writer per connection, never a blind repeat.

1. What an earlier writer left `sending` is `uncertain`: it may or may not have arrived.
2. Uncertain batches are looked up by reference (`uncertain.py`). What is found is posted; what is not is sent once more, or planned anew.
3. The next batch is committed as intent with a deadline, the lease and the deadline are checked right before the first byte
   (`intent.py`), the request is sent, the answer is committed.

Each step is its own transaction; HTTP happens between them. Each transaction holds the lease, so a writer that was overtaken while it
waited for an answer writes nothing down any more.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from connectors.registry import connector
from connectors.sdk.client import Client
from connectors.sdk.errors import ConnectorError, OutcomeUnknown, RecordRejected
from connectors.sdk.streams import Draft, Outcome, WritableStream, Written
from marketplace.core.restoring import restored_at
from marketplace.core.work import holding_lease, slice_is_over
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.posting.batches import (
    PlannedAnew,
    UnableToPost,
    close,
    intend,
    intend_again,
    mark_uncertain,
    pause_after,
    plan_again,
)
from marketplace.posting.intent import Gate
from marketplace.posting.keys import batch_key
from marketplace.posting.models import PostingBatch
from marketplace.posting.ready import Ready, drafts_of, ready_postings
from marketplace.posting.restoring import settle_forgotten
from marketplace.posting.settling import settle_failures, settle_written
from marketplace.posting.uncertain import Unconfirmed, look_up
from marketplace.posting.updating import is_stale, read_again, refuse_stale
from tenants.context import tenant
from tenants.models import Tenant

WRITE_ORDER = ("customer", "invoice", "credit_note", "customer_payment", "bank_transfer", "expense")
AHEAD = 1000  # how many documents are looked up together, and told to the connector, before the first batch of them is written


@dataclass(frozen=True)
class Sending:
    """A committed intent and what goes with it. `is_repeat`: an earlier request of the same may yet arrive."""

    batch: PostingBatch
    postings: Sequence[Ready]
    drafts: Sequence[Draft]
    stream: WritableStream
    is_repeat: bool = False


@dataclass
class Writer:
    """One slice of writing to one ledger. `ahead` are documents of one kind that were found ready together, less those taken;
    `restored_at` is when this database was restored, if it ever was."""

    owner: Tenant
    connection: Connection
    client: Client
    gate: Gate
    restored_at: dt.datetime | None
    ahead: deque[tuple[Ready, Draft]] = field(default_factory=deque)


def write_postings(*, tenant_id: uuid.UUID, connection_id: uuid.UUID) -> dt.timedelta | None:
    """Write what is planned for one ledger for a slice of time. Answers when to go on; None when nothing is left."""
    with holding_lease(tenant_id) as owner:
        connection = Connection.objects.get(pk=connection_id)
        if connection.state != Connection.State.CONNECTED:
            raise UnableToPost("the connection needs reconnecting", dt.timedelta(minutes=15))
        PostingBatch.objects.filter(connection=connection, state=PostingBatch.State.SENDING).exclude(
            action="void"
        ).update(state=PostingBatch.State.UNCERTAIN, problem="The answer never came.")
    gate = Gate()
    writer = Writer(
        owner, connection, client_for(tenant_id, connection, sending=gate, owner=owner), gate, restored_at()
    )
    still_unknown, to_repeat = look_up(owner, connection, writer.client)
    while True:
        sending = _intend_again(writer, to_repeat.pop(0)) if to_repeat else _commit_intent(writer)
        if sending is None:
            return still_unknown
        if not _send(writer, sending) or slice_is_over():
            return dt.timedelta(0)


def _commit_intent(writer: Writer) -> Sending | None:
    """The next batch: one kind of document, everything it waits for in the ledger, not more than the provider takes at once."""
    chosen: Sequence[tuple[Ready, Draft]] = ()
    while not chosen:
        if not writer.ahead and not _look_ahead(writer):
            return None
        stream = connector(writer.connection.connector).writable(writer.ahead[0][0].data_type)
        chosen = _unsent(writer, stream, _next_batch(writer.ahead, stream.batch_size))
    postings, drafts = [posting for posting, _ in chosen], [draft for _, draft in chosen]
    request = stream.preview(writer.client, drafts)
    try:
        with holding_lease(writer.owner):
            return Sending(intend(writer.connection, postings, drafts, request), postings, drafts, stream)
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
        stream.anticipate(writer.client, created, key=batch_key(draft.key for draft in created))


def _next_batch(ahead: deque[tuple[Ready, Draft]], size: int) -> list[tuple[Ready, Draft]]:
    """Documents that go in one request; an update goes alone."""
    chosen = [ahead.popleft()]
    action = chosen[0][0].action
    while ahead and len(chosen) < size and ahead[0][0].action == action != "update":
        chosen.append(ahead.popleft())
    return chosen


def _unsent(
    writer: Writer, stream: WritableStream, chosen: Sequence[tuple[Ready, Draft]]
) -> Sequence[tuple[Ready, Draft]]:
    """What is left of a batch without what a restored database had forgotten that it sent; that is posted now."""
    if writer.restored_at is None or chosen[0][0].action == "update":  # an update carries the version it replaces
        return chosen
    try:
        settled = settle_forgotten(writer.owner, writer.client, stream, chosen, writer.restored_at)
    except ConnectorError as error:
        raise UnableToPost(error.user_message, pause_after(error, chosen[0][0].attempts)) from error
    return [(posting, draft) for posting, draft in chosen if posting.id not in settled]


def _intend_again(writer: Writer, one: Unconfirmed) -> Sending:
    """The very same request once more: the same documents in the same order, so the provider knows the key."""
    with holding_lease(writer.owner):
        intend_again(one.batch, writer.connection)
    stream = connector(writer.connection.connector).writable(one.batch.data_type)
    return Sending(one.batch, one.postings, one.drafts, stream, is_repeat=True)


def _send(writer: Writer, sending: Sending) -> bool:
    """Send one committed intent and commit its answer. False when the outcome is unknown and must be looked up first."""
    writer.gate.batch = sending.batch
    try:
        outcomes = _write(writer.client, sending)
    except OutcomeUnknown as error:
        with holding_lease(writer.owner):
            mark_uncertain(sending.batch, error)
        return False
    except ConnectorError as error:
        with holding_lease(writer.owner):
            _not_written(sending, error)
        raise UnableToPost(error.user_message, pause_after(error, sending.postings[0].attempts)) from error
    finally:
        writer.gate.batch = None
    with holding_lease(writer.owner):
        _settle(sending, outcomes, writer.client)
    if any(is_stale(outcome) for outcome in outcomes):
        read_again(writer.owner, writer.connection, sending.postings)
    return True


def _not_written(sending: Sending, error: ConnectorError) -> None:
    """This request wrote nothing. The one it repeats may have, or may yet: that stays unknown."""
    if sending.is_repeat:
        mark_uncertain(sending.batch, error)
    else:
        plan_again(sending.batch, error)


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
    settle_failures(refuse_stale(refused) if sending.batch.action == "update" else refused)
    close(sending.batch, client)
