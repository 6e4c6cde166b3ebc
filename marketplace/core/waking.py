"""Waking workers without waiting for the broker: for whoever has to answer within milliseconds.

Asking costs nothing and never blocks or fails. A thread passes it on: at once, then at most once in `PAUSE_SECONDS` however often it was
asked, and always once more after the last asking. The thread talks to the broker only, never to the database.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from marketplace.core.work import wake_workers

PAUSE_SECONDS = 0.1


class Waker:
    """One per process; the thread starts with the first asking, so that it lives in the process that asks."""

    def __init__(self, wake: Callable[[], None], pause: float) -> None:
        self._wake, self._pause = wake, pause
        self._asked = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        self._asked.set()
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            self._wake()
            time.sleep(self._pause)


_waker = Waker(wake_workers, PAUSE_SECONDS)


def wake_workers_soon() -> None:
    _waker.ask()
