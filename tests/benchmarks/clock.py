"""A clock that only waiting moves, shared by one process of the product, its allowance in Redis and the simulators.

Hours of a provider's limits then pass exactly and in no time: what has elapsed is what was waited for, whatever else this machine
was doing. The product's own computing takes no time on it. To be made before anything else is imported: modules keep `time.sleep`.
"""

from __future__ import annotations

import datetime as dt
import time
from types import SimpleNamespace

import httpx
import redis

#: What scripts see in Redis. Nothing expires there: it would by the real clock, while this one stands still.
NOW = """
local server = redis
local redis = {{ call = function(name, ...) if name == 'PEXPIRE' then return 1 end return server.call(name, ...) end }}
local now = tonumber(server.call('GET', '{key}'))
"""
KEY = "benchmark:clock"

real_monotonic = time.monotonic


class VirtualClock:
    """`cost` is the CPU time that moving it took, which is not the product's."""

    def __init__(self) -> None:
        self.waited = 0.0
        self.cost = 0.0
        self._began = time.time()
        self._simulators: list[httpx.Client] = []
        self._redis: redis.Redis | None = None
        time.monotonic = lambda: real_monotonic() + self.waited
        time.sleep = self.sleep

    def take_along(self, simulators: list[str]) -> None:
        """Once Django is set up: stop the clocks of these simulators, and have the product and Redis see this one."""
        from django.conf import settings  # noqa: PLC0415 -- this clock has to be there before the product is imported

        from marketplace.core import clock  # noqa: PLC0415 -- as above
        from marketplace.installations import counters  # noqa: PLC0415 -- as above

        clock.timezone = SimpleNamespace(now=self.now)  # type: ignore[attr-defined, assignment]
        self._redis = redis.Redis.from_url(settings.REDIS_URL)
        counters.NOW = NOW.format(key=KEY)
        self._simulators = [httpx.Client(base_url=address, timeout=600) for address in simulators]
        self._tell({"frozen": True})

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.waited)

    def sleep(self, seconds: float) -> None:
        began = time.process_time()
        self.waited += seconds
        self._tell({"advance_seconds": seconds})
        self.cost += time.process_time() - began

    def _tell(self, command: dict[str, object]) -> None:
        if self._redis is not None:
            self._redis.set(KEY, int((self._began + self.waited) * 1000))
        for simulator in self._simulators:
            simulator.post("/_sim/clock", json=command).raise_for_status()
