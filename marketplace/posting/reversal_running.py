"""Taking entries back: the posting protocol, the other way round.

1. What an earlier worker left `sending` is `unconfirmed`: it may or may not have arrived.
2. Whatever was sent is read back. Only what the ledger then shows as gone counts as taken back; what it still shows after a quiet
   time is sent once more, which does no harm because taking back twice is taking back once.
3. The next entries are read as they stand. What was changed or paid since the plan was made is left alone; the rest is
   committed as intent, the lease is checked, the request is sent under the versions just read, and the entries are read back.

It is part of the work that writes to a ledger, so one connection never has two writers. Entries against entries are ordinary
postings: the writer sends them, and here they are read back.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import msgspec
from django.db.models import F, Max
from django.db.models.functions import Now

from connectors.registry import connector
from connectors.sdk.client import Client, dump_json
from connectors.sdk.errors import ConnectorError, OutcomeUnknown, RecordRejected
from connectors.sdk.streams import Outcome, SourceRecord, WritableStream
from marketplace.core.clock import now
from marketplace.core.work import holding_lease, slice_is_over
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.posting import uncertain
from marketplace.posting.batches import UnableToPost, pause_after
from marketplace.posting.intent import Gate, is_being_sent, sending_lasts
from marketplace.posting.keys import batch_key
from marketplace.posting.models import Posting, PostingBatch, Reversal, ReversalLine
from marketplace.posting.planning import IN_LEDGER
from marketplace.posting.reversal_planning import OPEN, Entries, fingerprint_of, is_gone, read_entries
from marketplace.posting.reversing import finish_reversal, hold_line, mark_taken_back, settle_records
from marketplace.posting.trial_balances import Reading, read_report, with_before
from marketplace.posting.words import document_words
from tenants.context import tenant

MOST_ATTEMPTS = 5
REPORT_AWAITED, REPORT_AGAIN = dt.timedelta(minutes=15), dt.timedelta(minutes=1)
PAUSE = dt.timedelta(seconds=30)  # while entries against entries are with the writer

Action, State = ReversalLine.Action, ReversalLine.State
Lines = Sequence[ReversalLine]


@dataclass(frozen=True)
class Run:
    """One slice of carrying out one reversal."""

    tenant_id: uuid.UUID
    reversal: Reversal
    client: Client
    gate: Gate

    @property
    def slug(self) -> str:
        return self.reversal.connection.connector

    @property
    def ledger(self) -> str:
        return connector(self.slug).manifest.name

    def stream(self, data_type: str) -> WritableStream:
        return connector(self.slug).writable(data_type)

    def read(self, wanted: Sequence[Posting]) -> Entries:
        """These entries as the ledger has them now. Raises `UnableToPost`."""
        try:
            return read_entries(self.client, self.slug, [(one.data_type, one.external_id) for one in wanted])
        except ConnectorError as error:
            raise UnableToPost(error.user_message, pause_after(error, attempts=0)) from error


def take_back(*, tenant_id: uuid.UUID, connection_id: uuid.UUID) -> dt.timedelta | None:
    """Carry on with the confirmed reversals of one ledger for a slice of time. Answers when to go on; None when nothing is left."""
    with holding_lease(tenant_id):
        reversal = _current(connection_id)
        if reversal is None:
            return None
        if reversal.connection.state != Connection.State.CONNECTED:
            raise UnableToPost("the connection needs reconnecting", dt.timedelta(minutes=15))
        _doubt_unanswered(reversal)
    gate = Gate()
    run = Run(tenant_id, reversal, client_for(tenant_id, reversal.connection, sending=gate), gate)
    _read_balance_before(run)
    look_again_in = _look_up(run)
    while True:
        with tenant(tenant_id):
            lines = _next_lines(run)
        if not lines:
            return look_again_in
        _take_back_some(run, lines)
        if slice_is_over() or _has_unconfirmed(run):
            return dt.timedelta(0)


def _current(connection_id: uuid.UUID) -> Reversal | None:
    running = Reversal.objects.filter(connection_id=connection_id, state=Reversal.State.RUNNING)
    return running.select_related("flow", "connection", "confirmed_by").order_by("confirmed_at").first()


def _read_balance_before(run: Run) -> None:
    """Right before the first entry of a reversal goes: since its plan was made, staff have gone on working."""
    with tenant(run.tenant_id) as owner:
        running = Reversal.objects.filter(connection=run.reversal.connection, state=Reversal.State.RUNNING)
        fresh = list(running.filter(trial_balance__has_key="before").exclude(trial_balance__has_key="started_at"))
        today = now().astimezone(ZoneInfo(owner.time_zone)).date()
    if not fresh:
        return
    as_of = max([today, *(dt.date.fromisoformat(one.trial_balance["as_of"]) for one in fresh)])
    reading = read_report(run.client, as_of)
    with holding_lease(run.tenant_id):
        for one in fresh:
            kept = {**with_before(one.trial_balance, reading, as_of), "started_at": now().isoformat()}
            Reversal.objects.filter(pk=one.pk).update(trial_balance=kept)


def _doubt_unanswered(reversal: Reversal) -> None:
    reversal.lines.filter(state=State.SENDING).update(state=State.UNCERTAIN)
    PostingBatch.objects.filter(connection=reversal.connection, action="void", state=PostingBatch.State.SENDING).update(
        state=PostingBatch.State.UNCERTAIN, problem="The answer never came."
    )


def _next_lines(run: Run) -> list[ReversalLine]:
    """The next batch: what settles something first, and nothing of a later phase while an earlier one is unconfirmed."""
    open_lines = run.reversal.lines.filter(action__in=[Action.VOID, Action.NOTHING], state__in=OPEN)
    first = open_lines.select_related("posting").order_by("phase").first()
    if first is None or open_lines.filter(phase=first.phase, state__in=[State.SENDING, State.UNCERTAIN]).exists():
        return []
    size = run.stream(first.posting.data_type).void_batch_size
    due = open_lines.filter(phase=first.phase, state=State.DUE)
    return list(due.select_related("posting").order_by("id")[:size])


def _has_unconfirmed(run: Run) -> bool:
    with tenant(run.tenant_id):
        return run.reversal.lines.filter(state=State.UNCERTAIN).exists()


def _take_back_some(run: Run, lines: Lines) -> None:
    stream, records = run.stream(lines[0].posting.data_type), {line.posting.record_id for line in lines}
    found = run.read([line.posting for line in lines])
    with holding_lease(run.tenant_id):
        sendable = _sendable(run, stream, lines, found)
        batch = _intend(run, stream, sendable, found) if sendable else None
        settle_records(run.reversal, records)
    if batch is None:
        return
    outcomes = _send(run, batch, stream, sendable, found)
    found = run.read([line.posting for line in sendable])
    with holding_lease(run.tenant_id):
        _settle(run, stream, dict(zip(sendable, outcomes, strict=True)), found)
        settle_records(run.reversal, records)
        _close(run, batch)


def _sendable(run: Run, stream: WritableStream, lines: Lines, found: Entries) -> list[ReversalLine]:
    """The entries that still are what the plan saw. What is gone already needs no request; what says something else stays."""
    gone = [line for line in lines if is_gone(stream, _entry_of(line, found))]
    mark_taken_back(gone, run.reversal)
    return [line for line in lines if line not in gone and _stands_as_planned(run, stream, line, found)]


def _stands_as_planned(run: Run, stream: WritableStream, line: ReversalLine, found: Entries) -> bool:
    entry, ledger = _entry_of(line, found), run.ledger
    if entry is None:
        hold_line(line, "missing_reference", f"{ledger} does not show it.", f"Look for it in {ledger}.")
    elif is_changed(line, entry):
        reason = f"It was changed in {ledger} after the plan was made, so it was left alone."
        hold_line(line, "changed_in_ledger", reason, "Look at it there; plan a new reversal if it must go.")
    elif stream.standing(entry).settled_by:
        reason = "Something that is not in the plan, or could not be taken back, pays it or uses it up."
        hold_line(line, "settled_by_others", reason, f"Remove that in {ledger}, then plan a new reversal.")
    else:
        return True
    return False


def is_changed(line: ReversalLine, entry: SourceRecord) -> bool:
    """Whether an entry says something else than when it was planned."""
    return fingerprint_of(entry.record) != line.fingerprint


def _entry_of(line: ReversalLine, found: Entries) -> SourceRecord | None:
    return found.get((line.posting.data_type, line.posting.external_id))


def _intend(run: Run, stream: WritableStream, lines: Lines, found: Entries) -> PostingBatch:
    """Commit what is about to be taken back, and under which versions."""
    versions = _versions(lines, found)
    entries = [{"id": id, "version": version} for id, version in versions.items()]
    body = dump_json({"method": "TAKE BACK", "path": stream.label, "body": {"entries": entries}})
    batch = PostingBatch.objects.create(
        connection=run.reversal.connection,
        data_type=stream.data_type,
        action="void",
        key=batch_key(f"void {line.pk} {line.attempts}" for line in lines),
        request=msgspec.json.decode(body),
        request_digest=hashlib.sha256(body).hexdigest(),
        size=len(lines),
        sent_at=Now(),
        deadline_at=Now() + sending_lasts(run.reversal.connection),
    )
    batch.refresh_from_db(fields=["sent_at", "deadline_at"])
    ReversalLine.objects.filter(pk__in=[line.pk for line in lines]).update(
        state=State.SENDING, batch=batch, attempts=F("attempts") + 1
    )
    return batch


def _versions(lines: Lines, found: Entries) -> dict[str, str]:
    return {line.posting.external_id: found[line.posting.data_type, line.posting.external_id].version for line in lines}


def _send(run: Run, batch: PostingBatch, stream: WritableStream, lines: Lines, found: Entries) -> list[Outcome | None]:
    """One request. Without an answer nothing is known, not even after a refusal in the middle of several: all is read back."""
    versions = _versions(lines, found)
    try:
        with run.gate.open_for(batch):
            return list(stream.void(run.client, list(versions), versions=versions))
    except ConnectorError as error:
        with holding_lease(run.tenant_id):
            _doubt(batch, lines, error)
        if not isinstance(error, OutcomeUnknown):
            raise UnableToPost(error.user_message, pause_after(error, attempts=0)) from error
    finally:
        run.gate.close()
    return [None] * len(lines)


def _doubt(batch: PostingBatch, lines: Lines, error: ConnectorError) -> None:
    PostingBatch.objects.filter(pk=batch.pk).update(state=PostingBatch.State.UNCERTAIN, problem=error.user_message)
    ReversalLine.objects.filter(pk__in=[line.pk for line in lines]).update(state=State.UNCERTAIN)


def _settle(run: Run, stream: WritableStream, outcomes: Mapping[ReversalLine, Outcome | None], found: Entries) -> None:
    """What the ledger shows decides, whatever it answered."""
    gone = [line for line in outcomes if was_taken_back(stream, _entry_of(line, found))]
    mark_taken_back(gone, run.reversal)
    for line, outcome in outcomes.items():
        if line in gone:
            continue
        if isinstance(outcome, RecordRejected):
            hold_line(line, outcome.code, outcome.user_message, _next_step(run, outcome.code))
        else:
            ReversalLine.objects.filter(pk=line.pk).update(state=State.UNCERTAIN)


def _next_step(run: Run, code: str) -> str:
    """What a person does about a refusal before the rest is planned."""
    steps = {
        "reconciled": f"Undo the reconciliation in {run.ledger}, then plan the rest.",
        "deposited": f"Take it out of the deposit it is in, in {run.ledger}, then plan the rest.",
        "closed_period": "Plan the rest: it gets an entry against it in the first open period.",
        "stale": f"Look at it in {run.ledger}, then plan the rest.",
    }
    return steps.get(code, f"Correct that in {run.ledger}, then plan the rest.")


def was_taken_back(stream: WritableStream, entry: SourceRecord | None) -> bool:
    """Whether an entry, read back after the request, is gone."""
    return is_gone(stream, entry)


def _close(run: Run, batch: PostingBatch) -> None:
    is_open = ReversalLine.objects.filter(batch=batch, state__in=[State.SENDING, State.UNCERTAIN]).exists()
    state = PostingBatch.State.UNCERTAIN if is_open else PostingBatch.State.SETTLED
    PostingBatch.objects.filter(pk=batch.pk).update(state=state, answered_at=now(), calls=F("calls") + run.client.calls)
    run.client.calls = 0


def _look_up(run: Run) -> dt.timedelta | None:
    """Read back what is unconfirmed. What the ledger still shows after a quiet time, when no worker of ours can still be sending it,
    is due again. Answers when to look at the rest."""
    with tenant(run.tenant_id):
        waiting = run.reversal.lines.filter(state=State.UNCERTAIN).select_related("posting", "batch")
        lines = list(waiting.annotate(age=Now() - F("batch__sent_at")).order_by("phase", "id"))
    if not lines:
        return None
    found = run.read([line.posting for line in lines])
    with holding_lease(run.tenant_id):
        gone = [line for line in lines if was_taken_back(run.stream(line.posting.data_type), _entry_of(line, found))]
        mark_taken_back(gone, run.reversal)
        pauses = [_try_again(line) for line in lines if line not in gone]
        settle_records(run.reversal, {line.posting.record_id for line in lines})
        for batch in {line.batch for line in lines if line.batch}:
            _close(run, batch)
    return min((pause for pause in pauses if pause is not None), default=None)


def _try_again(line: ReversalLine) -> dt.timedelta | None:
    """Let an entry be sent once more, or say when to look again: a request that is only late must have had the time to arrive."""
    assert line.batch is not None
    if line.age.total_seconds() <= uncertain.QUIET_SECONDS:  # type: ignore[attr-defined]
        return dt.timedelta(seconds=uncertain.QUIET_SECONDS / 2)
    if is_being_sent(line.batch.pk):
        return uncertain.SENDER_AGAIN
    if line.attempts < MOST_ATTEMPTS:
        ReversalLine.objects.filter(pk=line.pk).update(state=State.DUE)
    else:
        reason = f"The ledger still shows it after {line.attempts} tries."
        hold_line(line, "other", reason, "Take it back in the ledger by hand, or plan a new reversal.")
    return None


# --- entries against entries ------------------------------------------------------------------------------------------


def conclude(*, tenant_id: uuid.UUID, connection_id: uuid.UUID) -> dt.timedelta | None:
    """After the writer: read the entries against entries back, and close the reversal when nothing of it is under way. Answers when
    to go on; None when no reversal waits."""
    with tenant(tenant_id):
        reversal = _current(connection_id)
        lines = [] if reversal is None else _answered(reversal)
    if reversal is None:
        return None
    if lines:
        gate = Gate()
        _confirm_entries(
            Run(tenant_id, reversal, client_for(tenant_id, reversal.connection, sending=gate), gate), lines
        )
    with tenant(tenant_id):
        is_over = not reversal.lines.filter(state__in=OPEN).exists()
        reversal.refresh_from_db(fields=["trial_balance"])
        asks = is_over and "before" in reversal.trial_balance
    reading = _read_balance_after(tenant_id, reversal) if asks else Reading()
    with holding_lease(tenant_id) as owner:
        if is_over:
            finish_reversal(reversal, owner, reading)
            return None if _current(connection_id) is None else dt.timedelta(0)
    return PAUSE


def _read_balance_after(tenant_id: uuid.UUID, reversal: Reversal) -> Reading:
    """What passes by itself is waited for a while: the report is the last proof. Raises `UnableToPost`."""
    as_of = dt.date.fromisoformat(reversal.trial_balance["as_of"])
    reading = read_report(client_for(tenant_id, reversal.connection), as_of)
    if reading.is_passing:
        with tenant(tenant_id):
            last = reversal.lines.aggregate(last=Max("done_at"))["last"]
        if last is not None and now() - last < REPORT_AWAITED:
            raise UnableToPost(reading.problem, REPORT_AGAIN)
    return reading


def _answered(reversal: Reversal) -> list[ReversalLine]:
    """Lines whose entry against them was answered, one way or the other."""
    waiting = reversal.lines.filter(action=Action.ENTRY, state=State.DUE)
    answered = waiting.filter(entry__state__in=[*IN_LEDGER, Posting.State.FAILED, Posting.State.WITHDRAWN])
    refused = Posting.State.FAILED
    stuck = waiting.filter(entry__depends_on__state=refused) | waiting.filter(
        entry__depends_on__depends_on__state=refused
    )
    related = ("posting", "entry__depends_on__depends_on")
    return list((answered | stuck).distinct().select_related(*related).order_by("phase", "id"))


def _parts(line: ReversalLine) -> list[Posting]:
    """The postings that undo one entry, the last of them first."""
    assert line.entry is not None
    parts = [line.entry]
    while (needed := parts[-1].depends_on) is not None and needed.reverses_id is not None:
        parts.append(needed)
    return parts


def _confirm_entries(run: Run, lines: Lines) -> None:
    found = run.read([part for line in lines for part in _parts(line) if part.state in IN_LEDGER])
    with holding_lease(run.tenant_id):
        for line in lines:
            _settle_entry(run, line, found)
        settle_records(run.reversal, {line.posting.record_id for line in lines})


def _settle_entry(run: Run, line: ReversalLine, found: Entries) -> None:
    """An entry is undone when every part of what undoes it is read back in the ledger."""
    parts = _parts(line)
    made = [part for part in parts if is_in_books(run.stream(part.data_type), part, found)]
    if made == parts:
        mark_taken_back([line], run.reversal)
        return
    lost = [part.pk for part in parts if part.state in IN_LEDGER and part not in made]
    Posting.objects.filter(pk__in=lost).update(state=Posting.State.REVERSED, problem=f"{run.ledger} does not show it.")
    unsent = [part.pk for part in parts if part.state == Posting.State.PLANNED]
    Posting.objects.filter(pk__in=unsent).update(state=Posting.State.WITHDRAWN)
    problem = next((part.problem for part in reversed(parts) if part.problem), f"{run.ledger} does not show it.")
    reason = f"The entry against it could not be made: {problem}"
    own = [part for part in made if part.reverses_id == line.posting_id]
    if own:
        words = ", ".join(document_words(part) for part in reversed(own))
        reason += f" Made already, and standing in {run.ledger} by itself: {words}."
    hold_line(line, "entry_refused", reason, "Correct that and go on with the rest, or enter it in the ledger by hand.")


def is_in_books(stream: WritableStream, part: Posting, found: Entries) -> bool:
    """Whether a part, read back, stands in the ledger."""
    shown = found.get((part.data_type, part.external_id)) if part.state in IN_LEDGER else None
    return shown is not None and not stream.standing(shown).is_void
