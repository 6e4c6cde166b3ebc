"""The queue of record: ask for work, claim it fairly under a lease, finish it or put it back.

Asking is an upsert in the caller's own transaction, so work exists exactly when what caused it was committed. Celery messages are
only hints: losing all of them delays work until the next tick. Leases use the database's clock. A worker that died is told by its
database session: when that is gone its work is free at once. One that only stands still keeps its session, and its lease to the end.

Whose turn it is says a ring with a row per business and lane, so a claim costs the same however many businesses there are and however
much is due. A row may say "too early", which costs one look; what no row tells of is found by whoever finds the ring empty, and by
the tick. Work that was not done after its first slice of time goes on in the long lane, which leaves a worker free for the rest.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, connection, transaction
from kombu.exceptions import OperationalError

from tenants.context import between_tenants, tenant
from tenants.models import Tenant

log = logging.getLogger(__name__)

LEASE_SECONDS = 180  # longer than any single call of a provider may take
RETRY_SECONDS: tuple[float, ...] = (2, 10, 30, 120, 600)
FIRST_SLICE_SECONDS, SLICE_SECONDS, SHORTEST_SLICE_SECONDS = 3.0, 15.0, 0.5
#: Work that goes on within this time has not come to its end, only to a pause.
PAUSE = dt.timedelta(minutes=1)
#: Turns that came too early are passed over at once, but not without end.
LOOKS = 20
#: However much short work there is, the long lane goes first this often.
LONG_FIRST = 0.1

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
    is_long: bool


@dataclass(frozen=True)
class Also:
    """Expressions to evaluate in the statement that holds a lease."""

    sql: str
    parameters: Sequence[Any] = ()


NOTHING = Also("1")


@dataclass
class Running:
    """What this thread is doing, since when, and when it last looked whether somebody else waits. `told`: how often it had been asked
    for, or told to look, when the lease was prolonged last."""

    claim: Claim
    since: float = field(default_factory=time.monotonic)
    looked_at: float = field(default_factory=time.monotonic)
    told: int = 0

    @property
    def slice(self) -> float:
        return SLICE_SECONDS if self.claim.is_long else FIRST_SLICE_SECONDS


def handles(kind: str) -> Callable[[WorkFunction], WorkFunction]:
    """Register the function for one kind of work. It is called outside any tenant context with the tenant's id and the key,
    and answers when the work should be done again, if ever."""

    def register(function: WorkFunction) -> WorkFunction:
        _functions[kind] = function
        return function

    return register


def request_work(
    *, tenant_id: uuid.UUID, kind: str, key: str, delay: dt.timedelta | None = None, is_long: bool = False
) -> None:
    """Ask for work, now or after `delay`. Asking again brings it forward, never puts it off. Wakes a worker after the commit.
    `is_long`: known to take its time, so it never gets in the way of short work; so is what a business with long work asks for."""
    with connection.cursor() as cursor:
        cursor.execute(_REQUEST, [tenant_id, kind, key, is_long, delay.total_seconds() if delay else 0])
        lane, due_at = cursor.fetchone()
    _asked.note(tenant_id, lane, due_at, is_now=not delay)
    transaction.on_commit(_announce)


def tell_worker(*, tenant_id: uuid.UUID, kind: str, key: str) -> None:
    """Whoever is at this work is to look again before it does anything irrevocable (see `told_so_far`). Asks for nothing: without
    such work nothing happens."""
    with connection.cursor() as cursor:
        cursor.execute(_TELL, [tenant_id, kind, key])


class _Asked(threading.local):
    """What this thread asked for and has not told the ring yet. What was rolled back is told as well: that costs a look."""

    def __init__(self) -> None:
        self.turns: dict[tuple[uuid.UUID, bool], dt.datetime] = {}
        self.is_now = False

    def note(self, tenant_id: uuid.UUID, is_long: bool, due_at: dt.datetime, *, is_now: bool) -> None:
        lane = (tenant_id, is_long)
        self.turns[lane] = min(due_at, self.turns.get(lane, due_at))
        self.is_now |= is_now

    def take(self) -> tuple[list[tuple[uuid.UUID, bool, dt.datetime]], bool]:
        taken = sorted((*lane, due_at) for lane, due_at in self.turns.items()), self.is_now
        self.turns, self.is_now = {}, False
        return taken


def _announce() -> None:
    """After the commit, so that a long transaction does not hold its business's turn; once for all that was asked for in it."""
    turns, is_now = _asked.take()
    if turns:
        try:
            with connection.cursor() as cursor:
                cursor.execute(_ANNOUNCE, list(map(list, zip(*turns, strict=True))))
        except DatabaseError as error:
            log.warning("turn not announced; the work is committed and the next tick finds it: %s", error)
    if is_now:
        wake_workers()


def wake_workers() -> None:
    """Tell Celery that something is due. A broker that is down costs only time: the tick finds the work."""
    from marketplace.core.tasks import serve  # noqa: PLC0415 -- tasks import this module

    try:
        serve.apply_async(retry=False)
    except (OperationalError, OSError) as error:
        log.warning("broker unreachable; due work waits for the next tick: %s", error)


def claim_work(*, takes_long: bool = True) -> Claim | None:
    """The longest due item of the business whose turn it is, leased to the caller; None when nothing is due."""
    between_tenants()
    for lane in _lanes(takes_long):
        claim = _claim_in_turn(lane)
        if claim is not None:
            return claim
    return _claim_any(takes_long)


def _lanes(takes_long: bool) -> tuple[bool, ...]:
    if not takes_long:
        return (False,)
    return (True, False) if random.random() < LONG_FIRST else (False, True)


def _claim_in_turn(is_long: bool) -> Claim | None:
    """First the turn is locked, then its items are read: whatever was announced before the lock is seen, and what is announced after
    it waits for our commit."""
    for _ in range(LOOKS):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_TURN, [is_long])
            row = cursor.fetchone()
            if row is None:
                return None
            token = uuid.uuid4()
            lane = {"tenant": row[0], "is_long": is_long, "token": token, "lease": LEASE_SECONDS}
            cursor.execute(_TAKE, lane)
            claim = _claimed(cursor.fetchone(), token)
        if claim is not None:
            return claim
    return None


def _claim_any(takes_long: bool) -> Claim | None:
    """What the ring does not tell of: the lease of a worker that died, or work whose announcement was lost."""
    token = uuid.uuid4()
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_ANY, {"takes_long": takes_long, "token": token, "lease": LEASE_SECONDS})
        return _claimed(cursor.fetchone(), token)


def _claimed(row: tuple[Any, ...] | None, token: uuid.UUID) -> Claim | None:
    if row is None:
        return None
    id, tenant_id, kind, key, requests, attempts, is_long = row
    return Claim(id, tenant_id, kind, key, token, requests, attempts, is_long)


def hold_lease(claim: Claim, also: Also = NOTHING) -> tuple[Any, ...]:
    """Prolong the lease right before something irrevocable. `also` is evaluated in the same statement, only when the lease is held;
    answers how often the work was asked for by now, and the values of `also`. Raises `LeaseLost`."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_PROLONG} RETURNING requests, {also.sql}", [LEASE_SECONDS, claim.id, claim.token, *also.parameters]
        )
        found: tuple[Any, ...] | None = cursor.fetchone()
    if found is None:
        raise LeaseLost(f"{claim.kind} {claim.key}")
    return found


def finish_work(claim: Claim, *, again_in: dt.timedelta | None) -> None:
    """Done: forget the item, or keep it for `again_in`, or for at once when it was asked for again meanwhile."""
    with transaction.atomic(), connection.cursor() as cursor:
        if again_in is None:
            cursor.execute(_FORGET_UNASKED, [claim.id, claim.token, claim.requests])
            if cursor.rowcount:
                return
        # Locked first: an asking that arrives between looking and forgetting would otherwise be forgotten with it.
        cursor.execute(_LOCK, [claim.id, claim.token])
        row = cursor.fetchone()
        if row is None:
            return
        is_asked_again = row[0] > claim.requests
        if is_asked_again or again_in is not None:
            pause = 0 if is_asked_again or again_in is None else again_in.total_seconds()
            cursor.execute(_AGAIN, [_is_long(claim, again_in), pause, claim.id])
        else:
            cursor.execute(_FORGET, [claim.id])


def _is_long(claim: Claim, again_in: dt.timedelta | None) -> bool:
    """What wants to go on at once is, until it comes to its end."""
    return again_in is not None and (not again_in or (claim.is_long and again_in < PAUSE))


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
    token = _current.set(Running(claim))
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


def check_lease(also: Also = NOTHING) -> tuple[Any, ...]:
    """`hold_lease` for the work this thread is doing; no lease to check when called outside a worker. Raises `LeaseLost`."""
    running = _current.get()
    if running is not None:
        running.told, *values = hold_lease(running.claim, also)
        return tuple(values)
    return without_lease(also)


def without_lease(also: Also) -> tuple[Any, ...]:
    """The values of `also`, for whoever has no lease to hold."""
    if also is NOTHING:
        return ()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {also.sql}", also.parameters)
        return tuple(cursor.fetchone())


def asked_so_far() -> int:
    """How often the work this thread is doing had been asked for when it was claimed; 0 outside a worker."""
    running = _current.get()
    return 0 if running is None else running.claim.requests


def told_so_far() -> int:
    """How often the work this thread is doing had been asked for, or told to look, when its lease was checked last; 0 outside a
    worker."""
    running = _current.get()
    return 0 if running is None else running.told


def slice_is_over() -> bool:
    """Whether the work this thread is doing should stop at this good place and go on later: its time is used up, or another business
    has waited for a moment and nobody serves it. Never outside a worker."""
    running = _current.get()
    if running is None:
        return False
    at = time.monotonic()
    if at - running.since >= running.slice:
        return True
    if at - running.looked_at < SHORTEST_SLICE_SECONDS:
        return False
    running.looked_at = at
    with connection.cursor() as cursor:
        cursor.execute(_IS_AWAITED, [running.claim.tenant_id])
        return bool(cursor.fetchone()[0])


def slice_left() -> float:
    """How many seconds of its slice the work this thread is doing has left. Without end outside a worker."""
    running = _current.get()
    return math.inf if running is None else running.since + running.slice - time.monotonic()


@contextmanager
def holding_lease(owner: Tenant | uuid.UUID) -> Iterator[Tenant]:
    """One transaction in the tenant's schema of a worker that nobody can overtake before its end. Raises `LeaseLost`."""
    with tenant(owner) as found:
        check_lease()
        yield found


def due_count(at_most: int) -> int:
    """How many items could be claimed now, counted no further than `at_most`."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE_COUNT, [at_most])
        found: int = cursor.fetchone()[0]
        return found


def due_within(seconds: float) -> float | None:
    """In how many seconds the next item comes due, when that is soon. What has been due for a while is somebody else's."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE_WITHIN, [seconds])
        row = cursor.fetchone()
        return None if row is None else float(row[0])


def repair_ring() -> int:
    """Give a turn to whoever has something due and none: after a crash between a commit and its announcement, or while working.
    Answers how many needed it."""
    with connection.cursor() as cursor:
        cursor.execute(_REPAIR)
        repaired: int = cursor.rowcount
        return repaired


# Conditions are written with statement_timestamp(): an index cannot be searched for a clock that moves on during the search.
# Nobody works at it: the lease has run out, or the database session of the worker that holds it is gone.
_FREE = """(lease_until IS NULL OR lease_until < statement_timestamp()
            OR NOT EXISTS (SELECT FROM pg_stat_get_activity(holder_pid)))"""
_LEASED = """
    SET lease_token = %(token)s, lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
        holder_pid = pg_backend_pid()
    FROM next WHERE item.id = next.id
    RETURNING item.id, item.tenant_id, item.kind, item.key, item.requests, item.attempts, item.is_long
"""
# A turn is only ever brought forward here; the one who takes it says when the next one is.
_FORWARD = """
    ON CONFLICT (tenant_id, is_long) DO UPDATE SET ready_at = excluded.ready_at
    WHERE core_tenantturn.ready_at IS NULL OR core_tenantturn.ready_at > excluded.ready_at
"""
# What a business asks for while it has long work goes with that: the pages of a first sync are planned and posted beside it.
_REQUEST = """
    INSERT INTO public.core_workitem (tenant_id, kind, key, is_long, requests, due_at, attempts, problem, requested_at)
    SELECT asked.*, lane.is_long OR EXISTS (
            SELECT FROM public.core_workitem other WHERE other.tenant_id = asked.tenant_id AND other.is_long
        ), 1, clock_timestamp() + lane.delay, 0, '', clock_timestamp()
    FROM (VALUES (%s::uuid, %s, %s)) AS asked (tenant_id, kind, key), (VALUES (%s, make_interval(secs => %s))) AS lane (is_long, delay)
    ON CONFLICT (tenant_id, kind, key) DO UPDATE
    SET requests = core_workitem.requests + 1, due_at = LEAST(core_workitem.due_at, excluded.due_at),
        is_long = core_workitem.is_long OR excluded.is_long
    RETURNING is_long, due_at
"""
# Counted like an asking, so the one who finishes it looks once more: what it was told may have come too late for it.
_TELL = """
    UPDATE public.core_workitem SET requests = requests + 1
    WHERE tenant_id = %s AND kind = %s AND key = %s AND lease_token IS NOT NULL
"""
_ANNOUNCE = f"""
    INSERT INTO public.core_tenantturn (tenant_id, is_long, ready_at)
    SELECT told.* FROM unnest(%s::uuid[], %s::boolean[], %s::timestamptz[]) AS told (tenant_id, is_long, due_at)
    JOIN public.tenants_tenant tenant ON tenant.id = told.tenant_id {_FORWARD}
"""
_TURN = """
    SELECT tenant_id FROM public.core_tenantturn WHERE is_long = %s AND ready_at <= statement_timestamp()
    ORDER BY ready_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""
# The business goes to the end of the ring, or out of it until its next item is due.
_TAKE = f"""
    WITH next AS (
        SELECT id FROM public.core_workitem
        WHERE tenant_id = %(tenant)s AND is_long = %(is_long)s AND due_at <= statement_timestamp() AND {_FREE}
        ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
    ), turned AS (
        UPDATE public.core_tenantturn SET ready_at = (
            SELECT GREATEST(due_at, clock_timestamp()) FROM public.core_workitem
            WHERE tenant_id = %(tenant)s AND is_long = %(is_long)s AND lease_token IS NULL
                AND id IS DISTINCT FROM (SELECT id FROM next)
            ORDER BY due_at, id LIMIT 1
        )
        WHERE tenant_id = %(tenant)s AND is_long = %(is_long)s
    )
    UPDATE public.core_workitem AS item {_LEASED}
"""
_TAKE_ANY = f"""
    WITH next AS (
        SELECT id FROM public.core_workitem
        WHERE due_at <= statement_timestamp() AND {_FREE} AND (%(takes_long)s OR NOT is_long)
        ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    UPDATE public.core_workitem AS item {_LEASED}
"""
_PROLONG = """
    UPDATE public.core_workitem
    SET lease_until = clock_timestamp() + make_interval(secs => %s), holder_pid = pg_backend_pid()
    WHERE id = %s AND lease_token = %s AND lease_until > clock_timestamp()
"""
_LOCK = "SELECT requests FROM public.core_workitem WHERE id = %s AND lease_token = %s FOR UPDATE"
_AGAIN = f"""
    WITH again AS (
        UPDATE public.core_workitem
        SET lease_token = NULL, lease_until = NULL, holder_pid = NULL, attempts = 0, problem = '', is_long = %s,
            due_at = clock_timestamp() + make_interval(secs => %s)
        WHERE id = %s RETURNING tenant_id, is_long, due_at
    )
    INSERT INTO public.core_tenantturn (tenant_id, is_long, ready_at) SELECT * FROM again {_FORWARD}
"""
_FORGET = "DELETE FROM public.core_workitem WHERE id = %s"
# In one statement what nearly always is so: nobody asked again. Whoever is asking right now is waited for, and then seen.
_FORGET_UNASKED = f"{_FORGET} AND lease_token = %s AND requests <= %s"
_PUT_BACK = f"""
    WITH again AS (
        UPDATE public.core_workitem
        SET lease_token = NULL, lease_until = NULL, holder_pid = NULL, attempts = attempts + 1,
            due_at = clock_timestamp() + make_interval(secs => %s), problem = %s
        WHERE id = %s AND lease_token = %s RETURNING tenant_id, is_long, due_at
    )
    INSERT INTO public.core_tenantturn (tenant_id, is_long, ready_at) SELECT * FROM again {_FORWARD}
"""
_IS_AWAITED = """
    SELECT EXISTS (SELECT FROM public.core_tenantturn WHERE NOT is_long AND tenant_id <> %s
        AND ready_at <= statement_timestamp() - interval '200 milliseconds')
"""
_DUE_COUNT = f"""
    SELECT count(*) FROM (SELECT FROM public.core_workitem WHERE due_at <= statement_timestamp() AND {_FREE} LIMIT %s) due
"""
_DUE_WITHIN = """
    SELECT extract(epoch FROM due_at - statement_timestamp()) FROM public.core_workitem
    WHERE due_at BETWEEN statement_timestamp() - interval '50 milliseconds'
        AND statement_timestamp() + make_interval(secs => %s) AND lease_until IS NULL
    ORDER BY due_at LIMIT 1
"""
_REPAIR = f"""
    INSERT INTO public.core_tenantturn (tenant_id, is_long, ready_at)
    SELECT tenant_id, is_long, min(due_at) FROM public.core_workitem item
    WHERE due_at <= statement_timestamp() AND {_FREE} AND NOT EXISTS (
        SELECT FROM public.core_tenantturn turn WHERE turn.tenant_id = item.tenant_id AND turn.is_long = item.is_long
            AND turn.ready_at <= statement_timestamp())
    GROUP BY tenant_id, is_long ORDER BY tenant_id, is_long
    {_FORWARD}
"""
_asked = _Asked()
_current: ContextVar[Running | None] = ContextVar("current_claim", default=None)
