"""The queue of record: ask for work, claim it fairly under a lease, finish it or put it back.

Asking is an upsert in the caller's own transaction, so work exists exactly when what caused it was committed. Celery messages are
only hints: losing all of them delays work until the next tick. Leases use the database's clock. A worker that died is told by its
database session: when that is gone its work is free at once. One that only stands still keeps its session, and its lease to the end.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.db import connection, transaction
from kombu.exceptions import OperationalError

from tenants.context import tenant
from tenants.models import Tenant

log = logging.getLogger(__name__)

LEASE_SECONDS = 180  # longer than any single call of a provider may take
RETRY_SECONDS: tuple[float, ...] = (2, 10, 30, 120, 600)

WorkFunction = Callable[[uuid.UUID, str], "dt.timedelta | None"]
_functions: dict[str, WorkFunction] = {}


class LeaseLost(Exception):
    """Somebody else may have taken this work over: stop before writing anything more."""


class UnknownWork(Exception):
    """No function handles this kind of work."""


@dataclass(frozen=True)
class Claim:
    """One leased item. `requests` is how often it had been asked for when claimed."""

    id: int
    tenant_id: uuid.UUID
    kind: str
    key: str
    token: uuid.UUID
    requests: int
    attempts: int


def handles(kind: str) -> Callable[[WorkFunction], WorkFunction]:
    """Register the function for one kind of work. It is called outside any tenant context with the tenant's id and the key,
    and answers when the work should be done again, if ever."""

    def register(function: WorkFunction) -> WorkFunction:
        _functions[kind] = function
        return function

    return register


def request_work(*, tenant_id: uuid.UUID, kind: str, key: str, delay: dt.timedelta | None = None) -> None:
    """Ask for work, now or after `delay`. Asking again brings it forward, never puts it off. Wakes a worker after the commit."""
    with connection.cursor() as cursor:
        cursor.execute(_REQUEST, [tenant_id, kind, key, delay.total_seconds() if delay else 0])
    if not delay:
        transaction.on_commit(wake_workers)


def wake_workers() -> None:
    """Tell Celery that something is due. A broker that is down costs only time: the tick finds the work."""
    from marketplace.core.tasks import serve  # noqa: PLC0415 -- tasks import this module

    try:
        serve.apply_async(retry=False)
    except (OperationalError, OSError) as error:
        log.warning("broker unreachable; due work waits for the next tick: %s", error)


def claim_work() -> Claim | None:
    """The due item of the tenant served longest ago, leased to the caller; None when nothing is due."""
    token = uuid.uuid4()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CLAIM, [token, LEASE_SECONDS])
        row = cursor.fetchone()
        if row is None:
            return None
        cursor.execute(_TURN, [row[1]])
    return Claim(row[0], row[1], row[2], row[3], token, row[4], row[5])


def hold_lease(claim: Claim) -> None:
    """Prolong the lease right before something irrevocable. Raises `LeaseLost`."""
    with connection.cursor() as cursor:
        cursor.execute(_PROLONG, [LEASE_SECONDS, claim.id, claim.token])
        if cursor.rowcount == 0:
            raise LeaseLost(f"{claim.kind} {claim.key}")


def finish_work(claim: Claim, *, again_in: dt.timedelta | None) -> None:
    """Done: forget the item, or keep it for `again_in`, or for at once when it was asked for again meanwhile."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Locked first: an asking that arrives between looking and forgetting would otherwise be forgotten with it.
        cursor.execute(_LOCK, [claim.id, claim.token])
        row = cursor.fetchone()
        if row is None:
            return
        is_asked_again = row[0] > claim.requests
        if is_asked_again or again_in is not None:
            pause = 0 if is_asked_again or again_in is None else again_in.total_seconds()
            cursor.execute(_AGAIN, [pause, claim.id])
        else:
            cursor.execute(_FORGET, [claim.id])


def put_back(claim: Claim, problem: str, *, retry_in: dt.timedelta | None = None) -> None:
    """Failed this time: due again after a growing pause, with the problem kept for people to see."""
    usual = dt.timedelta(seconds=RETRY_SECONDS[min(claim.attempts, len(RETRY_SECONDS) - 1)])
    pause = usual if retry_in is None else retry_in
    with connection.cursor() as cursor:
        cursor.execute(_PUT_BACK, [pause.total_seconds(), problem[:2000], claim.id, claim.token])


def do_work(claim: Claim) -> None:
    """Run one claimed item to its end. Errors put it back; they never stop the worker."""
    try:
        function = _functions[claim.kind]
    except KeyError:
        put_back(claim, f"unknown kind of work: {claim.kind}")
        raise UnknownWork(claim.kind) from None
    token = _current.set(claim)
    try:
        again_in = function(claim.tenant_id, claim.key)
    except LeaseLost:
        log.warning("lease lost on %s %s", claim.kind, claim.key)
    except Exception as error:
        log.exception("work failed: %s %s of tenant %s", claim.kind, claim.key, claim.tenant_id)
        put_back(claim, repr(error), retry_in=getattr(error, "retry_in", None))
    else:
        finish_work(claim, again_in=again_in)
    finally:
        _current.reset(token)


def check_lease() -> None:
    """`hold_lease` for the work this thread is doing; nothing to check when called outside a worker. Raises `LeaseLost`."""
    claim = _current.get()
    if claim is not None:
        hold_lease(claim)


@contextmanager
def holding_lease(owner: Tenant | uuid.UUID) -> Iterator[Tenant]:
    """One transaction in the tenant's schema of a worker that nobody can overtake before its end. Raises `LeaseLost`."""
    with tenant(owner) as found:
        check_lease()
        yield found


def due_count() -> int:
    """How many items could be claimed now."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE_COUNT)
        return int(cursor.fetchone()[0])


_REQUEST = """
    INSERT INTO public.core_workitem (tenant_id, kind, key, requests, due_at, attempts, problem, requested_at)
    VALUES (%s, %s, %s, 1, clock_timestamp() + make_interval(secs => %s), 0, '', clock_timestamp())
    ON CONFLICT (tenant_id, kind, key) DO UPDATE
    SET requests = core_workitem.requests + 1, due_at = LEAST(core_workitem.due_at, excluded.due_at)
"""
# Nobody works at it: the lease has run out, or the database session of the worker that holds it is gone.
_IS_FREE = """(lease_until IS NULL OR lease_until < clock_timestamp()
            OR NOT EXISTS (SELECT FROM pg_stat_get_activity(holder_pid)))"""
_CLAIM = f"""
    UPDATE public.core_workitem AS item
    SET lease_token = %s, lease_until = clock_timestamp() + make_interval(secs => %s), holder_pid = pg_backend_pid()
    WHERE item.id = (
        SELECT due.id FROM public.core_workitem due
        LEFT JOIN public.core_tenantturn turn ON turn.tenant_id = due.tenant_id
        WHERE due.due_at <= clock_timestamp() AND {_IS_FREE}
        ORDER BY turn.served_at NULLS FIRST, due.due_at, due.id
        LIMIT 1 FOR UPDATE OF due SKIP LOCKED
    )
    RETURNING item.id, item.tenant_id, item.kind, item.key, item.requests, item.attempts
"""
_TURN = """
    INSERT INTO public.core_tenantturn (tenant_id, served_at) VALUES (%s, clock_timestamp())
    ON CONFLICT (tenant_id) DO UPDATE SET served_at = excluded.served_at
"""
_PROLONG = """
    UPDATE public.core_workitem
    SET lease_until = clock_timestamp() + make_interval(secs => %s), holder_pid = pg_backend_pid()
    WHERE id = %s AND lease_token = %s AND lease_until > clock_timestamp()
"""
_LOCK = "SELECT requests FROM public.core_workitem WHERE id = %s AND lease_token = %s FOR UPDATE"
_AGAIN = """
    UPDATE public.core_workitem
    SET lease_token = NULL, lease_until = NULL, holder_pid = NULL, attempts = 0, problem = '',
        due_at = clock_timestamp() + make_interval(secs => %s)
    WHERE id = %s
"""
_FORGET = "DELETE FROM public.core_workitem WHERE id = %s"
_PUT_BACK = """
    UPDATE public.core_workitem
    SET lease_token = NULL, lease_until = NULL, holder_pid = NULL, attempts = attempts + 1,
        due_at = clock_timestamp() + make_interval(secs => %s), problem = %s
    WHERE id = %s AND lease_token = %s
"""
_DUE_COUNT = f"SELECT count(*) FROM public.core_workitem WHERE due_at <= clock_timestamp() AND {_IS_FREE}"
_current: ContextVar[Claim | None] = ContextVar("current_claim", default=None)
