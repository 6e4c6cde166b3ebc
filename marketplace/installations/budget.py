"""The shared allowance of a provider: all workers spend from the same counters, in the provider's own units.

Each limit is a sequence of fixed windows in Redis; several limits are spent together or not at all. Redis is not the truth here, the
provider is: losing the counters costs a 429 at most, and without Redis each call still waits a little.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import cache

import redis
from django.conf import settings

from connectors.sdk.errors import RateLimited
from connectors.sdk.manifest import Limit, Manifest

log = logging.getLogger(__name__)

LONGEST_WAIT_SECONDS = 20.0
WITHOUT_REDIS_SECONDS = 0.2

# KEYS: a counter per limit. ARGV: now in ms, then per limit its size, its window in ms, and what to spend.
# Answers 0 when spent, else the milliseconds until the fullest window turns.
_SPEND = """
local now = tonumber(ARGV[1])
local wait = 0
for i = 1, #KEYS do
  local size, window, spend = tonumber(ARGV[i * 3 - 1]), tonumber(ARGV[i * 3]), tonumber(ARGV[i * 3 + 1])
  local used = tonumber(redis.call('GET', KEYS[i] .. ':' .. math.floor(now / window)) or '0')
  if used > 0 and used + spend > size then
    wait = math.max(wait, window - now % window)
  end
end
if wait > 0 then return wait end
for i = 1, #KEYS do
  local window = tonumber(ARGV[i * 3])
  local key = KEYS[i] .. ':' .. math.floor(now / window)
  redis.call('INCRBY', key, ARGV[i * 3 + 1])
  redis.call('PEXPIRE', key, window * 2)
end
return 0
"""


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL)


@dataclass(frozen=True, kw_only=True)
class SharedBudget:
    """One connection's view of its provider's limits; `speed` shortens the windows of an accelerated simulator."""

    manifest: Manifest
    connection_key: str
    speed: float = 1

    def spend(self, counts: str, amount: int) -> None:
        """Wait for room in every window. Raises `RateLimited` when that is longer than a worker should be held."""
        limits = [limit for limit in self.manifest.limits if limit.seconds and limit.counts == counts]
        if not limits:
            return
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        while wait := self._try(limits, amount):
            if time.monotonic() + wait > deadline:
                raise RateLimited(f"The allowance of {self.manifest.name} is used up for the moment.", retry_after=wait)
            time.sleep(wait)

    def report(self, counts: str, remaining: int, restore_per_second: float) -> None:
        """The provider says nothing is left: do not spend for as long as it takes to restore a little."""
        if remaining <= 0 and restore_per_second > 0:
            time.sleep(min(LONGEST_WAIT_SECONDS, 10 / restore_per_second / self.speed))

    def _try(self, limits: list[Limit], amount: int) -> float:
        keys = [self._key(limit) for limit in limits]
        arguments: list[int] = [int(time.time() * 1000)]
        for limit in limits:
            arguments += [limit.amount, max(1, int(limit.seconds * 1000 / self.speed)), amount]
        try:
            return float(_redis().eval(_SPEND, len(keys), *keys, *arguments)) / 1000
        except redis.RedisError:
            log.warning("no shared allowance: Redis is unreachable; calls keep a distance instead")
            time.sleep(WITHOUT_REDIS_SECONDS)
            return 0.0

    def _key(self, limit: Limit) -> str:
        owner = self.connection_key if limit.per == "connection" else "all"
        return f"budget:{self.manifest.slug}:{owner}:{limit.counts}:{limit.seconds}"
