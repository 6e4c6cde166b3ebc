"""Counters all workers share, in Redis. They are hints, never the truth: losing them costs a provider's 429 at most."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

log = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
TOLD_AGAIN_SECONDS = 60.0
NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""


class CountersUnreachable(Exception):
    """There is nothing to agree through at the moment."""


@dataclass
class Counters:
    """One Redis server. An outage is logged once a minute by each process, however many calls meet it."""

    url: str
    told_at: float = field(default=float("-inf"))

    def __post_init__(self) -> None:
        self._redis = redis.Redis.from_url(
            self.url,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def run(self, script: str, keys: Sequence[str], *arguments: str | float) -> Any:
        """Run a Lua script, which finds the server's `now` in milliseconds. Raises `CountersUnreachable`."""
        text = NOW + script
        try:
            return self._run(text, keys, arguments)
        except redis.ResponseError:
            raise
        except redis.RedisError as error:
            self._tell(error)
            raise CountersUnreachable(str(error)) from error

    def _run(self, text: str, keys: Sequence[str], arguments: Sequence[str | float]) -> Any:
        """By its digest: the server keeps what it ran once, until it is started anew."""
        try:
            return self._redis.evalsha(_digest(text), len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            return self._redis.eval(text, len(keys), *keys, *arguments)

    def _tell(self, error: redis.RedisError) -> None:
        if time.monotonic() - self.told_at >= TOLD_AGAIN_SECONDS:
            self.told_at = time.monotonic()
            log.warning("no shared allowance: Redis is unreachable; calls keep a distance instead: %s", error)


@cache
def _digest(text: str) -> str:
    """As the server names a script."""
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


def counters() -> Counters:
    return _counters_at(settings.REDIS_URL)


@cache
def _counters_at(url: str) -> Counters:
    return Counters(url)
