"""The work the queue asks of this slice; each function makes one call into operations."""

from __future__ import annotations

import datetime as dt
import uuid

from marketplace.core.work import handles
from marketplace.sync.events import follow_waiting
from marketplace.sync.operations import read_stream


@handles("sync")
def sync_stream(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Read one stream; `key` is connection:data_type."""
    connection_id, data_type = key.split(":")
    return read_stream(tenant_id=tenant_id, connection_id=uuid.UUID(connection_id), data_type=data_type)


@handles("events")
def follow_events(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Fetch what the waiting webhook events of one connection are about; several events of one object are one fetch."""
    return follow_waiting(tenant_id=tenant_id, connection_id=uuid.UUID(key))
