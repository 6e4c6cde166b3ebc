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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection

POLL_SECONDS = 0.05


class Endless(AssertionError):
    """Something that had to come about did not, in the time it had."""


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Raises `Endless`."""
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            raise Endless(f"{what}: not within {seconds:g} seconds")
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """Leads a new process to the database and the simulators of this test."""
    given = {
        "database": connection.settings_dict["NAME"],
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


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process while the block runs; what it says goes to a file."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=settings.BASE_DIR
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


class Workers:
    """Worker processes that can be killed and paused."""

    def __init__(self, parent: subprocess.Popen[bytes], folder: Path, seed: int) -> None:
        self._parent, self._folder = parent, folder
        self._dice = random.Random(seed)
        self.kills = 0

    def kill_one(self) -> None:
        children = children_of(self._parent)
        if children:
            kill(self._dice.choice(children))
            self.kills += 1

    def pause_before_writing(self, slug: str, words: str) -> None:
        """Stop the worker that is about to send a write with these words in it."""
        for name in ("paused", "ended"):
            (self._folder / f"{name}-{slug}").unlink(missing_ok=True)
        (self._folder / f"pause-{slug}").write_text(words)

    def paused(self, slug: str) -> int:
        """The process that stands right before its write, once it does."""
        path = self._folder / f"paused-{slug}"
        wait_until(lambda: path.exists() and is_stopped(path.read_text()), f"a worker stopped before writing to {slug}")
        return int(path.read_text())

    def go_on(self, pid: int, slug: str) -> None:
        """Let the paused process send, and do whatever it does with the answer."""
        os.kill(pid, signal.SIGCONT)
        wait_until((self._folder / f"ended-{slug}").exists, "the end of the paused work")


def kill(pid: int) -> None:
    """kill -9; one that is gone already is as good as killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def is_stopped(pid: str) -> bool:
    try:
        return bool(pid) and Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].startswith("T")
    except FileNotFoundError:
        return False


@contextmanager
def workers(count: int, folder: Path, *, seed: int = 1, written_at_once: int = 10) -> Iterator[Workers]:
    """Small batches, so that there are many writes to go wrong."""
    command = [sys.executable, "-m", "tests.faults.worker", str(count), str(folder), str(written_at_once)]
    with running(command, folder / "workers.log") as parent:
        yield Workers(parent, folder, seed)
