"""Celery's whole part: wake up and serve what PostgreSQL says is due."""

from __future__ import annotations

import time

from marketplace.core.queries import note_heartbeat
from marketplace.core.work import claim_work, do_work, due_count, wake_workers
from tenants.tasks import public_task

SERVE_SECONDS = 20.0
WORKERS_WOKEN = 4


@public_task(name="core.serve", ignore_result=True)
def serve() -> None:
    """Do due work, whoever's turn it is, for a while; then make room for other messages."""
    until = time.monotonic() + SERVE_SECONDS
    while time.monotonic() < until:
        claim = claim_work()
        if claim is None:
            return
        do_work(claim)
    wake_workers()


@public_task(name="core.tick", ignore_result=True)
def tick() -> None:
    """A hint, never the only one: when something is due, wake some workers. That it ran proves that workers consume."""
    note_heartbeat()
    for _ in range(min(due_count(), WORKERS_WOKEN)):
        wake_workers()
