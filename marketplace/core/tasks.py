"""Celery's whole part: wake up and serve what PostgreSQL says is due."""

from __future__ import annotations

import time
from contextlib import ExitStack

from django.conf import settings

from marketplace.core.queries import note_heartbeat
from marketplace.core.reserve import place_for_long_work
from marketplace.core.work import claim_work, do_work, due_count, due_within, repair_ring, wake_workers
from tenants.tasks import public_task

SERVE_SECONDS = 20.0
WORKERS_WOKEN = 4
#: What comes due within this time is waited for: nobody would be woken for it before the next tick.
LINGER_SECONDS = 1.0
LOOK_SECONDS = 0.05


@public_task(name="core.serve", ignore_result=True)
def serve() -> None:
    """Do due work, whoever's turn it is, for a while; then make room for other messages."""
    until = time.monotonic() + SERVE_SECONDS
    while time.monotonic() < until:
        if not serve_next() and not _is_more_soon():
            return
    wake_workers()


def serve_next() -> bool:
    """Do one item; false when there is none that this worker may do now."""
    with ExitStack() as places:
        folder = settings.PLACES.var / "run" / settings.DATABASES["default"]["NAME"]
        may_be_long = places.enter_context(place_for_long_work(folder, settings.WORKER_PROCESSES - 1))
        claim = claim_work(takes_long=may_be_long)
        if claim is None:
            return False
        if not claim.is_long:
            places.close()
        do_work(claim)
    return True


def _is_more_soon() -> bool:
    """Wait a little for what is about to come due, looking out for what comes meanwhile."""
    wait = due_within(LINGER_SECONDS)
    if wait is None:
        return False
    time.sleep(min(max(wait, LOOK_SECONDS / 5), LOOK_SECONDS))
    return True


@public_task(name="core.tick", ignore_result=True)
def tick() -> None:
    """A hint, never the only one: when something is due, wake some workers. That it ran proves that workers consume."""
    note_heartbeat()
    repair_ring()
    for _ in range(due_count(WORKERS_WOKEN)):
        wake_workers()
