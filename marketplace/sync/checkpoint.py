"""The checkpoint: a page of records, their changes and the cursor, in one transaction and a handful of statements."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db import DataError
from django.db import connection as database

from connectors.sdk.streams import RejectedRow, SourceRecord
from marketplace.sync.columns import columns_of
from marketplace.sync.signals import records_changed


@dataclass(frozen=True)
class Accepted:
    """What a page changed. `data_types` are those with at least one change."""

    changed: int
    data_types: frozenset[str]


class Unstorable(DataError):
    """A value that the database would take and should not."""


def accept_page(
    *,
    connection_id: uuid.UUID,
    records: Sequence[SourceRecord],
    rejected: Sequence[RejectedRow],
    data_type: str,
    run_id: uuid.UUID | None,
    zone: ZoneInfo,
    at: dt.datetime,
) -> Accepted:
    """Upsert the page. A record equal to what we have is not rewritten; an older state never replaces a newer one.

    Runs inside the caller's tenant transaction, which also moves the cursor.
    """
    changed: frozenset[str] = frozenset()
    count = 0
    if records:
        with database.cursor() as cursor:
            cursor.execute(_STAGE)
            _copy(cursor, records, zone)
            cursor.execute(_ACCEPT, {"run": run_id, "at": at, "connection": connection_id})
            kinds = [row[0] for row in cursor.fetchall()]
            cursor.execute("DROP TABLE incoming")
        changed, count = frozenset(kinds), len(kinds)
    if rejected:
        _keep_rejected(connection_id, data_type, rejected, at)
    if changed:
        records_changed.send(sender=None, connection_id=connection_id, data_types=set(changed))
    return Accepted(count, changed)


def digest_of(body: bytes, is_deleted: bool) -> str:
    """Identifies a record's state: equal digests mean nothing to do."""
    return hashlib.blake2b(body + (b"-" if is_deleted else b"+"), digest_size=16).hexdigest()


def _copy(cursor: Any, records: Sequence[SourceRecord], zone: ZoneInfo) -> None:
    with database.wrap_database_errors, cursor.copy(_COPY) as copy:
        for position, source in enumerate(records):
            copy.write_row(_row(position, source, zone))


def _row(position: int, source: SourceRecord, zone: ZoneInfo) -> tuple[Any, ...]:
    """Days, instants and amounts as text: the driver takes three times as long to make it of them."""
    body = source.body
    columns = columns_of(source.record, zone)
    return (
        position,
        source.record.data_type,
        source.external_id,
        source.version[:80],
        digest_of(body, source.is_deleted),
        storable(body),
        without_nul(source.raw_text),
        source.is_deleted,
        source.updated_at and source.updated_at.isoformat(),
        columns.occurred_on and columns.occurred_on.isoformat(),
        columns.number[:120],
        columns.reference[:255],
        _finite(columns.amount),
        _finite(columns.tax_amount),
        columns.currency,
        columns.party[:255],
        columns.ledger_account,
    )


def storable(body: bytes) -> str:
    """JSON text PostgreSQL can hold: it has no NUL character."""
    return without_nul(body.decode())


def without_nul(text: str) -> str:
    return _NUL.sub(r"\1", text) if "\\u0000" in text else text


def _finite(amount: Decimal | None) -> str | None:
    """PostgreSQL would keep a NaN, and every sum would be one from then on."""
    if amount is None:
        return None
    if not amount.is_finite():
        raise Unstorable(f"{amount} is not an amount")
    return str(amount)


def _keep_rejected(connection_id: uuid.UUID, data_type: str, rejected: Sequence[RejectedRow], at: dt.datetime) -> None:
    rows = [
        (
            connection_id,
            data_type,
            row.external_id[:120].replace("\0", ""),
            row.reason.replace("\0", ""),
            without_nul(json.dumps(row.raw, default=str)),
            at,
        )
        for row in rejected
    ]
    with database.cursor() as cursor:
        cursor.executemany(_REJECT, rows)


#: The escape of a NUL, unless its backslash is itself escaped.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_STAGE = """
    CREATE TEMP TABLE incoming (
        position int, data_type text, external_id text, version text, digest text, body jsonb, raw jsonb,
        is_deleted bool, updated_at timestamptz, occurred_on date, number text, reference text, amount numeric,
        tax_amount numeric, currency text, party text, ledger_account text
    ) ON COMMIT DROP
"""
_COPY = "COPY incoming FROM STDIN"
_FIELDS = """version, digest, body, raw, is_deleted, updated_at, occurred_on, number, reference, amount, tax_amount, currency,
    party, ledger_account"""
# A provider's record may come twice in a page: the newest state of it counts, the later row where states tie. What is equal to what
# we have is left out before the upsert, which would lock it, and a lock is written to the log as a change is.
# A row that was unreadable once and has now been read is no longer waiting for anybody.
_ACCEPT = f"""
    WITH newest AS (
        SELECT DISTINCT ON (data_type, external_id) data_type, external_id, {_FIELDS}
        FROM incoming
        ORDER BY data_type, external_id, updated_at DESC NULLS LAST, position DESC
    ), fresh AS (
        INSERT INTO sync_record AS known (connection_id, data_type, external_id, seen_at, {_FIELDS})
        SELECT %(connection)s, data_type, external_id, %(at)s, {_FIELDS}
        FROM newest
        WHERE NOT EXISTS (
            SELECT FROM sync_record same WHERE same.connection_id = %(connection)s AND same.data_type = newest.data_type
                AND same.external_id = newest.external_id AND same.digest = newest.digest
        )
        ON CONFLICT (connection_id, data_type, external_id) DO UPDATE SET
            seen_at = excluded.seen_at, version = excluded.version, digest = excluded.digest, body = excluded.body,
            raw = excluded.raw, is_deleted = excluded.is_deleted, updated_at = excluded.updated_at,
            occurred_on = excluded.occurred_on, number = excluded.number, reference = excluded.reference,
            amount = excluded.amount, tax_amount = excluded.tax_amount, currency = excluded.currency,
            party = excluded.party, ledger_account = excluded.ledger_account
        WHERE known.digest IS DISTINCT FROM excluded.digest
            AND (known.updated_at IS NULL OR excluded.updated_at IS NULL OR excluded.updated_at >= known.updated_at)
        RETURNING id, data_type, digest, is_deleted, (xmax = 0) AS is_new
    ), logged AS (
        INSERT INTO sync_change (record_id, kind, run_id, digest, at)
        SELECT id, CASE WHEN is_deleted THEN 'deleted' WHEN is_new THEN 'created' ELSE 'updated' END, %(run)s, digest, %(at)s
        FROM fresh
    ), readable AS (
        UPDATE sync_rejectedrow AS row SET resolved_at = %(at)s
        FROM newest
        WHERE row.resolved_at IS NULL AND row.connection_id = %(connection)s
            AND row.data_type = newest.data_type AND row.external_id = newest.external_id
    )
    SELECT data_type FROM fresh
"""
_REJECT = """
    INSERT INTO sync_rejectedrow (connection_id, data_type, external_id, reason, raw, at)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (connection_id, data_type, external_id) WHERE resolved_at IS NULL
    DO UPDATE SET reason = excluded.reason, raw = excluded.raw, at = excluded.at
"""
