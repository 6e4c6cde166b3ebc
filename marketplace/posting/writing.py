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
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from django.db.models import F, Q, QuerySet

from connectors.registry import connector
from connectors.sdk import records
from connectors.sdk.client import Client, dump_json
from connectors.sdk.errors import ConnectorError, OutcomeUnknown, RateLimited, RecordRejected, TransientError
from connectors.sdk.records import decode
from connectors.sdk.streams import Draft, Outcome, Request, WritableStream, Written
from marketplace.core.clock import now
from marketplace.core.work import check_lease, holding_lease
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.posting.keys import batch_key
from marketplace.posting.models import Posting, PostingBatch
from marketplace.posting.planning import FLYING, IN_LEDGER, writes_drafts
from marketplace.posting.settling import settle_failures, settle_written
from tenants.context import tenant

WRITE_ORDER = ("customer", "invoice", "credit_note", "customer_payment", "bank_transfer", "expense")
QUIET_SECONDS = 10
PAUSED_AGAIN = dt.timedelta(
    minutes=5
)  # nothing is sent while a flow is paused; what is unconfirmed is looked up now and then
AHEAD = 1000  # how many documents a connector is told of before the first batch of them is written
SLICE_SECONDS = 15.0


class UnableToPost(Exception):
    """The ledger cannot be written to now; the postings wait. `retry_in` says for how long."""

    def __init__(self, message: str, retry_in: dt.timedelta) -> None:
        super().__init__(message)
        self.retry_in = retry_in


#: A batch of which the ledger shows nothing, and its postings.
Unconfirmed = tuple[PostingBatch, list[Posting]]


@dataclass(frozen=True)
class Sending:
    """A committed intent and what goes with it."""

    batch: PostingBatch
    postings: Sequence[Posting]
    drafts: Sequence[Draft]
    stream: WritableStream


def write_postings(*, tenant_id: uuid.UUID, connection_id: uuid.UUID) -> dt.timedelta | None:
    """Write what is planned for one ledger for a slice of time. Answers when to go on; None when nothing is left."""
    with holding_lease(tenant_id):
        connection = Connection.objects.get(pk=connection_id)
        if connection.state != Connection.State.CONNECTED:
            raise UnableToPost("the connection needs reconnecting", dt.timedelta(minutes=15))
        PostingBatch.objects.filter(connection=connection, state=PostingBatch.State.SENDING).update(
            state=PostingBatch.State.UNCERTAIN, problem="The answer never came."
        )
    client = client_for(tenant_id, connection)
    still_unknown, to_repeat = _look_up_uncertain(tenant_id, connection, client)
    until = time.monotonic() + SLICE_SECONDS
    told: dict[str, int] = {}
    while time.monotonic() < until:
        sending: Sending | None
        if to_repeat:
            sending = _intend_again(tenant_id, connection, *to_repeat.pop(0))
        else:
            sending = _commit_intent(tenant_id, connection, client, told)
        if sending is None:
            return still_unknown
        if not _send(tenant_id, connection, client, sending):
            return dt.timedelta(0)
    return dt.timedelta(0)


def _commit_intent(
    tenant_id: uuid.UUID, connection: Connection, client: Client, told: dict[str, int]
) -> Sending | None:
    """The next batch: one kind of document, everything it waits for in the ledger, not more than the provider takes at once."""
    with tenant(tenant_id):
        postings = _next_postings(connection)
    if not postings:
        return None
    stream = connector(connection.connector).writable(postings[0].data_type)
    _anticipate(tenant_id, client, stream, postings, told)
    request = stream.preview(client, [draft_of(posting) for posting in postings])
    with holding_lease(tenant_id):
        return _intend(connection, stream, postings, request)


def _anticipate(
    tenant_id: uuid.UUID, client: Client, stream: WritableStream, postings: list[Posting], told: dict[str, int]
) -> None:
    """Tell the connector of what follows this batch, when there is more of it. `told` is how many it was told of and has not
    been given yet, by kind of document."""
    left = told.get(stream.data_type, 0) - len(postings)
    if left < 0 and len(postings) == stream.batch_size and postings[0].action == "create":
        with tenant(tenant_id):
            following = list(_ready(postings[0].flow.target, stream.data_type).filter(action="create")[:AHEAD])
            drafts = [draft_of(posting) for posting in following]
        check_lease()
        stream.anticipate(client, drafts, key=batch_key(posting.key for posting in following))
        left = len(following) - len(postings)
    told[stream.data_type] = left


def _next_postings(connection: Connection) -> list[Posting]:
    for data_type in WRITE_ORDER:
        postings = list(_ready(connection, data_type)[: _batch_size(connection, data_type)])
        if postings:
            same = [posting for posting in postings if posting.action == postings[0].action]
            return same[:1] if same[0].action == "update" else same
    return []


def _batch_size(connection: Connection, data_type: str) -> int:
    streams = connector(connection.connector).streams
    sizes = [
        found.batch_size for found in streams if isinstance(found, WritableStream) and found.data_type == data_type
    ]
    return sizes[0] if sizes else 1


def _ready(connection: Connection, data_type: str) -> QuerySet[Posting]:
    return (
        Posting.objects.filter(
            flow__target=connection, flow__is_paused=False, state=Posting.State.PLANNED, data_type=data_type
        )
        .filter(Q(depends_on=None) | Q(depends_on__state__in=IN_LEDGER))
        .filter(Q(next_attempt_at=None) | Q(next_attempt_at__lte=now()))
        .select_related("flow__target", "depends_on")
        .order_by("action", "id")
    )


def _intend(connection: Connection, stream: WritableStream, chosen: list[Posting], request: Request) -> Sending:
    """Commit what is about to be sent. What was withdrawn since it was chosen is not sent: the caller chooses again."""
    body = dump_json({"method": request.method, "path": request.path, "body": request.body})
    batch = PostingBatch.objects.create(
        connection=connection,
        data_type=stream.data_type,
        action=chosen[0].action,
        key=batch_key(posting.key for posting in chosen),
        request=msgspec.json.decode(body),
        request_digest=hashlib.sha256(body).hexdigest(),
        size=len(chosen),
        sent_at=now(),
    )
    taken = Posting.objects.filter(pk__in=[posting.pk for posting in chosen], state=Posting.State.PLANNED).update(
        state=Posting.State.SENDING, batch=batch, attempts=F("attempts") + 1
    )
    if taken != len(chosen):
        raise UnableToPost("some of the postings were planned anew", dt.timedelta(0))
    return Sending(batch, chosen, [draft_of(posting) for posting in chosen], stream)


def _intend_again(
    tenant_id: uuid.UUID, connection: Connection, batch: PostingBatch, postings: Sequence[Posting]
) -> Sending:
    """The very same request once more: the same documents in the same order, so the provider knows the key."""
    with holding_lease(tenant_id):
        batch.state, batch.sent_at = PostingBatch.State.SENDING, now()
        batch.save(update_fields=["state", "sent_at"])
        Posting.objects.filter(batch=batch, state__in=FLYING).update(
            state=Posting.State.SENDING, attempts=F("attempts") + 1
        )
    stream = connector(connection.connector).writable(batch.data_type)
    return Sending(batch, postings, [draft_of(posting) for posting in postings], stream)


def draft_of(posting: Posting) -> Draft:
    """The document as it goes out: what it depends on is in the ledger by now and has an identity there."""
    document = decode(posting.data_type, msgspec.json.encode(posting.document))
    needed = posting.depends_on
    if needed is not None and needed.external_id:
        document = _pointing_at(document, needed)
    return Draft(key=posting.key, reference=posting.reference, document=document, as_draft=writes_drafts(posting.flow))


def _pointing_at(document: records.Record, needed: Posting) -> records.Record:
    if isinstance(document, records.CustomerPayment) and needed.data_type in ("invoice", "credit_note"):
        return msgspec.structs.replace(
            document, document_id=needed.external_id, document_number=needed.external_number or needed.number
        )
    if isinstance(document, records.Document) and needed.data_type == "customer":
        return msgspec.structs.replace(
            document, customer=msgspec.structs.replace(document.customer, id=needed.external_id)
        )
    return document


def _send(tenant_id: uuid.UUID, connection: Connection, client: Client, sending: Sending) -> bool:
    """Send one committed intent and commit its answer. False when the outcome is unknown and must be looked up first."""
    check_lease()
    try:
        outcomes = _write(client, sending)
    except OutcomeUnknown as error:
        with holding_lease(tenant_id):
            _mark_uncertain(sending.batch, error)
        return False
    except ConnectorError as error:
        with holding_lease(tenant_id):
            _plan_again(sending.batch, error)
        raise UnableToPost(error.user_message, _pause(error, sending.postings)) from error
    with holding_lease(tenant_id):
        _settle(sending, outcomes, client)
    return True


def _write(client: Client, sending: Sending) -> list[Outcome]:
    if sending.batch.action == "update":
        posting, draft = sending.postings[0], sending.drafts[0]
        return [sending.stream.update(client, posting.external_id, draft, version=posting.external_version)]
    return sending.stream.create(client, sending.drafts, key=sending.batch.key)


def _settle(sending: Sending, outcomes: Sequence[Outcome], client: Client) -> None:
    if len(outcomes) != len(sending.postings):
        raise RuntimeError(f"{len(outcomes)} outcomes for {len(sending.postings)} postings")
    written = {p.pk: o for p, o in zip(sending.postings, outcomes, strict=True) if isinstance(o, Written)}
    refused = {p.pk: o for p, o in zip(sending.postings, outcomes, strict=True) if isinstance(o, RecordRejected)}
    settle_written(written)
    settle_failures(refused)
    _close(sending.batch, client)


def _close(batch: PostingBatch, client: Client) -> None:
    PostingBatch.objects.filter(pk=batch.pk).update(
        state=PostingBatch.State.SETTLED, answered_at=now(), calls=F("calls") + client.calls, problem=""
    )
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


def _pause(error: ConnectorError, postings: Sequence[Posting]) -> dt.timedelta:
    if isinstance(error, RateLimited):
        return dt.timedelta(seconds=error.retry_after)
    if isinstance(error, TransientError):
        return dt.timedelta(seconds=min(300, 2 * 2 ** postings[0].attempts))
    return dt.timedelta(minutes=5)


def _look_up_uncertain(
    tenant_id: uuid.UUID, connection: Connection, client: Client
) -> tuple[dt.timedelta | None, list[Unconfirmed]]:
    """Settle what can be settled. Answers when to look again at what the ledger does not show yet, and what to send once more."""
    with tenant(tenant_id):
        batches = list(PostingBatch.objects.filter(connection=connection, state=PostingBatch.State.UNCERTAIN))
        waiting = {batch.pk: _flying(batch) for batch in batches}
    pauses, to_repeat = [], []
    for batch in batches:
        postings = waiting[batch.pk]
        found = _found(connection, client, batch, postings)
        is_quiet = (now() - batch.sent_at).total_seconds() > QUIET_SECONDS
        with holding_lease(tenant_id):
            settle_written({posting.pk: found[posting.key] for posting in postings if posting.key in found})
            if len(found) < len(postings) and not is_quiet:
                pauses.append(dt.timedelta(seconds=QUIET_SECONDS / 2))
            elif found or not _is_whole(batch, postings):
                # The provider had the request, or cannot be given the same one: what is missing is planned anew.
                Posting.objects.filter(batch=batch, state__in=FLYING).update(state=Posting.State.PLANNED)
                _close(batch, client)
            elif any(posting.flow.is_paused for posting in postings):
                pauses.append(PAUSED_AGAIN)
            else:
                to_repeat.append((batch, postings))
    return min(pauses, default=None), to_repeat


def _is_whole(batch: PostingBatch, postings: Sequence[Posting]) -> bool:
    """Whether the same request can be made again. An update is not: it carries the version it replaces."""
    return batch.action == "create" and batch_key(posting.key for posting in postings) == batch.key


def _flying(batch: PostingBatch) -> list[Posting]:
    """In the order in which they were sent."""
    flying = Posting.objects.filter(batch=batch, state__in=FLYING)
    return list(flying.select_related("flow__target", "depends_on").order_by("id"))


def _found(
    connection: Connection, client: Client, batch: PostingBatch, postings: Sequence[Posting]
) -> dict[str, Written]:
    if batch.action == "update":
        return {}  # an update carries the version it replaces: sent again, it takes effect once or is refused as stale
    stream = connector(connection.connector).writable(batch.data_type)
    try:
        return stream.find(client, [draft_of(posting) for posting in postings])
    except ConnectorError as error:
        raise UnableToPost(error.user_message, _pause(error, postings or [Posting(attempts=1)])) from error
