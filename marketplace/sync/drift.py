"""Drift: what a regular check found although webhooks should have told of it.

A change counts once the check is over and no message explains it. One whose message comes later after all was late, not lost, and
is taken off again.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

from django.db import connection as database
from django.db.models import QuerySet

from connectors.registry import connector
from marketplace.core.models import InboxEvent
from marketplace.sync.models import Change, SyncRun


def note_drift(run: SyncRun, tenant_id: uuid.UUID) -> int:
    """Mark the run's changes that nothing told of, in the caller's transaction; answers how many there are."""
    webhooks = connector(run.connection.connector).webhooks
    if webhooks is None:
        return 0
    with database.cursor() as cursor:
        cursor.execute(
            _NOTE,
            {
                "run": run.pk,
                "tenant": tenant_id,
                "connection": run.connection_id,
                "told_of": list(webhooks.data_types),
            },
        )
        return int(cursor.rowcount)


def forget_drift(*, connection_id: uuid.UUID, events: Sequence[InboxEvent]) -> None:
    """These messages did come: what they tell of was not missed, if it was found before them."""
    told = [
        {"data_type": event.data_type, "external_id": event.external_id, "occurred_at": event.occurred_at.isoformat()}
        for event in events
        if event.occurred_at is not None
    ]
    if told:
        with database.cursor() as cursor:
            cursor.execute(_FORGET, {"connection": connection_id, "told": json.dumps(told)})


def drift_of(run: SyncRun) -> QuerySet[Change]:
    return Change.objects.filter(run=run, is_drift=True).select_related("record").order_by("-id")


# Waiting messages, and those followed after the check had the change already, tell of it; they were slower than the check.
_NOTE = """
    UPDATE sync_change change SET is_drift = true
    FROM sync_record record
    WHERE change.run_id = %(run)s AND record.id = change.record_id AND record.data_type = ANY(%(told_of)s)
        AND NOT EXISTS (
            SELECT FROM public.core_eventcopy copy JOIN public.core_inboxevent event ON event.id = copy.event_id
            WHERE copy.tenant_id = %(tenant)s AND copy.connection_id = %(connection)s
                AND event.data_type = record.data_type AND event.external_id = record.external_id
                AND (copy.done_at IS NULL OR copy.done_at >= change.at)
        )
"""
_FORGET = """
    WITH late AS (
        UPDATE sync_change change SET is_drift = false
        FROM sync_record record, jsonb_to_recordset(%(told)s::jsonb)
            AS told (data_type text, external_id text, occurred_at timestamptz)
        WHERE record.connection_id = %(connection)s AND record.data_type = told.data_type
            AND record.external_id = told.external_id AND change.record_id = record.id
            AND change.is_drift AND change.at >= told.occurred_at
        RETURNING change.id, change.run_id
    ), counted AS (SELECT run_id, count(*) AS number FROM late GROUP BY run_id)
    UPDATE sync_syncrun run SET drift_count = greatest(0, drift_count - counted.number) FROM counted WHERE run.id = counted.run_id
"""
