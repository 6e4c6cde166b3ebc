"""The clock, read at the edge and passed inward; tests and rehearsals move it."""

from __future__ import annotations

import datetime as dt

from django.db import connection
from django.utils import timezone


def now() -> dt.datetime:
    """The application's instant, aware."""
    return timezone.now()


def shared_now() -> dt.datetime:
    """The database's instant: the one clock all hosts go by, for what one of them begins and another ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        found: dt.datetime = cursor.fetchone()[0]
        return found
