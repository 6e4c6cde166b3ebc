"""What ran lately: reads of each data type, and writes to each ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from marketplace.installations.models import Connection
from marketplace.posting.models import PostingBatch
from marketplace.sync.models import StreamState, SyncRun


@dataclass(frozen=True)
class Readable:
    """A connection with what stands against reading it."""

    connection: Connection
    streams: Sequence[StreamState]

    @property
    def problems(self) -> list[StreamState]:
        return [stream for stream in self.streams if stream.problem]

    @property
    def read_at(self) -> object:
        """When the oldest of its lists was last read to the end."""
        ends = [stream.read_at for stream in self.streams]
        return min((end for end in ends if end), default=None) if all(ends) else None


def readable() -> list[Readable]:
    live = Connection.objects.exclude(state=Connection.State.DISCONNECTED).prefetch_related("streams")
    return [Readable(connection, list(connection.streams.all())) for connection in live.order_by("connected_at")]


def recent_runs(connection_id: str = "", state: str = "") -> QuerySet[SyncRun]:
    runs = SyncRun.objects.select_related("connection").order_by("-started_at")
    if connection_id:
        runs = runs.filter(connection_id=connection_id)
    return runs.filter(state=state) if state else runs


def recent_batches(connection_id: str = "", state: str = "") -> QuerySet[PostingBatch]:
    batches = PostingBatch.objects.select_related("connection").defer("request").order_by("-sent_at")
    if connection_id:
        batches = batches.filter(connection_id=connection_id)
    return batches.filter(state=state) if state else batches
