"""How far long work is, for the pages that wait for it: n of m, told by the worker as it goes.

It is told through the cache, not the database, so that it shows at once, also from inside a transaction. Nothing depends on it: without
the cache a page shows a bar without figures, and a worker that takes work over tells again.
"""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import dataclass

from django.core.cache import cache

from marketplace.core.clock import now

log = logging.getLogger(__name__)

KEPT_SECONDS = 3600
LEAST_SEEN_SECONDS = 5.0  # a pace seen for less says nothing
QUIET_SECONDS = 60.0  # a cache that does not answer is left in peace for so long


@dataclass(frozen=True)
class Progress:
    done: int
    total: int


@dataclass
class _Outage:
    until: float = float("-inf")


_outage = _Outage()


def tell_progress(*, tenant_id: uuid.UUID, kind: str, key: str, done: int, total: int) -> None:
    """What the worker that does this work has done of it."""
    if time.monotonic() < _outage.until:
        return
    try:
        cache.set(_name(tenant_id, kind, key), [done, total], timeout=KEPT_SECONDS)
    except Exception as error:  # whichever client library the cache uses
        _outage.until = time.monotonic() + QUIET_SECONDS
        log.warning("pages do not see how far the work is: %s", error)


def progress_of_work(*, tenant_id: uuid.UUID, kind: str, key: str) -> Progress | None:
    """None when nothing was told yet."""
    try:
        told = cache.get(_name(tenant_id, kind, key))
    except Exception as error:  # whichever client library the cache uses
        log.warning("no figures of how far the work is: %s", error)
        return None
    return Progress(*told) if told and told[1] else None


def time_left(*, tenant_id: uuid.UUID, what: str, done: int, total: int) -> str:
    """How long it will take at the pace seen since a page first showed it, in words; nothing while that says little."""
    if not done < total:
        return ""
    try:
        name, seen = _name(tenant_id, "pace", what), (done, now().timestamp())
        first_done, first_at = cache.get_or_set(name, seen, timeout=KEPT_SECONDS) or seen
        if done < first_done:  # it began anew
            cache.set(name, seen, timeout=KEPT_SECONDS)
            return ""
    except Exception as error:  # whichever client library the cache uses
        log.warning("no estimate of how long the work takes: %s", error)
        return ""
    elapsed = seen[1] - first_at
    if elapsed < LEAST_SEEN_SECONDS or done == first_done:
        return ""
    return duration_words((total - done) * elapsed / (done - first_done))


def duration_words(seconds: float) -> str:
    """As coarse as an estimate is."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute left"
    if minutes < 90:
        return f"about {minutes} minute{'' if minutes == 1 else 's'} left"
    return f"about {round(minutes / 60)} hours left"


def _name(tenant_id: uuid.UUID, kind: str, key: str) -> str:
    return f"progress:{tenant_id}:{kind}:{key}"
