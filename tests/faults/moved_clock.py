"""Work in this process on a clock that is moved: what waits an hour waits no time, and the hour is counted."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field

import redis
from django.conf import settings
from django.db import connection

from marketplace.core.work import claim_work, do_work, repair_ring
from tenants.context import tenant
from tenants.models import Tenant

PATIENCE = 240.0
#: What follows something else; regular checks are only work while one of them is in trouble.
FOLLOWING = ("plan", "post", "pair", "events")


class Stuck(AssertionError):
    """Work did not come to its end in the time it has."""


@dataclass
class MovedClock:
    """`waited` is how much time was skipped; `longest` the longest single wait of work that had something to do."""

    owner: Tenant
    waited: dt.timedelta = dt.timedelta(0)
    longest: dt.timedelta = dt.timedelta(0)
    began: float = field(default_factory=time.monotonic)

    def work_off(self) -> None:
        """Until nothing is left to do and no stream is in trouble. Raises `Stuck`."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if not self.work_once():
                return
        raise Stuck(f"not done after {PATIENCE:g} seconds and {self.waited} on the moved clock")

    def work_once(self) -> bool:
        """One piece of work, or on to the time of the next; false when there is none."""
        claim = claim_work()
        if claim is None:
            return self._skip_to_next()
        do_work(claim)
        return True

    def sleep(self, seconds: float) -> None:
        """A pause inside a piece of work."""
        self.waited += dt.timedelta(seconds=seconds)
        _end_refusals(seconds)

    def _skip_to_next(self) -> bool:
        """Move the clock on to what is due next; false when only regular checks are."""
        with tenant(self.owner), connection.cursor() as cursor:
            cursor.execute(_NEXT, [list(FOLLOWING)])
            wait: dt.timedelta | None = cursor.fetchone()[0]
            if wait is None:
                return False
            wait = max(wait, dt.timedelta(0))
            for statement in _MOVE.split(";"):  # one at a time, as values that travel apart ask for
                cursor.execute(statement, {"wait": wait.total_seconds()})
        repair_ring()
        _end_refusals(wait.total_seconds())
        self.waited += wait
        self.longest = max(self.longest, wait)
        return True


def _end_refusals(seconds: float) -> None:
    """A provider that asked us to stay away is waited for on the moved clock as well."""
    with redis.Redis.from_url(settings.REDIS_URL) as counted:
        for key in counted.scan_iter("budget:*:refused"):
            counted.pexpire(key, counted.pttl(key) - int(seconds * 1000))


_NEXT = """
    SELECT min(item.due_at) - clock_timestamp() FROM public.core_workitem item
    LEFT JOIN sync_streamstate state ON item.kind = 'sync'
        AND item.key = state.connection_id::text || ':' || state.data_type AND state.problem <> ''
    WHERE item.kind = ANY(%s) OR item.problem <> '' OR state.id IS NOT NULL
"""
_MOVE = """
    UPDATE public.core_workitem SET due_at = due_at - make_interval(secs => %(wait)s), lease_until = lease_until - make_interval(secs => %(wait)s);
    UPDATE posting_postingbatch SET sent_at = sent_at - make_interval(secs => %(wait)s), intended_at = intended_at - make_interval(secs => %(wait)s),
        deadline_at = deadline_at - make_interval(secs => %(wait)s) WHERE state <> 'settled';
    UPDATE posting_posting SET next_attempt_at = next_attempt_at - make_interval(secs => %(wait)s) WHERE next_attempt_at IS NOT NULL;
"""
