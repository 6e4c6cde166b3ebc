"""Whether the engine is alive, and its figures."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass

from django.core.cache import cache
from django.db import Error
from django.db import connection as database

from marketplace.core.clock import now

log = logging.getLogger(__name__)

HEARTBEAT = "heartbeat"
#: The tick comes every two seconds; older than this, nobody consumes messages.
HEARTBEAT_SECONDS = 60.0


@dataclass(frozen=True)
class Health:
    """Three things that must work; `worker` means that a message really was consumed lately."""

    database: bool
    broker: bool
    worker: bool

    @property
    def is_healthy(self) -> bool:
        return self.database and self.broker and self.worker


def note_heartbeat() -> None:
    """Called by the tick: a worker has just consumed a message."""
    cache.set(HEARTBEAT, now().isoformat(), timeout=3600)


def health() -> Health:
    beat = _beat()
    return Health(
        database=_database_answers(),
        broker=beat is not None,
        worker=bool(beat) and (now() - dt.datetime.fromisoformat(beat or "")).total_seconds() < HEARTBEAT_SECONDS,
    )


def _database_answers() -> bool:
    try:
        with database.cursor() as cursor:
            cursor.execute("SELECT 1")
            return bool(cursor.fetchone() == (1,))
    except Error:
        log.exception("the database does not answer")
        return False


def _beat() -> str | None:
    """The last beat; empty when there was none; None when the broker, which keeps it, does not answer."""
    try:
        return str(cache.get(HEARTBEAT, ""))
    except Exception:  # whichever client library the cache uses
        log.exception("the broker does not answer")
        return None


def figures() -> dict[str, float]:
    """What a monitor watches, over all businesses, in one statement."""
    with database.cursor() as cursor:
        cursor.execute(_FIGURES)
        names = [column.name for column in cursor.description]
        return {name: float(value or 0) for name, value in zip(names, cursor.fetchone(), strict=True)}


_FIGURES = """
    SELECT
        (SELECT count(*) FROM public.tenants_tenant) AS businesses,
        (SELECT count(*) FROM public.core_workitem WHERE due_at <= clock_timestamp()) AS work_due,
        (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0) FROM public.core_workitem
            WHERE due_at <= clock_timestamp() AND (lease_until IS NULL OR lease_until < clock_timestamp())) AS work_oldest_seconds,
        (SELECT count(*) FROM public.core_workitem WHERE lease_until > clock_timestamp()) AS work_running,
        (SELECT count(*) FROM public.core_workitem WHERE problem <> '') AS work_failing,
        (SELECT count(*) FROM public.core_webhookdelivery) AS webhook_deliveries_total,
        (SELECT count(*) FROM public.core_inboxevent WHERE state = 'parked') AS webhook_events_parked,
        (SELECT count(*) FROM public.core_eventcopy WHERE done_at IS NULL) AS webhook_events_waiting,
        (SELECT coalesce(sum(waiting_count), 0) FROM public.core_tenantsummary) AS records_waiting,
        (SELECT coalesce(sum(broken_connections), 0) FROM public.core_tenantsummary) AS connections_broken
"""
