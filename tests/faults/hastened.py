"""The product's Celery workers with the times of the tests: `celery -A tests.faults.hastened worker`."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_init

from marketplace.celery import app as app

WRITTEN_AT_ONCE = 10


@worker_init.connect
def hasten_workers(**kwargs: Any) -> None:
    """Before the pool is forked."""
    from tests.faults.tempo import hasten  # noqa: PLC0415 -- needs the loaded applications

    hasten(WRITTEN_AT_ONCE)
