"""Writing to a ledger: intent first, one writer per connection, never a blind repeat.

1. What an earlier writer left `sending` is `uncertain`: it may or may not have arrived.
2. Uncertain batches are looked up by reference (`uncertain.py`). What is found is posted; what is not is sent once more, or planned anew.
3. The rest goes by rounds: some requests are committed as intents with a deadline, then sent one after the other. The lease and the
   deadline are checked right before the first byte of each (`intent.py`).
4. What the ledger answered is committed in the transaction that commits the next round's intents. What of a round was surely not
   sent, because one before it failed or the time was up, is planned as before.

HTTP happens between the transactions. Each transaction holds the lease, so a writer that was overtaken while it waited for an answer
writes nothing down any more.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from connectors.registry import connector
from connectors.sdk.client import Client
from connectors.sdk.errors import ConnectorError, OutcomeUnknown
from connectors.sdk.streams import Draft, Outcome, WritableStream
from marketplace.core.restoring import restored_at
from marketplace.core.work import LeaseLost, holding_lease, slice_is_over, slice_left, told_so_far
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.installations.vault import ConnectionToken, HeldToken
from marketplace.posting.batches import (
    Chosen,
    KeyUsedBefore,
    NotIntended,
    UnableToPost,
    intend,
    intend_again,
    pause_after,
)
from marketplace.posting.intent import Gate, Unwanted
from marketplace.posting.keys import batch_key, documents_digest, request_key
from marketplace.posting.models import PostingBatch
from marketplace.posting.ready import Ready, drafts_of, may_be_written, ready_postings
from marketplace.posting.restoring import settle_forgotten
from marketplace.posting.rounds import Answered, Sending, Sent, settle
from marketplace.posting.uncertain import Unconfirmed, look_up
from marketplace.posting.updating import is_stale, read_again
from tenants.context import tenant
from tenants.models import Tenant

WRITE_ORDER = ("customer", "invoice", "credit_note", "customer_payment", "bank_transfer", "expense")
AHEAD = 1000  # how many documents are looked up together, and told to the connector, before the first batch of them is written
ROUND = 20  # requests committed together: what a crash leaves to be looked up
PACE_SECONDS = 0.5  # what a request is taken to need before any was measured
#: When what was chosen was taken away each time, somebody is at it.
CHOSEN_IN_VAIN = 2
CHOOSE_AGAIN = dt.timedelta(seconds=1)


@dataclass
class Writer:
    """One slice of writing to one ledger. `ahead` are documents of one kind that were found ready together, less those taken;
    `restored_at` is when this database was restored, if it ever was. `kind`: of the documents found last, which are looked for first.
    `pace`: seconds a request takes."""

    owner: Tenant
    connection: Connection
    client: Client
    gate: Gate
    token: HeldToken
    restored_at: dt.datetime | None
    ahead: deque[tuple[Ready, Draft]] = field(default_factory=deque)
    is_anticipated: bool = True
    kind: str = WRITE_ORDER[0]
    pace: float = PACE_SECONDS
    in_vain: int = 0
    trouble: Exception | None = None


def write_postings(*, tenant_id: uuid.UUID, connection_id: uuid.UUID) -> dt.timedelta | None:
    """Write what is planned for one ledger for a slice of time. Answers when to go on; None when nothing is left."""
    with holding_lease(tenant_id) as owner:
        connection = Connection.objects.get(pk=connection_id)
        if connection.state != Connection.State.CONNECTED:
            raise UnableToPost("the connection needs reconnecting", dt.timedelta(minutes=15))
        PostingBatch.objects.filter(connection=connection, state=PostingBatch.State.SENDING).exclude(
            action="void"
        ).update(state=PostingBatch.State.UNCERTAIN, problem="The answer never came.")
    gate, token = Gate(), HeldToken(ConnectionToken(tenant_id, connection_id, owner=owner))
    client = client_for(tenant_id, connection, sending=gate, token=token)
    writer = Writer(owner, connection, client, gate, token, restored_at())
    try:
        still_unknown, to_repeat = look_up(owner, connection, writer.client)
        if not _repeat(writer, to_repeat):
            return dt.timedelta(0)
        return still_unknown if (pause := _write_rounds(writer)) is None else pause
    finally:
        gate.close()


def _repeat(writer: Writer, unconfirmed: Sequence[Unconfirmed]) -> bool:
    """Send each once more, alone. False when the slice should end."""
    for one in unconfirmed:
        sent = _send_all(writer, [_intend_again(writer, one)])
        _turn(writer, sent, may_go_on=False)
        if sent.doubtful or slice_is_over():
            return False
    return True


def _write_rounds(writer: Writer) -> dt.timedelta | None:
    """Round after round until nothing is left, which answers None, or the slice is over."""
    sent, is_over = Sent(), False
    while True:
        sendings = _turn(writer, sent, may_go_on=not is_over)
        if is_over:
            return dt.timedelta(0)
        if writer.in_vain >= CHOSEN_IN_VAIN:
            return CHOOSE_AGAIN
        if not sendings and not writer.ahead:
            return None
        sent = _send_all(writer, sendings)
        is_over = bool(sent.unsent or sent.doubtful) or bool(sent.answered and slice_is_over())


def _turn(writer: Writer, sent: Sent, *, may_go_on: bool) -> list[Sending]:
    """From one round to the next: commit what became of the one, and the other's intents, in one transaction. Raises what went
    wrong in either, once that is committed."""
    chosen: list[Chosen] = []
    trouble = sent.trouble or writer.trouble
    if may_go_on and trouble is None:
        try:
            chosen = _choose(writer)
        except ConnectorError as error:
            # Nothing was sent: what a request is made of could not be asked for, or made.
            trouble = UnableToPost(error.user_message, pause_after(error, 0))
            trouble.__cause__ = error
        except Exception as error:
            trouble = error
    with holding_lease(writer.owner):
        writer.gate.told = told_so_far()
        sendings = _commit_intents(writer, chosen)
        settle(sent)
        if may_go_on and trouble is None and not writer.ahead:
            _look_ahead(writer)
    for one in sent.answered:
        if any(is_stale(outcome) for outcome in one.outcomes):
            read_again(writer.owner, writer.connection, one.sending.postings)
    trouble = trouble or (None if sendings else writer.trouble)
    if trouble is not None:
        raise trouble
    return sendings


def _choose(writer: Writer) -> list[Chosen]:
    """The next requests: each one kind of document, everything it waits for in the ledger, not more than the provider takes at once."""
    if not writer.ahead:
        return []
    stream = connector(writer.connection.connector).writable(writer.ahead[0][0].data_type)
    if not writer.is_anticipated:
        _anticipate(writer, stream)
    chosen: list[Chosen] = []
    most = _round_size(writer)
    while writer.ahead and len(chosen) < most:
        documents = _unsent(writer, stream, _next_batch(writer.ahead, stream.batch_size))
        if documents:
            postings, drafts = [posting for posting, _ in documents], [draft for _, draft in documents]
            chosen.append(_made_up(writer, stream, postings, drafts))
        if chosen and chosen[-1].postings[0].action == "update":
            break
    return chosen


def _made_up(writer: Writer, stream: WritableStream, postings: Sequence[Ready], drafts: Sequence[Draft]) -> Chosen:
    digest = documents_digest(drafts)
    key = request_key(digest, (posting.key_round for posting in postings))
    if postings[0].action == "update":
        request = stream.preview(writer.client, drafts)
    else:
        request = stream.request(writer.client, drafts, key=key)
    return Chosen(stream, postings, drafts, digest, key, request)


def _round_size(writer: Writer) -> int:
    """As many as can be sent in what is left of the slice and of the provider's allowance."""
    in_time = slice_left() / writer.pace
    return max(1, int(min(ROUND, in_time, writer.client.access.budget.room())))


def _commit_intents(writer: Writer, chosen: Sequence[Chosen]) -> list[Sending]:
    """What of this may be sent now. What was withdrawn or paused is chosen again; a key that stands for another request is an error,
    raised once the others were sent."""
    if not chosen:
        return []
    intended = list(zip(chosen, intend(writer.connection, chosen), strict=True))
    if any(batch is NotIntended.KEY_USED for _, batch in intended):
        writer.trouble = KeyUsedBefore(f"a request to {writer.connection.pk}")
    if any(batch is NotIntended.CHOOSE_AGAIN for _, batch in intended):
        writer.ahead.clear()
    sendings = [
        Sending(batch, one.postings, one.drafts, one.stream, one.request)
        for one, batch in intended
        if isinstance(batch, PostingBatch)
    ]
    writer.in_vain = 0 if sendings else writer.in_vain + 1
    if sendings:
        writer.token.look()
    return sendings


def _look_ahead(writer: Writer) -> None:
    """Find what is written next, some batches of it at once; a connector is told when there is more than one. What becomes of
    it meanwhile, such as a pause or a new plan, is looked at again when a batch is committed."""
    found: list[Ready] = []
    for data_type in dict.fromkeys((writer.kind, *WRITE_ORDER)):
        if found := ready_postings(writer.connection, data_type, AHEAD):
            writer.kind = data_type
            break
    if found:
        writer.ahead.extend(zip(found, drafts_of(found, writer.connection), strict=True))
        writer.is_anticipated = False


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
    """The very same request once more: the same documents in the same order, so the provider knows the key. Raises `UnableToPost`
    when it cannot be made up now; the first one's outcome stays unknown."""
    stream = connector(writer.connection.connector).writable(one.batch.data_type)
    try:
        request = stream.request(writer.client, one.drafts, key=one.batch.key)
    except ConnectorError as error:
        raise UnableToPost(error.user_message, pause_after(error, one.postings[0].attempts)) from error
    with holding_lease(writer.owner):
        intend_again(one.batch, writer.connection, request)
    return Sending(one.batch, one.postings, one.drafts, stream, request, is_repeat=True)


def _send_all(writer: Writer, sendings: Sequence[Sending]) -> Sent:
    """Send one after the other until one fails or the slice is over. Raises `LeaseLost`: whoever took over looks all of them up."""
    began, sent = time.monotonic(), Sent(unsent=list(sendings))
    while sent.unsent and not (sent.answered and slice_is_over()):
        sending = sent.unsent.pop(0)
        try:
            sent.answered.append(_send(writer, sending))
        except Unwanted:
            _keep_back(sent, sending)
        except OutcomeUnknown as error:
            sent.doubtful = (sending, error)
        except ConnectorError as error:
            sent.refused = (sending, error)
            sent.trouble = UnableToPost(error.user_message, pause_after(error, sending.postings[0].attempts))
            sent.trouble.__cause__ = error
        except LeaseLost:
            raise
        except Exception as error:
            sent.trouble = error
        if sent.doubtful or sent.trouble:
            return sent
    if sent.answered:
        writer.pace = (time.monotonic() - began) / len(sent.answered)
    return sent


def _keep_back(sent: Sent, sending: Sending) -> None:
    """No byte of it left; what it repeats may have arrived all the same."""
    if sending.is_repeat:
        sent.doubtful = (sending, OutcomeUnknown("It was paused before it could be sent again; it is looked up."))
    else:
        sent.unwanted.append(sending)


def _send(writer: Writer, sending: Sending) -> Answered:
    writer.client.calls = 0
    with writer.gate.open_for(sending.batch, is_wanted=lambda: _is_wanted(writer, sending)):
        outcomes = _write(writer.client, sending)
    if len(outcomes) != len(sending.postings):
        raise RuntimeError(f"{len(outcomes)} outcomes for {len(sending.postings)} postings")
    return Answered(sending, outcomes, writer.client.calls)


def _is_wanted(writer: Writer, sending: Sending) -> bool:
    with tenant(writer.owner):
        return may_be_written(sending.postings)


def _write(client: Client, sending: Sending) -> list[Outcome]:
    if sending.batch.action == "update":
        posting, draft = sending.postings[0], sending.drafts[0]
        return [sending.stream.update(client, posting.external_id, draft, version=posting.external_version)]
    return sending.stream.send(client, sending.drafts, sending.request, key=sending.batch.key)
