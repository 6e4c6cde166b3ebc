"""Reading: runs of streams, page by page, and the current state of single objects a webhook told of.

HTTP happens outside transactions; each page is one checkpoint. Called by workers outside any tenant context.
"""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

from django.db import DataError
from django.db import connection as database

from connectors.registry import connector
from connectors.sdk.client import Client
from connectors.sdk.errors import ConnectorError, RateLimited, TransientError, UnexpectedResponse
from connectors.sdk.streams import Page, Stream
from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.core.summaries import ask_for_summary
from marketplace.core.work import asked_so_far, holding_lease, request_work, slice_is_over
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.sync.checkpoint import accept_page, digest_of
from marketplace.sync.drift import note_drift
from marketplace.sync.models import Record, RejectedRow, StreamState, SyncRun
from marketplace.sync.sifting import without_unstorable
from marketplace.sync.signals import records_changed
from tenants.context import tenant
from tenants.models import Tenant, User

OFFLINE_RETRY = dt.timedelta(minutes=1)
UNREADABLE_RETRY = dt.timedelta(minutes=5)  # a page of maintenance passes; an answer that changed its shape does not
REGISTRATION_SURE = dt.timedelta(hours=1)  # drift asks for a look at the registration at most this often
PERSON_NEEDED_RETRY = dt.timedelta(minutes=15)  # nothing changes before somebody acts; a reconnection asks at once

#: Small pages that come quickly are kept together, up to so many records and for so long.
KEPT_AT_ONCE, GATHERED_SECONDS = 1000, 1.0


class UnableToRead(Exception):
    """The stream could not be read now; `retry_in` says when to try again."""

    def __init__(self, message: str, retry_in: dt.timedelta) -> None:
        super().__init__(message)
        self.retry_in = retry_in


@dataclass
class Gathered:
    """Pages that came one right after the other and are kept together: a crash repeats no more than a moment's."""

    pages: list[Page] = field(default_factory=list)
    since: float = 0.0

    def is_enough(self) -> bool:
        """A page without records is there for its place; after one with rejected rows, a later page may know better."""
        if len(self.pages) == 1:
            self.since = time.monotonic()
        last = self.pages[-1]
        is_apart = not last.records or bool(last.rejected)
        return is_apart or self._count() >= KEPT_AT_ONCE or time.monotonic() - self.since >= GATHERED_SECONDS

    def _count(self) -> int:
        return sum(len(page.records) for page in self.pages)

    def taken(self) -> Page:
        """All of it as one page, with the place of the last."""
        pages, self.pages = self.pages, []
        if len(pages) == 1:
            return pages[0]
        return replace(
            pages[-1],
            records=tuple(record for page in pages for record in page.records),
            rejected=tuple(row for page in pages for row in page.rejected),
            total=next((page.total for page in reversed(pages) if page.total is not None), None),
        )


@dataclass
class Reading:
    """One run under way."""

    owner: Tenant
    zone: ZoneInfo
    connection: Connection
    stream: Stream
    state: StreamState
    run: SyncRun
    requests: int


def request_read(*, tenant_id: uuid.UUID, connection: Connection) -> int:
    """Ask for a fresh read of every data type of a connection. Returns how many streams will be read."""
    streams = [stream for stream in connector(connection.connector).streams if not stream.carried_by]
    for stream in streams:
        request_work(tenant_id=tenant_id, kind="sync", key=f"{connection.id}:{stream.data_type}")
    return len(streams)


def read_stream(*, tenant_id: uuid.UUID, connection_id: uuid.UUID, data_type: str) -> dt.timedelta | None:
    """Read what changed, for at most a slice of time; answers when to go on. None: the connection is gone."""
    reading = _begin(tenant_id, connection_id, data_type)
    if reading is None:
        return None
    client = None
    try:
        client = client_for(tenant_id, reading.connection, owner=reading.owner)
        is_complete = _read_pages(reading, client)
    except ConnectorError as error:
        return _stop(reading, client, error)
    if not is_complete:
        return dt.timedelta(0)
    _finish(reading)
    if reading.requests != asked_so_far():
        # The listing began before it was asked for last: what it read may be older than that.
        return read_stream(tenant_id=tenant_id, connection_id=connection_id, data_type=data_type)
    return dt.timedelta(seconds=reading.stream.poll_seconds)


def _begin(tenant_id: uuid.UUID, connection_id: uuid.UUID, data_type: str) -> Reading | None:
    with tenant(tenant_id) as owner:
        connection = Connection.objects.filter(pk=connection_id).first()
        if connection is None or connection.state == Connection.State.DISCONNECTED:
            return None
        if connection.state == Connection.State.NEEDS_RECONNECT:
            raise UnableToRead("the connection needs reconnecting", PERSON_NEEDED_RETRY)
        state, _ = StreamState.objects.get_or_create(connection=connection, data_type=data_type)
        run = _open_run(connection, state)
        return Reading(
            owner,
            ZoneInfo(owner.time_zone),
            connection,
            connector(connection.connector).stream(data_type),
            state,
            run,
            asked_so_far() if state.requests is None else state.requests,
        )


def _open_run(connection: Connection, state: StreamState) -> SyncRun:
    """A run interrupted by its time slice or a crash goes on; otherwise a new one begins."""
    open_run = SyncRun.objects.filter(
        connection=connection, data_type=state.data_type, state=SyncRun.State.RUNNING
    ).first()
    if open_run:
        return open_run
    is_first = state.backfilled_at is None
    return SyncRun.objects.create(
        connection=connection,
        data_type=state.data_type,
        trigger=SyncRun.Trigger.BACKFILL if is_first else SyncRun.Trigger.POLL,
        started_at=now(),
    )


def _read_pages(reading: Reading, client: Client) -> bool:
    """Whether the listing came to its end. What came before trouble is kept."""
    waiting = Gathered()
    try:
        for page in reading.stream.pages(client, reading.state.cursor):
            waiting.pages.append(page)
            is_last = page.is_last
            del page  # so that it is gone before the next one comes
            if is_last or waiting.is_enough():
                _checkpoint(reading, waiting.taken(), client)
            if is_last:
                return True
            if not waiting.pages and slice_is_over():
                return False
    except ConnectorError:
        if waiting.pages:
            _checkpoint(reading, waiting.taken(), client)
        raise
    if waiting.pages:
        _checkpoint(reading, waiting.taken(), client)
    return True


def _checkpoint(reading: Reading, page: Page, client: Client) -> None:
    """Records, changes, counts and cursor in one transaction: a crash repeats a page, it never skips one.
    A reader that was overtaken puts nothing back to where it had been."""
    try:
        _commit_page(reading, page, client)
    except DataError:
        sifted = without_unstorable(
            reading.owner.pk, reading.connection.id, reading.stream.data_type, page, reading.zone
        )
        _commit_page(reading, sifted, client)
    client.calls = 0
    reading.state.cursor = page.cursor


def _commit_page(reading: Reading, page: Page, client: Client) -> None:
    with holding_lease(reading.owner):
        accepted = accept_page(
            connection_id=reading.connection.id,
            records=page.records,
            rejected=page.rejected,
            data_type=reading.stream.data_type,
            run_id=reading.run.id,
            zone=reading.zone,
            at=now(),
        )
        with database.cursor() as cursor:
            cursor.execute(
                _MOVE,
                {
                    "cursor": json.dumps(page.cursor),
                    "requests": reading.requests,
                    "state": reading.state.pk,
                    "run": reading.run.pk,
                    "read": len(page.records),
                    "changed": accepted.changed,
                    "rejected": len(page.rejected),
                    "total": page.total,
                    "calls": client.calls,
                    "connection": reading.connection.pk,
                    "at": now(),
                },
            )


_MOVE = """
    WITH place AS (
        UPDATE sync_streamstate SET cursor = %(cursor)s::jsonb, requests = %(requests)s, problem = '' WHERE id = %(state)s
    ), heard AS (UPDATE installations_connection SET last_ok_at = %(at)s WHERE id = %(connection)s)
    UPDATE sync_syncrun SET read_count = read_count + %(read)s, changed_count = changed_count + %(changed)s,
        rejected_count = rejected_count + %(rejected)s, expected_count = coalesce(%(total)s, expected_count),
        calls = calls + %(calls)s, problem = ''
    WHERE id = %(run)s
"""


def _finish(reading: Reading) -> None:
    """A complete listing. What a regular check found although webhooks should have told of it is drift, and said so; the
    registration for webhooks may be gone, so somebody looks after it."""
    with holding_lease(reading.owner):
        run = SyncRun.objects.get(pk=reading.run.pk)
        run.state, run.finished_at = SyncRun.State.DONE, now()
        if run.trigger == SyncRun.Trigger.POLL and run.changed_count:
            run.drift_count = note_drift(run, reading.owner.pk)
        if run.drift_count and not _was_looked_after(reading.connection):
            request_work(tenant_id=reading.owner.pk, kind="subscribe", key=str(reading.connection.pk))
        run.save()
        state = StreamState.objects.get(pk=reading.state.pk)
        state.read_at, state.requests = run.started_at, None
        state.backfilled_at = state.backfilled_at or run.finished_at
        state.save(update_fields=["read_at", "backfilled_at", "requests"])
        ask_for_summary(reading.owner.pk)


def _was_looked_after(connection: Connection) -> bool:
    """The registration for webhooks was there a moment ago: messages are late, or were lost. Meanwhile regular checks read everything."""
    checked_at = connection.webhooks_checked_at
    return checked_at is not None and now() - checked_at < REGISTRATION_SURE


def _stop(reading: Reading, client: Client | None, error: ConnectorError) -> dt.timedelta:
    """Keep what was read, say what is wrong, and decide when to go on. Nothing read so far is lost."""
    with holding_lease(reading.owner):
        run = SyncRun.objects.get(pk=reading.run.pk)
        run.problem, run.calls = error.user_message, run.calls + (client.calls if client else 0)
        if not isinstance(error, TransientError):
            run.state, run.finished_at = SyncRun.State.STOPPED, now()
        run.save()
        StreamState.objects.filter(pk=reading.state.pk).update(problem=error.user_message)
        ask_for_summary(reading.owner.pk)
    if isinstance(error, RateLimited):
        return dt.timedelta(seconds=error.retry_after)
    if isinstance(error, UnexpectedResponse):
        return UNREADABLE_RETRY
    return OFFLINE_RETRY if isinstance(error, TransientError) else PERSON_NEEDED_RETRY


def fetch_records(
    *,
    tenant_id: uuid.UUID,
    connection: Connection,
    data_type: str,
    external_ids: Sequence[str],
    zone: ZoneInfo,
    patience: float | None = None,
) -> set[str]:
    """Store the current state of these objects. Returns the ids the provider still has. `patience`: see `Access`."""
    stream = connector(connection.connector).stream(data_type)
    client = client_for(tenant_id, connection, patience=patience)
    found: set[str] = set()
    for start in range(0, len(external_ids), stream.page_size):
        page = stream.fetch(client, external_ids[start : start + stream.page_size])
        found |= {record.external_id for record in page.records if record.record.data_type == data_type}
        found |= {row.external_id for row in page.rejected}
        try:
            _accept_fetched(tenant_id, connection, data_type, page, zone)
        except DataError:
            sifted = without_unstorable(tenant_id, connection.id, data_type, page, zone)
            _accept_fetched(tenant_id, connection, data_type, sifted, zone)
    return found


def _accept_fetched(tenant_id: uuid.UUID, connection: Connection, data_type: str, page: Page, zone: ZoneInfo) -> None:
    with tenant(tenant_id):
        accept_page(
            connection_id=connection.id,
            records=page.records,
            rejected=page.rejected,
            data_type=data_type,
            run_id=None,
            zone=zone,
            at=now(),
        )


def mark_deleted(*, connection: Connection, data_type: str, external_ids: Sequence[str]) -> None:
    """Only for objects the provider itself said were deleted; runs inside the caller's tenant transaction."""
    gone = Record.objects.filter(
        connection=connection, data_type=data_type, external_id__in=external_ids, is_deleted=False
    )
    for record in gone:
        record.is_deleted, record.seen_at = True, now()
        record.digest = digest_of(record.digest.encode(), True)
        record.save(update_fields=["is_deleted", "seen_at", "digest"])
        record.changes.create(kind="deleted", digest=record.digest, at=now())
    if external_ids:
        records_changed.send(sender=None, connection_id=connection.id, data_types={data_type})


def set_aside(*, row: RejectedRow, reason: str, user: User) -> None:
    """A person decides that an unreadable row does not matter. It waits again if the provider sends it once more."""
    RejectedRow.objects.filter(pk=row.pk, resolved_at=None).update(resolved_at=now())
    record_act(
        user=user,
        action="rejected_row.set_aside",
        subject=row,
        summary=f"Unreadable {row.data_type} {row.external_id} set aside: {reason}",
        details={"reason": reason, "problem": row.reason},
    )
