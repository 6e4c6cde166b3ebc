"""Rate limits as providers count them: sliding windows, calls at the same time, and leaky buckets."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connectors.sdk.manifest import Limit


@dataclass
class Window:
    """What was spent lately, oldest first."""

    spent: deque[tuple[dt.datetime, int]] = field(default_factory=deque)
    total: int = 0

    def forget(self, before: dt.datetime) -> None:
        while self.spent and self.spent[0][0] <= before:
            self.total -= self.spent.popleft()[1]

    def add(self, now: dt.datetime, amount: int) -> None:
        self.spent.append((now, amount))
        self.total += amount

    def frees_at(self, amount: int) -> dt.datetime:
        """The moment of the spending whose end makes room for `amount`."""
        freed = 0
        for moment, spent in self.spent:
            freed += spent
            if freed >= amount:
                return moment
        return self.spent[-1][0]


@dataclass
class Bucket:
    """A leaky bucket: holds `capacity` points, restored steadily."""

    capacity: float
    restore_per_second: float
    available: float
    at: dt.datetime

    def restore(self, now: dt.datetime) -> None:
        seconds = (now - self.at).total_seconds()
        self.available = min(self.capacity, self.available + seconds * self.restore_per_second)
        self.at = now

    def take(self, amount: float) -> float | None:
        """Take and return None, or return the seconds until `amount` will be there."""
        if amount <= self.available:
            self.available -= amount
            return None
        return (amount - self.available) / self.restore_per_second

    def give_back(self, amount: float) -> None:
        self.available = min(self.capacity, self.available + amount)


class Throttles:
    """Every window and bucket of one simulator. `speed` shortens all windows, so that tests need not wait."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._windows: dict[tuple[str, Limit], Window] = {}
        self._buckets: dict[str, Bucket] = {}

    def clear(self) -> None:
        self._windows.clear()
        self._buckets.clear()

    def spend(
        self,
        key: str,
        counts: Mapping[str, int],
        limits: Sequence[Limit],
        *,
        now: dt.datetime,
        at_the_same_time: int,
    ) -> float | None:
        """Spend from every limit concerned, or from none and return the seconds to wait."""
        waits = [0.0]
        spending: list[tuple[Window, int]] = []
        for limit in limits:
            amount = counts.get(limit.counts, 0)
            if limit.seconds == 0:
                waits.append(1.0 / self._speed if at_the_same_time > limit.amount else 0.0)
            elif amount:
                window = self._window(key, limit, now)
                waits.append(self._wait(window, limit, amount, now))
                spending.append((window, amount))
        if max(waits) > 0:
            return max(waits)
        for window, amount in spending:
            window.add(now, amount)
        return None

    def remaining(self, key: str, limit: Limit, *, now: dt.datetime) -> int:
        return max(0, limit.amount - self._window(key, limit, now).total)

    def bucket(self, key: str, *, capacity: float, restore_per_second: float, now: dt.datetime) -> Bucket:
        bucket = self._buckets.setdefault(key, Bucket(capacity, 0.0, capacity, now))
        bucket.restore_per_second = restore_per_second * self._speed
        bucket.restore(now)
        return bucket

    def _window(self, key: str, limit: Limit, now: dt.datetime) -> Window:
        window = self._windows.setdefault((key if limit.per == "connection" else "", limit), Window())
        window.forget(now - dt.timedelta(seconds=limit.seconds / self._speed))
        return window

    def _wait(self, window: Window, limit: Limit, amount: int, now: dt.datetime) -> float:
        missing = window.total + amount - limit.amount
        if missing <= 0 or not window.spent:
            return 0.0
        free_at = window.frees_at(missing) + dt.timedelta(seconds=limit.seconds / self._speed)
        return max((free_at - now).total_seconds(), 0.001)
