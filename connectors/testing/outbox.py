"""Webhooks as a provider sends them: in order, signed at each attempt, repeated on its schedule, logged."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import httpx

from connectors.testing.store import Body, Collection

#: Shuffled deliveries are held back by up to so many real seconds, whatever the simulator's speed.
SHUFFLED_WITHIN = 0.5


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One delivery. `headers` are its own (a topic, say); `Simulator.webhook_headers` adds signatures.

    `url` is empty for a provider that sends everything to the one address of the connector.
    """

    event_id: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


class Sender(Protocol):
    """What the outbox needs of its simulator."""

    lock: threading.RLock
    webhook_retries: tuple[float, ...]
    webhook_timeout: float

    def webhook_headers(self, delivery: Delivery) -> dict[str, str]: ...

    def accepts_webhook_answer(self, status: int) -> bool: ...

    def commit(self) -> None: ...


@dataclass(kw_only=True)
class Habits:
    """How well the sender behaves; percentages are of deliveries, drawn from `seed`."""

    url: str = ""
    drop_percent: float = 0
    duplicate_percent: float = 0
    shuffle: bool = False
    paused: bool = False
    seed: int = 0


class Outbox:
    """The queue and the sender's log. A delivery that was queued before a restart is sent after it."""

    def __init__(self, sender: Sender, log: Collection, habits: Habits, *, now: Callable[[], str], speed: float):
        self._sender = sender
        self._log = log
        self._now = now
        self._speed = speed
        self._random = Random(habits.seed)
        self._due: list[tuple[float, int, str]] = []
        self._order = 0
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.habits = habits
        self._requeue()

    def behave(self, changes: Mapping[str, Any]) -> None:
        """Change habits; a new seed starts a new series of draws. Raises TypeError on an unknown habit."""
        self.habits = Habits(**{**vars(self.habits), **changes})
        if "seed" in changes:
            self._random = Random(self.habits.seed)
        with self._wake:
            self._wake.notify()
        self._start()

    def queue(self, id: str, organisation: str, delivery: Delivery) -> None:
        """Called under the simulator's lock."""
        entry = {
            "id": id,
            "event_id": delivery.event_id,
            "organisation": organisation,
            "url": delivery.url,
            "headers": dict(delivery.headers),
            "body": delivery.body.decode(),
            "queued_at": self._now(),
            "status": "queued",
            "answers": [],
            "attempts": 0,
            "delivered_at": None,
        }
        is_dropped = self._random.uniform(0, 100) < self.habits.drop_percent
        is_twice = self._random.uniform(0, 100) < self.habits.duplicate_percent
        if is_dropped:
            entry["status"] = "dropped"
        self._log.put(id, entry)
        if is_dropped:
            return
        for _ in range(2 if is_twice else 1):
            self._schedule(id, self._random.uniform(0, SHUFFLED_WITHIN) if self.habits.shuffle else 0.0)
        self._start()

    def deliveries(self) -> list[Body]:
        """The sender's log, oldest first."""
        return self._log.values()

    def statuses(self) -> Counter[str]:
        """How many deliveries stand where."""
        return Counter(str(entry["status"]) for entry in self._log.values())

    def clear(self) -> None:
        with self._wake:
            self._due.clear()
        self._log.clear()

    def close(self) -> None:
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout=self._sender.webhook_timeout)

    def _requeue(self) -> None:
        for id, entry in self._log.items():
            if entry["status"] in ("queued", "retrying"):
                self._schedule(id, 0.0)
        self._start()

    def _schedule(self, id: str, seconds: float) -> None:
        with self._wake:
            self._order += 1
            heapq.heappush(self._due, (time.monotonic() + seconds, self._order, id))
            self._wake.notify()

    def _start(self) -> None:
        """Sending begins with the first delivery, so a simulator without webhooks has no thread."""
        if self._thread is None and self._due and not self._is_closed:
            self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        with httpx.Client(timeout=self._sender.webhook_timeout) as http:
            while (id := self._next()) is not None:
                self._send(http, id)

    def _next(self) -> str | None:
        """Wait for the delivery that is due; None when the outbox was closed."""
        with self._wake:
            while not self._is_closed:
                pause = self._due[0][0] - time.monotonic() if self._due and not self.habits.paused else None
                if pause is not None and pause <= 0:
                    return heapq.heappop(self._due)[2]
                self._wake.wait(pause)
        return None

    def _send(self, http: httpx.Client, id: str) -> None:
        with self._sender.lock:
            entry = self._log.get(id)
            if entry is None:
                return
            delivery = as_delivery(entry)
            url = delivery.url or self.habits.url
            headers = self._sender.webhook_headers(delivery)
        answer = _post(http, url, delivery.body, headers) if url else "no address"
        with self._sender.lock:
            self._note(id, entry, answer)
            self._sender.commit()

    def _note(self, id: str, entry: Body, answer: int | str) -> None:
        """Log the answer and plan the next attempt, if the provider makes one."""
        if id not in self._log:
            return
        retries = self._sender.webhook_retries
        entry["attempts"] += 1
        entry["answers"].append(answer)
        if isinstance(answer, int) and self._sender.accepts_webhook_answer(answer):
            entry |= {"status": "delivered", "delivered_at": entry["delivered_at"] or self._now()}
        elif entry["status"] != "delivered":
            is_given_up = answer == "no address" or entry["attempts"] > len(retries)
            entry["status"] = "given_up" if is_given_up else "retrying"
            if not is_given_up:
                self._schedule(id, retries[entry["attempts"] - 1] / self._speed)
        self._log.put(id, entry)


def as_delivery(entry: Body) -> Delivery:
    """A line of the sender's log as what was sent."""
    return Delivery(
        event_id=entry["event_id"],
        body=entry["body"].encode(),
        headers=entry["headers"],
        url=entry["url"],
    )


def _post(http: httpx.Client, url: str, body: bytes, headers: Mapping[str, str]) -> int | str:
    """The status answered, or the name of what went wrong."""
    try:
        return http.post(url, content=body, headers=headers).status_code
    except httpx.HTTPError as error:
        return type(error).__name__
