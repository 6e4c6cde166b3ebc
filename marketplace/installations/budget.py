"""The shared allowance of a provider: all workers spend from the same counters, in the provider's own units.

Three things limit a call, and each is waited for: windows that slide, what the provider said is left, and calls at the same time.
Redis is not the truth here, the provider is: losing the counters costs a 429 at most, and without Redis each call waits a little.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from connectors.sdk.client import LONGEST_FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS
from connectors.sdk.errors import RateLimited
from connectors.sdk.manifest import Limit, Manifest
from marketplace.installations.counters import CountersUnreachable, counters

LONGEST_TURN_WAIT_SECONDS = 30.0
WITHOUT_REDIS_SECONDS = 0.2
TURN_POLL_SECONDS = 0.05
TURN_LEASE_SECONDS = 120.0  # longer than any call; a worker that died gives its turn back after so long
SLICES = 30
A_DAY = 86_400
#: A call counts at the provider when it arrives, and some take longer than others: windows are kept open a little longer. Where a
#: second is the window, the next ten would otherwise overtake the last of the ten before.
MARGIN_SECONDS = 0.15
STEPPED_BACK_MS = (
    1000  # a clock that is kept right steps back by less; what was noted further ahead of now says nothing
)


@dataclass(frozen=True, kw_only=True)
class SharedBudget:
    """One connection's view of its provider's limits; `speed` shortens the windows of an accelerated simulator."""

    manifest: Manifest
    environment: str
    organisation_id: str
    speed: float = 1

    def spend(self, counts: str, amount: int, *, longest_wait: float = LONGEST_WAIT_SECONDS) -> None:
        """Wait for room in every window and in what the provider left. Raises `RateLimited` when a worker would be held too long."""
        limits = [limit for limit in self.manifest.limits if limit.seconds and limit.counts == counts]
        if not limits:
            return
        windows = [self._key(limit, f"{counts}:{limit.seconds}") for limit in limits]
        keys = [*windows, self._own_key(f"{counts}:reported"), self._own_key("refused")]
        arguments: list[int] = [amount, int(counts == "cost")]
        for limit in limits:
            arguments += [limit.amount, self._window(limit)]
        self._wait_for(lambda: float(counters().run(_SPEND, keys, *arguments)) / 1000, longest_wait)

    def report(self, counts: str, remaining: int, restore_per_second: float) -> None:
        """What the provider said is left, and how fast it comes back: every worker goes by it from now on."""
        sizes = [
            (limit.seconds, limit.amount) for limit in self.manifest.limits if limit.seconds and limit.counts == counts
        ]
        if not sizes or restore_per_second <= 0:
            return
        rate, full = restore_per_second * self.speed, max(remaining, min(sizes)[1])
        try:
            counters().run(_REPORT, [self._own_key(f"{counts}:reported")], remaining, rate, full)
        except CountersUnreachable:
            return  # told already; the provider will say it again

    def room(self) -> int:
        """What is left in the windows that are too long to be waited for; the shorter ones only slow down."""
        counted = [limit for limit in self.manifest.limits if limit.seconds and limit.counts != "cost"]
        limits = [limit for limit in counted if self._window(limit) > LONGEST_FIRST_WAIT_SECONDS * 1000]
        windows = [self._key(limit, f"{limit.counts}:{limit.seconds}") for limit in limits]
        sizes = [limit.amount for limit in limits]
        spans = [self._window(limit) for limit in limits]
        try:
            keys = [*windows, self._own_key("call:reported"), self._own_key("refused")]
            return int(counters().run(_ROOM, keys, *sizes, *spans))
        except CountersUnreachable:
            return 1

    @property
    def is_counted_by_the_day(self) -> bool:
        """Whether there is a window so long that what is left of it says something to people."""
        return any(limit.counts != "cost" and limit.seconds >= A_DAY for limit in self.manifest.limits)

    def refused(self, retry_after: float) -> None:
        """The provider is believed over our own counting: nobody calls for this connection until then."""
        try:
            counters().run(_REFUSED, [self._own_key("refused")], max(1, int(retry_after * 1000)))
        except CountersUnreachable:
            return  # told already; each worker hears it from the provider itself

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold one of the provider's places for calls at the same time. Raises `RateLimited` when none comes free in time."""
        limit = min((limit for limit in self.manifest.limits if not limit.seconds), key=_size, default=None)
        if limit is None:
            yield
            return
        key, mine = self._key(limit, "turns"), uuid.uuid4().hex
        lease = int(TURN_LEASE_SECONDS * 1000)
        self._wait_for(
            lambda: TURN_POLL_SECONDS * int(counters().run(_TAKE_TURN, [key], limit.amount, lease, mine)),
            LONGEST_TURN_WAIT_SECONDS,
        )
        try:
            yield
        finally:
            _give_back(key, mine)

    def _wait_for(self, ask: Callable[[], float], longest_wait: float) -> None:
        """`ask` answers the seconds to wait before asking again, 0 when there is room."""
        deadline = time.monotonic() + longest_wait
        try:
            while wait := ask():
                if time.monotonic() + wait > deadline:
                    words = f"The allowance of {self.manifest.name} is used up for the moment."
                    raise RateLimited(words, retry_after=wait)
                time.sleep(wait)
        except CountersUnreachable:
            time.sleep(WITHOUT_REDIS_SECONDS)

    def _window(self, limit: Limit) -> int:
        """In milliseconds."""
        return max(1, int((limit.seconds + MARGIN_SECONDS) * 1000 / self.speed))

    def _key(self, limit: Limit, name: str) -> str:
        owner = self.organisation_id if limit.per == "connection" else "*"
        return f"budget:{self.manifest.slug}:{self.environment}:{owner}:{name}"

    def _own_key(self, name: str) -> str:
        return f"budget:{self.manifest.slug}:{self.environment}:{self.organisation_id}:{name}"


def _size(limit: Limit) -> int:
    return limit.amount


def _give_back(key: str, turn: str) -> None:
    try:
        counters().run("return redis.call('ZREM', KEYS[1], ARGV[1])", [key], turn)
    except CountersUnreachable:
        return  # its lease runs out


# KEYS: a hash of slices per limit, then what the provider reported, then until when it refused. ARGV: what to spend, whether the report replaces our windows (the
# points of a calculated cost are the provider's to count: it gives back what a query did not use), then per limit its size and its
# window in ms. Answers 0 when spent, else the ms until there may be room.
# A window is counted in slices and the oldest one wholly, so no window of that length, wherever it begins, holds more than its size.
# What was counted or reported in the future is forgotten: the clock was set back since, or another release counted in other slices.
# What is larger than a whole allowance goes when nothing else was spent: the provider says what becomes of it.
_SPEND = f"""
local spend, replaces = tonumber(ARGV[1]), ARGV[2] == '1'
local windows, reported = #KEYS - 2, KEYS[#KEYS - 1]
local wait = math.max(0, redis.call('PTTL', KEYS[#KEYS]))
local told = redis.call('HMGET', reported, 'left', 'at', 'rate', 'full')
local available
if told[2] and tonumber(told[2]) > now + {STEPPED_BACK_MS} then
  redis.call('DEL', reported)
  told = {{}}
end
if told[1] then
  available = math.min(tonumber(told[4]), told[1] + (now - told[2]) * told[3] / 1000)
  wait = math.max(wait, (math.min(spend, tonumber(told[4])) - available) / told[3] * 1000)
end
local slices = {{}}
for i = 1, windows do
  local size, window = tonumber(ARGV[i * 2 + 1]), tonumber(ARGV[i * 2 + 2])
  local width = math.ceil(window / {SLICES})
  local count = math.ceil(window / width)
  slices[i] = {{ math.floor(now / width), (count + 2) * width }}
  local kept, used, stored = {{}}, 0, redis.call('HGETALL', KEYS[i])
  for j = 1, #stored, 2 do
    local slice = tonumber(stored[j])
    if slice < slices[i][1] - count or slice > slices[i][1] + 1 then
      redis.call('HDEL', KEYS[i], stored[j])
    else
      used = used + stored[j + 1]
      kept[#kept + 1] = {{ slice, tonumber(stored[j + 1]) }}
    end
  end
  if used > 0 and used + spend > size and not (available and replaces) then
    table.sort(kept, function(a, b) return a[1] < b[1] end)
    local left, until_slice = used, kept[1][1]
    for _, slice in ipairs(kept) do
      if left == 0 or left + spend <= size then break end
      left = left - slice[2]
      until_slice = slice[1]
    end
    wait = math.max(wait, (until_slice + count + 1) * width - now)
  end
end
if wait > 0 then return math.ceil(wait) end
for i = 1, windows do
  redis.call('HINCRBY', KEYS[i], string.format('%d', slices[i][1]), spend)
  redis.call('PEXPIRE', KEYS[i], slices[i][2])
end
if available then redis.call('HSET', reported, 'left', tostring(available - spend), 'at', string.format('%d', now)) end
return 0
"""
# KEYS: as for spending. ARGV: the sizes of the windows, then their lengths in ms. Answers how much fits into each of them.
_ROOM = f"""
if redis.call('EXISTS', KEYS[#KEYS]) == 1 then return 0 end
local windows, room = #KEYS - 2, 1000000
for i = 1, windows do
  local window, used, stored = tonumber(ARGV[windows + i]), 0, redis.call('HGETALL', KEYS[i])
  local width = math.ceil(window / {SLICES})
  local latest = math.floor(now / width)
  for j = 1, #stored, 2 do
    local slice = tonumber(stored[j])
    if slice >= latest - math.ceil(window / width) and slice <= latest + 1 then used = used + stored[j + 1] end
  end
  room = math.min(room, tonumber(ARGV[i]) - used)
end
local told = redis.call('HMGET', KEYS[#KEYS - 1], 'left', 'at', 'rate', 'full')
if told[1] and tonumber(told[2]) <= now + {STEPPED_BACK_MS} then room = math.min(room, tonumber(told[4]), told[1] + (now - told[2]) * told[3] / 1000) end
return math.max(0, math.floor(room))
"""
# Once everything would have come back, the report says nothing any more.
_REPORT = """
local remaining, rate, full = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'left', ARGV[1], 'at', string.format('%d', now), 'rate', ARGV[2], 'full', ARGV[3])
redis.call('PEXPIRE', KEYS[1], math.max(1, math.ceil((full - math.min(0, remaining)) / rate * 1000)))
return 0
"""
_REFUSED = """
if tonumber(ARGV[1]) > redis.call('PTTL', KEYS[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return 0
"""
# ARGV: how many at the same time, the length of a lease in ms, the new turn. Answers 0 when it was taken, else 1.
_TAKE_TURN = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 1 end
redis.call('ZADD', KEYS[1], string.format('%d', now + ARGV[2]), ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0
"""
