"""Starting, killing, pausing and ending processes of the product, at the servers and simulators of one test."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from django.conf import settings
from django.db import connection

from tests.faults.forked import Forked, Process
from tests.faults.points import Act, Point
from tests.faults.removal import REMOVE

POLL_SECONDS = 0.05
POLL_SHARE = 0.01  # of the time waited so far: whoever waits for minutes need not ask every moment


class Endless(AssertionError):
    """Something that had to come about did not, in the time it had."""


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Raises `Endless`."""
    began = time.monotonic()
    while not is_so():
        waited = time.monotonic() - began
        if waited > seconds:
            raise Endless(f"{what}: not within {seconds:g} seconds")
        time.sleep(max(POLL_SECONDS, waited * POLL_SHARE))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """Leads a new process to the database and the simulators of this test."""
    given = {
        "database": {key: connection.settings_dict[key] for key in ("NAME", "HOST")},
        "simulators": settings.SIMULATORS,
        "speed": settings.SIMULATOR_SPEED,
        "public_url": settings.PUBLIC_URL,
        "redis_url": settings.REDIS_URL,
        "broker_url": settings.CELERY_BROKER_URL,
    }
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
        "FAULTS_SETTINGS": json.dumps(given),
        "TIEOUT_LOG_LEVEL": "ERROR",
    }


#: In the environment of a process they make it another one from its first moment on.
FROM_THE_START = {"LD_PRELOAD", REMOVE}


@contextmanager
def running(
    command: Sequence[str], log: Path, extra: Mapping[str, str] | None = None, *, code: Path | None = None
) -> Iterator[Process]:
    """A process while the block runs, with `extra` in its environment; what it says goes to a file. `code`: another release's."""
    process = _started(command, log, {**environment(), **(extra or {})}, code or settings.BASE_DIR)
    try:
        yield process
    finally:
        end(process)


def _started(command: Sequence[str], log: Path, environment: Mapping[str, str], code: Path) -> Process:
    """Forked from one that has loaded this release, where that comes to the same."""
    if (
        tuple(command[:2]) == (sys.executable, "-m")
        and code == settings.BASE_DIR
        and not FROM_THE_START & set(environment)
    ):
        return Forked(command[2], command[3:], environment, log)
    with log.open("ab") as output:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=code
        )


def end(process: Process) -> None:
    """At once, with whatever it started: nobody looks at it any more. One that stands still starts nobody else meanwhile."""
    if process.poll() is None:
        for pid in list(_halted(process.pid)):
            kill(pid)
    process.wait()


def _halted(pid: int) -> Iterator[int]:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        yield pid
    for child in children_of(pid):
        yield from _halted(child)


def children_of(process: Process | int) -> list[int]:
    parent = process if isinstance(process, int) else process.pid
    try:
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except FileNotFoundError:
        return []


def descendants_of(process: Process | int) -> list[int]:
    """Parents come before their children."""
    return [one for child in children_of(process) for one in (child, *descendants_of(child))]


class Workers:
    """Worker and web processes that can be killed and stopped."""

    def __init__(self, start: Callable[[], Process], folder: Path, seed: int) -> None:
        self._start, self._folder = start, folder
        self._parent = self._started()
        self._dice = random.Random(seed)
        self.kills = 0

    def kill_all(self) -> None:
        """The parent first, so that it replaces nobody; then others are started."""
        children = children_of(self._parent)
        for pid in (self._parent.pid, *children):
            kill(pid)
        self._parent.wait()
        self.kills += 1 + len(children)
        self._parent = self._started()

    def _started(self) -> Process:
        """A parent that has loaded the product."""
        parent = self._start()
        wait_until(lambda: bool(children_of(parent)) or parent.poll() is not None, "the workers")
        if parent.poll() is not None:
            raise Endless(f"The workers could not be started: {(self._folder / 'workers.log').read_text()[-2000:]}")
        return parent

    def kill_one(self) -> None:
        children = children_of(self._parent)
        if children:
            kill(self._dice.choice(children))
            self.kills += 1

    def strike(self, point: Point, act: Act, words: str = "") -> None:
        """Ask for one process to be killed or stopped at this point, with these words in what it sends if it sends anything."""
        for name in ("struck", "ended"):
            self._file(name, point).unlink(missing_ok=True)
        part = self._file("asked", point)
        part.write_text(f"{act} {words}")
        part.rename(self._file("strike", point))

    def wait_for_strike(self, point: Point) -> None:
        """Until a process came to this point."""
        wait_until(self._file("struck", point).exists, f"a process that comes to: {point.name}", 30)

    def stopped(self, point: Point) -> int:
        """The process that stands at this point, once it does."""
        path = self._file("struck", point)
        wait_until(lambda: path.exists() and is_stopped(path.read_text()), f"a process standing at: {point.name}")
        return int(path.read_text())

    def go_on(self, pid: int, point: Point) -> None:
        """Let the stopped process go on, and do whatever it does."""
        os.kill(pid, signal.SIGCONT)
        ended = self._file("ended", point)
        wait_until(lambda: ended.exists() or not is_alive(pid), f"the end of what stood still at: {point.name}")

    def _file(self, name: str, point: Point) -> Path:
        return self._folder / f"{name}-{point.file}"


def kill(pid: int) -> None:
    """kill -9; one that is gone already is as good as killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def is_alive(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].startswith("Z")
    except FileNotFoundError:
        return False


def is_stopped(pid: str) -> bool:
    try:
        return bool(pid) and Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].startswith("T")
    except FileNotFoundError:
        return False


@contextmanager
def workers(
    count: int,
    folder: Path,
    *,
    seed: int = 1,
    written_at_once: int = 10,
    webs: int = 0,
    extra: Mapping[str, str] | None = None,
) -> Iterator[Workers]:
    """Small batches, so that there are many writes to go wrong. `webs` processes take deliveries at the public address."""
    numbers = map(str, (count, webs, folder, written_at_once))
    command = [sys.executable, "-m", "tests.faults.worker", *numbers]
    with ExitStack() as started:
        yield Workers(lambda: started.enter_context(running(command, folder / "workers.log", extra)), folder, seed)
