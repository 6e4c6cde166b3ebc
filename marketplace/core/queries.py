"""Whether the engine is alive, its figures, and where most waits for a person."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass

from django.core.cache import cache
from django.db import Error
from django.db import connection as database
from django.utils import timezone

from marketplace.core.clock import now, shared_now
from tenants.models import Tenant, User

log = logging.getLogger(__name__)

HEARTBEAT = "heartbeat"
#: The tick comes every two seconds; older than this, nobody consumes messages.
HEARTBEAT_SECONDS = 60.0
CLOCK_ERROR = "clock-error"
#: A machine's clock that is further from the database's is wrong: leases and deadlines do not mind, days and tokens may.
CLOCK_ERROR_SECONDS = 120.0


@dataclass(frozen=True)
class Health:
    """Four things that must work; `worker` means that a message really was consumed lately, `clock` that neither this machine's
    nor that worker's clock is wrong."""

    database: bool
    broker: bool
    worker: bool
    clock: bool

    @property
    def is_healthy(self) -> bool:
        return self.database and self.broker and self.worker and self.clock


def note_heartbeat() -> None:
    """Called by the tick: a worker has just consumed a message."""
    at = shared_now()
    error = (now() - at).total_seconds()
    if abs(error) > CLOCK_ERROR_SECONDS:
        log.error("this machine's clock is wrong: %.0f seconds away from the database's", error)
    cache.set_many({HEARTBEAT: at.isoformat(), CLOCK_ERROR: error}, timeout=3600)


def health() -> Health:
    beat, worker_error = _beat()
    at = _database_time()
    errors = [worker_error, (now() - at).total_seconds() if at else 0.0]
    age = (at - dt.datetime.fromisoformat(beat)).total_seconds() if at and beat else HEARTBEAT_SECONDS
    return Health(
        database=at is not None,
        broker=beat is not None,
        worker=age < HEARTBEAT_SECONDS,
        clock=all(abs(error) <= CLOCK_ERROR_SECONDS for error in errors),
    )


def _database_time() -> dt.datetime | None:
    """None when the database does not answer."""
    try:
        return shared_now()
    except Error:
        log.exception("the database does not answer")
        return None


def _beat() -> tuple[str | None, float]:
    """The last beat and how wrong its worker's clock was; empty when there was none; None when the broker, which keeps it, does
    not answer."""
    try:
        told = cache.get_many([HEARTBEAT, CLOCK_ERROR])
    except Exception:  # whichever client library the cache uses
        log.exception("the broker does not answer")
        return None, 0.0
    return str(told.get(HEARTBEAT, "")), float(told.get(CLOCK_ERROR, 0.0))


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


def most_pressing_businesses(user: User, opened: Tenant | None, count: int) -> list[Tenant]:
    """The open one, then those where most waits, then any others: at most `count` that this signed-in person may open, each with its
    `waiting_count`. Costs the same for a thousand businesses as for a dozen: nothing is sorted that an index does not hold in order."""
    given = {"user": user.pk, "opened": opened.pk if opened else None, "at": timezone.now(), "count": count}
    found: dict[object, Tenant] = {}
    for business in Tenant.objects.raw(_MOST_PRESSING, given):
        found.setdefault(business.pk, business)
    return list(found.values())[:count]


# A business may come by more than one of the three ways; what is known of it by the first is what counts.
_MOST_PRESSING = """
    WITH ours AS NOT MATERIALIZED (
        SELECT tenant_id FROM public.tenants_membership WHERE user_id = %(user)s AND (expires_at IS NULL OR expires_at > %(at)s)
    ), listed AS (
        (SELECT 1 AS way, tenant_id, (SELECT waiting_count FROM public.core_tenantsummary WHERE tenant_id = %(opened)s) AS waiting_count
            FROM ours WHERE tenant_id = %(opened)s)
        UNION ALL
        (SELECT 2, tenant_id, waiting_count FROM public.core_tenantsummary JOIN ours USING (tenant_id) WHERE waiting_count > 0
            ORDER BY waiting_count DESC, tenant_id LIMIT %(count)s)
        UNION ALL
        (SELECT 3, tenant_id, 0 FROM ours ORDER BY tenant_id LIMIT %(count)s)
    )
    SELECT id, slug, legal_name, waiting_count FROM listed JOIN public.tenants_tenant ON id = tenant_id
    ORDER BY way, waiting_count DESC
"""
