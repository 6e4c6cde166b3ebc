"""The intent to send: how long it may be acted on, and what stands before the first byte of a write.

A request's first byte leaves only while its sender holds the lease and the intent's deadline has not passed, both by the database's
clock. From that check to the provider's answer the sender holds a lock of its database session. So whoever takes over knows whether
the request can still go out: it cannot when the lock is free. A worker that stands still between its check and its first byte keeps the
lock however long that takes; one that died has lost it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection as database

from connectors.registry import connector
from connectors.sdk.errors import OutcomeUnknown
from marketplace.core.work import Also, check_lease, told_so_far
from marketplace.installations.models import Connection
from marketplace.posting.models import PostingBatch

SEND_WITHIN_SECONDS = 120.0
#: How much of the time that a provider remembers a key we rely on.
SHARE_OF_WINDOW = 0.75


def key_lasts(connection: Connection) -> dt.timedelta:
    """How long after it was first sent a request may be repeated under its key. Nothing where the provider knows no keys."""
    known = connector(connection.connector).manifest.idempotency
    seconds = known.window_seconds if known is not None and known.key_in is not None else 0
    return dt.timedelta(seconds=seconds * SHARE_OF_WINDOW)


def sending_lasts(connection: Connection) -> dt.timedelta:
    """How long after it was committed an intent may be acted on: within the provider's memory of its key."""
    most = dt.timedelta(seconds=SEND_WITHIN_SECONDS)
    return min(most, key_lasts(connection) or most)


class Unwanted(Exception):
    """A request that may not be sent any more was stopped before its first byte."""


@dataclass
class Gate:
    """Stands before each write of one writer. `batch` is the committed intent the writes belong to, once there is one. `told`: what the
    writer had been told (see `core.work`) when it committed its intents; None before it ever did."""

    batch: PostingBatch | None = None
    told: int | None = None
    _is_wanted: Callable[[], bool] | None = None
    _held: str | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Raises `LeaseLost`, and `OutcomeUnknown` when it is too late: an earlier part of the request may have been sent. Raises
        `Unwanted` only before any part was."""
        if self.batch is None:
            check_lease()
        else:
            self._pass(self.batch)
            self._look(self.batch)
        yield

    def _look(self, batch: PostingBatch) -> None:
        """Told something since the intent, the writer looks whether the request is still wanted, and passes once more: looking takes
        its time. Of a request that was begun, the rest is sent."""
        told, is_wanted, self._is_wanted = self.told, self._is_wanted, None
        while is_wanted is not None and told != told_so_far():
            told = told_so_far()
            if not is_wanted():
                raise Unwanted
            self._pass(batch)

    def _pass(self, batch: PostingBatch) -> None:
        """The lease, the deadline and the lock in one statement, which lets go of the lock of the request before."""
        name = _name(batch.pk)
        is_in_time, is_ours, _ = check_lease(Also(_BEGIN, [batch.deadline_at, name, self._held]))
        self._held = name if is_ours else None
        if not is_in_time:
            raise OutcomeUnknown(
                "It took too long until it could be sent; it is looked up before anything is repeated."
            )
        if not is_ours:
            raise OutcomeUnknown("Another worker has not finished sending it.")

    @contextmanager
    def open_for(self, batch: PostingBatch, is_wanted: Callable[[], bool] | None = None) -> Iterator[None]:
        """While the block runs, writes belong to this intent. Its lock is held until the next one passes, or `close`. `is_wanted`
        is asked before the first byte, when the writer has been told something since the intent."""
        self.batch, self._is_wanted = batch, is_wanted
        try:
            yield
        finally:
            self.batch = self._is_wanted = None

    def close(self) -> None:
        """Nothing of this writer is on its way any more."""
        if self._held is not None:
            with database.cursor() as cursor:
                cursor.execute(_END, [self._held])
            self._held = None


def being_sent(batch_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Of which a worker stands between its last check and the provider's answer. Inside a transaction, which keeps it from
    beginning to. Of a writer that was overtaken, what is not being sent now never will be."""
    names = {_name(batch_id): batch_id for batch_id in batch_ids}
    with database.cursor() as cursor:
        cursor.execute(_ARE_HELD, [list(names)])
        return {names[name] for (name,) in cursor.fetchall()}


def is_being_sent(batch_id: uuid.UUID) -> bool:
    """The same of one."""
    return bool(being_sent([batch_id]))


def _name(batch_id: uuid.UUID) -> str:
    return f"batch:{batch_id}"


_BEGIN = (
    "clock_timestamp() < %s, pg_try_advisory_lock(hashtextextended(%s, 0)), pg_advisory_unlock(hashtextextended(%s, 0))"
)
_END = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"
_ARE_HELD = "SELECT name FROM unnest(%s::text[]) AS name WHERE NOT pg_try_advisory_xact_lock(hashtextextended(name, 0))"
