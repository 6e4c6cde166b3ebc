"""The work the queue asks of this slice; each function makes one call into operations."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from zoneinfo import ZoneInfo

from connectors.registry import connector
from connectors.sdk.errors import ConnectorError, RateLimited, ReconnectRequired
from marketplace.core.clock import now
from marketplace.core.models import EventCopy
from marketplace.core.work import handles
from marketplace.installations.models import Connection
from marketplace.installations.vault import mark_needs_reconnect
from marketplace.sync.operations import UnableToRead, fetch_records, mark_deleted, read_stream
from tenants.context import tenant

EVENTS_AT_ONCE = 500


@handles("sync")
def sync_stream(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Read one stream; `key` is connection:data_type."""
    connection_id, data_type = key.split(":")
    return read_stream(tenant_id=tenant_id, connection_id=uuid.UUID(connection_id), data_type=data_type)


@handles("events")
def follow_events(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Fetch what the waiting webhook events of one connection are about; several events of one object are one fetch."""
    copies = list(
        EventCopy.objects.filter(tenant_id=tenant_id, connection_id=key, done_at__isnull=True)
        .select_related("event")
        .order_by("id")[:EVENTS_AT_ONCE]
    )
    if not copies:
        return None
    with tenant(tenant_id) as owner:
        zone = ZoneInfo(owner.time_zone)
        connection = Connection.objects.get(pk=key)
    if connection.state == Connection.State.CONNECTED:
        _follow(tenant_id, connection, copies, zone)
    EventCopy.objects.filter(pk__in=[copy.pk for copy in copies]).update(done_at=now())
    return dt.timedelta(0) if len(copies) == EVENTS_AT_ONCE else None


def _follow(tenant_id: uuid.UUID, connection: Connection, copies: list[EventCopy], zone: ZoneInfo) -> None:
    changed: dict[str, dict[str, str]] = defaultdict(dict)
    known = {stream.data_type for stream in connector(connection.connector).streams}
    for copy in copies:
        if copy.event.kind == "revoked" and _is_revoked(tenant_id, connection, copy.event.occurred_at):
            return
        if copy.event.data_type in known:
            changed[copy.event.data_type][copy.event.external_id] = copy.event.kind
    for data_type, kinds in changed.items():
        _fetch(tenant_id, connection, data_type, kinds, zone)


def _fetch(tenant_id: uuid.UUID, connection: Connection, data_type: str, kinds: dict[str, str], zone: ZoneInfo) -> None:
    try:
        found = fetch_records(
            tenant_id=tenant_id, connection=connection, data_type=data_type, external_ids=list(kinds), zone=zone
        )
    except RateLimited as error:
        raise UnableToRead(error.user_message, dt.timedelta(seconds=error.retry_after)) from error
    except ReconnectRequired:
        return  # the regular check reads everything once the tenant has reconnected
    except ConnectorError as error:
        raise UnableToRead(error.user_message, dt.timedelta(seconds=20)) from error
    gone = [external_id for external_id, kind in kinds.items() if kind == "deleted" and external_id not in found]
    if gone:
        with tenant(tenant_id):
            mark_deleted(connection=connection, data_type=data_type, external_ids=gone)


def _is_revoked(tenant_id: uuid.UUID, connection: Connection, occurred_at: dt.datetime | None) -> bool:
    """Whether the connection is over; a message that was repeated until after a reconnect is not about the new consent."""
    name = connection.organisation_name
    with tenant(tenant_id):
        mark_needs_reconnect(
            connection=connection,
            problem=f"{name} ended this connection at the provider's side. Reconnect to go on.",
            happened_at=occurred_at,
        )
        return not Connection.objects.filter(pk=connection.pk, state=Connection.State.CONNECTED).exists()
