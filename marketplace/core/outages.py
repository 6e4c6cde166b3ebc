"""Whose trouble an error is: that of the database or the cache, or of what was being done."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError
from psycopg.errors import InternalError_
from redis import RedisError


def is_outage(error: BaseException | None) -> bool:
    """Whether the database or the cache could not be asked: gone, going, full, waited for too long, or in trouble of its own that it has
    no name for (XX000: a file that may not grow). Wrapped errors count."""
    while error is not None:
        if isinstance(error, OperationalError | InterfaceError | InternalError_ | RedisError):
            return True
        error = error.__cause__
    return False
