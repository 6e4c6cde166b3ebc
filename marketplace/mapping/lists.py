"""A connection's records of one type, as last read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
from django.db import connection as database

from connectors.sdk.records import Record
from marketplace.installations.models import Connection

Kind = TypeVar("Kind", bound=Record)


def settings_of(connection: Connection, *kinds: type[Record]) -> list[Record]:
    """All current records of several types that a connection has few of, read in one statement."""
    decoders = {kind.data_type: msgspec.json.Decoder(kind) for kind in kinds}
    with database.cursor() as cursor:
        cursor.execute(_SETTINGS, [connection.pk, list(decoders)])
        return [decoders[data_type].decode(body) for data_type, body in cursor.fetchall()]


def standard_records(connection: Connection, kind: type[Kind], chosen: Sequence[str] | None = None) -> list[Kind]:
    """All current records of one type of a connection, or the chosen ones by their ids, decoded."""
    ids = None if chosen is None else list(chosen)
    with database.cursor() as cursor:
        cursor.execute(_BODIES, [connection.pk, kind.data_type, ids, ids])
        decoder = msgspec.json.Decoder(kind)
        return [decoder.decode(body) for (body,) in cursor.fetchall()]


# Records belong to a slice above this one and are read by their table's name.
_SETTINGS = """
    SELECT data_type, body::text FROM sync_record
    WHERE connection_id = %s AND data_type = ANY(%s) AND NOT is_deleted ORDER BY data_type, external_id
"""
_BODIES = """
    SELECT body::text FROM sync_record
    WHERE connection_id = %s AND data_type = %s AND NOT is_deleted
        AND (%s::text[] IS NULL OR external_id = ANY(%s)) ORDER BY external_id
"""
