"""The clock, read at the edge and passed inward; tests and rehearsals move it."""

from __future__ import annotations

import datetime as dt

from django.db import connection
from django.utils import timezone


def now() -> dt.datetime:
    """The application's instant, aware."""
    return timezone.now()


def database_now() -> dt.datetime:
    """The database's instant: what leases are measured with, since hosts' clocks may differ."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (instant,) = cursor.fetchone()
    return instant
