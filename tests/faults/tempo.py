"""Minutes become seconds, and requests small: what would take an hour of trouble fits into a test."""

from __future__ import annotations

import datetime as dt
import os
import time

from django.db import connection
from django.utils import timezone

from connectors.registry import connectors
from connectors.sdk.streams import WritableStream
from marketplace.core import clock, work
from marketplace.core.runtime.database import with_patience
from marketplace.posting import planning, reversal_running, uncertain
from marketplace.sync import operations as reading
from tests.faults.points import replace_everywhere

LEASE_SECONDS = 20  # what is killed is taken over at once; on a busy machine a call may take its time
SHORT_LEASE_SECONDS = 2  # where processes stand still until others have their leases
LEASE = "FAULTS_LEASE"
QUIET_SECONDS = 1
SURE_SECONDS = 2
BATCH = 40
CLOCKS = "FAULTS_CLOCKS"  # how wrong the clocks of the workers are, one after the other, as a list of seconds


def set_clock(seconds: float) -> None:
    """In one process: whatever the product asks for the time sees it wrong by so much. Time that passes is measured as ever."""
    right, at = timezone.now, time.time

    def wrong_now() -> dt.datetime:
        return right() + dt.timedelta(seconds=seconds)

    replace_everywhere(clock.now, wrong_now)
    timezone.now = wrong_now
    time.time = lambda: at() + seconds


def hasten(written_at_once: int) -> None:
    """Called once in each process that works. The order of these times to each other is as in production: a lease outlives a
    call, and what was not found is asked for again after a while."""
    work.LEASE_SECONDS = int(os.environ.get(LEASE, LEASE_SECONDS))
    connection.settings_dict |= with_patience(connection.settings_dict, work.LEASE_SECONDS)
    work.RETRY_SECONDS = (0.2, 0.5, 1, 1, 1)
    uncertain.QUIET_SECONDS = QUIET_SECONDS
    uncertain.SURE_SECONDS = SURE_SECONDS
    uncertain.SENDER_AGAIN = dt.timedelta(seconds=0.5)
    reversal_running.PAUSE = dt.timedelta(seconds=0.5)
    reading.OFFLINE_RETRY = dt.timedelta(seconds=0.5)
    planning.BATCH = BATCH
    for found in connectors().values():
        for stream in found.streams:
            if isinstance(stream, WritableStream):
                type(stream).batch_size = min(stream.batch_size, written_at_once)
                type(stream).void_batch_size = min(stream.void_batch_size, written_at_once)
