"""The shared allowance of a provider: all workers spend from the same counters, in the provider's own units.

Three things limit a call, and each is waited for: windows that slide, what the provider said is left, and calls at the same time.
Redis is not the truth here, the provider is: losing the counters costs a 429 at most, and without Redis each call waits a little.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

from connectors.sdk.client import LONGEST_FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS
from connectors.sdk.errors import AllowanceUsed
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
#: Between two of our moments, told in whole milliseconds, up to one less has passed than they say: whoever waited for exactly what
#: was missing would come that much too early.
RESTORED_LATER_MS = 2


class _Report(NamedTuple):
    """What a provider said is left, for the key of a report."""

    key: str
    remaining: int
    rate: float
    full: int


class _Asked(NamedTuple):
    """What a call spends of the windows that count it, as `_BEGIN` takes it."""

    keys: Sequence[str]
    arguments: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class SharedBudget:
    """One connection's view of its provider's limits; `speed` shortens the windows of an accelerated simulator."""

    manifest: Manifest
    environment: str
    organisation_id: str
    speed: float = 1

    @contextmanager
    def call(self, spends: Mapping[str, int], *, longest_wait: float = LONGEST_WAIT_SECONDS) -> Iterator[None]:
        """Wait for room in every window, in what the provider left, and for one of its places for calls at the same time: all are
        taken together, with one question. Raises `AllowanceUsed` when a worker would be held too long.

        What is reported inside is told with giving the place back.
        """
        asked, place = self._asked(spends), self._place()
        mine = uuid.uuid4().hex
        if asked.keys or place:
            self._wait_for(asked, place, mine, longest_wait)
        told: list[_Report] = []
        outer = _told.set(told)
        try:
            yield
        finally:
            _told.reset(outer)
            self._end(place, mine, told)

    def report(self, counts: str, remaining: int, restore_per_second: float) -> None:
        """What the provider said is left, and how fast it comes back: every worker goes by it from now on."""
        sizes = [
            (limit.seconds, limit.amount) for limit in self.manifest.limits if limit.seconds and limit.counts == counts
        ]
        if not sizes or restore_per_second <= 0:
            return
        rate, full = restore_per_second * self.speed, max(remaining, min(sizes)[1])
        report = _Report(self._own_key(f"{counts}:reported"), remaining, rate, full)
        told = _told.get()
        if told is None:
            self._end(None, "", [report])
        else:
            told.append(report)

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

    def _asked(self, spends: Mapping[str, int]) -> _Asked:
        keys: list[str] = []
        arguments: list[int] = []
        for counts, amount in spends.items():
            limits = [limit for limit in self.manifest.limits if limit.seconds and limit.counts == counts]
            if not limits:
                continue
            keys += [
                self._own_key(f"{counts}:reported"),
                *(self._key(limit, f"{counts}:{limit.seconds}") for limit in limits),
            ]
            arguments += [amount, int(counts == "cost"), len(limits)]
            for limit in limits:
                arguments += [limit.amount, self._window(limit)]
        return _Asked(keys, arguments)

    def _place(self) -> Limit | None:
        return min((limit for limit in self.manifest.limits if not limit.seconds), key=_size, default=None)

    def _wait_for(self, asked: _Asked, place: Limit | None, mine: str, longest_wait: float) -> None:
        until: dict[bool, float] = {}
        try:
            while answer := self._begin(asked, place, mine):
                is_for_place = answer < 0
                wait, longest = (
                    (TURN_POLL_SECONDS, LONGEST_TURN_WAIT_SECONDS) if is_for_place else (answer / 1000, longest_wait)
                )
                at = time.monotonic()
                if at + wait > until.setdefault(is_for_place, at + longest):
                    words = f"The allowance of {self.manifest.name} is used up for the moment."
                    raise AllowanceUsed(words, retry_after=wait)
                time.sleep(wait)
        except CountersUnreachable:
            time.sleep(WITHOUT_REDIS_SECONDS * (bool(asked.keys) + bool(place)))

    def _begin(self, asked: _Asked, place: Limit | None, mine: str) -> int:
        """0 when all of it was taken; else the milliseconds until there may be room, or less than nothing while there is no place."""
        keys = [self._own_key("refused"), self._key(place, "turns") if place else "", *asked.keys]
        lease = int(TURN_LEASE_SECONDS * 1000)
        return int(counters().run(_BEGIN, keys, place.amount if place else 0, lease, mine, *asked.arguments))

    def _end(self, place: Limit | None, mine: str, told: Sequence[_Report]) -> None:
        if place is None and not told:
            return
        keys = [self._key(place, "turns") if place else "", *(report.key for report in told)]
        arguments = [value for report in told for value in (report.remaining, report.rate, report.full)]
        try:
            counters().run(_END, keys, mine, *arguments)
        except CountersUnreachable:
            return  # the place's lease runs out, and the provider will say again what is left

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


_told: ContextVar[list[_Report] | None] = ContextVar("told_in_this_call", default=None)

# KEYS: until when the provider refused, who holds its places, then per kind of unit what the provider reported and a hash of slices per limit. ARGV: how many places
# (0: any number), the length of a lease on one in ms, the new holder, then per kind what to spend, whether the report replaces our windows (the
# points of a calculated cost are the provider's to count: it gives back what a query did not use), how many limits, and per limit its size and its
# window in ms. Answers 0 when all was taken, else the ms until there may be room, or -1 when there is room and no place.
# A window is counted in slices and the oldest one wholly, so no window of that length, wherever it begins, holds more than its size.
# What was counted or reported in the future is forgotten: the clock was set back since, or another release counted in other slices.
# What is larger than a whole allowance goes when nothing else was spent: the provider says what becomes of it.
_BEGIN = f"""
local wait = math.max(0, redis.call('PTTL', KEYS[1]))
local key, argument, slices, lefts = 3, 4, {{}}, {{}}
while key <= #KEYS do
  local reported, spend, replaces, limits = KEYS[key], tonumber(ARGV[argument]), ARGV[argument + 1] == '1', tonumber(ARGV[argument + 2])
  local told = redis.call('HMGET', reported, 'left', 'at', 'rate', 'full')
  local available
  if told[2] and tonumber(told[2]) > now + {STEPPED_BACK_MS} then
    redis.call('DEL', reported)
    told = {{}}
  end
  if told[1] then
    local needed, since = math.min(spend, tonumber(told[4])), now - told[2] - {RESTORED_LATER_MS}
    available = math.min(tonumber(told[4]), told[1] + math.max(0, since) * told[3] / 1000)
    if needed > available then wait = math.max(wait, (needed - told[1]) / told[3] * 1000 - since) end
    lefts[reported] = available - spend
  end
  for i = 1, limits do
    local hash, size, window = KEYS[key + i], tonumber(ARGV[argument + 1 + i * 2]), tonumber(ARGV[argument + 2 + i * 2])
    local width = math.ceil(window / {SLICES})
    local count = math.ceil(window / width)
    local current = math.floor(now / width)
    slices[#slices + 1] = {{ hash, current, (count + 2) * width, spend }}
    local kept, used, stored = {{}}, 0, redis.call('HGETALL', hash)
    for j = 1, #stored, 2 do
      local slice = tonumber(stored[j])
      if slice < current - count or slice > current + 1 then
        redis.call('HDEL', hash, stored[j])
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
  key, argument = key + 1 + limits, argument + 3 + limits * 2
end
if wait > 0 then return math.ceil(wait) end
local places = tonumber(ARGV[1])
if places > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  if redis.call('ZCARD', KEYS[2]) >= places then return -1 end
  redis.call('ZADD', KEYS[2], string.format('%d', now + ARGV[2]), ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
for _, slice in ipairs(slices) do
  redis.call('HINCRBY', slice[1], string.format('%d', slice[2]), slice[4])
  redis.call('PEXPIRE', slice[1], slice[3])
end
for reported, left in pairs(lefts) do
  redis.call('HSET', reported, 'left', tostring(left), 'at', string.format('%d', now))
end
return 0
"""
# KEYS: the windows, what the provider reported, and until when it refused. ARGV: the sizes of the windows, then their lengths in ms. Answers how much fits into each of them.
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
# KEYS: who holds the places, then what was reported. ARGV: the holder who goes, then per report what is left, the rate and the whole. Once everything would have come back,
# a report says nothing any more.
_END = """
if KEYS[1] ~= '' then redis.call('ZREM', KEYS[1], ARGV[1]) end
for i = 2, #KEYS do
  local remaining, rate, full = ARGV[i * 3 - 4], ARGV[i * 3 - 3], ARGV[i * 3 - 2]
  redis.call('HSET', KEYS[i], 'left', remaining, 'at', string.format('%d', now), 'rate', rate, 'full', full)
  redis.call('PEXPIRE', KEYS[i], math.max(1, math.ceil((full - math.min(0, tonumber(remaining))) / rate * 1000)))
end
return 0
"""
_REFUSED = """
if tonumber(ARGV[1]) > redis.call('PTTL', KEYS[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return 0
"""
