"""The clock, read at the edge and passed inward; tests and rehearsals move it."""

from __future__ import annotations

import datetime as dt

from django.utils import timezone


def now() -> dt.datetime:
    """The application's instant, aware."""
    return timezone.now()
