"""Processes that need not load the product first: see `warm.py`."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

POLL_SECONDS = 0.02


class Process(Protocol):
    """What a started process and a forked one have in common."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Warm:
    """The process they come from; one for each session of tests, from when it is first needed."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.warm"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lock = threading.Lock()
        atexit.register(self._end)

    def ask(self, **what: Any) -> int | None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._lock:
            print(json.dumps(what), file=self._process.stdin, flush=True)
            answer: int | None = json.loads(self._process.stdout.readline())
        return answer

    def _end(self) -> None:
        self._process.communicate(timeout=30)


@cache
def warm() -> Warm:
    return Warm()


class Forked:
    """One of them, running a module as `python -m` does; what it says goes to the end of a file."""

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        pid = warm().ask(module=module, arguments=list(arguments), environment=dict(environment), log=str(log))
        assert pid is not None
        self.pid = pid
        self._module = module
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            self._code = warm().ask(pid=self.pid)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Raises `subprocess.TimeoutExpired`."""
        began = time.monotonic()
        while (code := self.poll()) is None:
            if timeout is not None and time.monotonic() - began > timeout:
                raise subprocess.TimeoutExpired(self._module, timeout)
            time.sleep(POLL_SECONDS)
        return code

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)
