"""Keeps processes running: starts them in order, restarts what crashed, stops them in the reverse order."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from marketplace.core.runtime.programs import Program

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
_COUNTS_AS_STABLE = 60.0
_STOPS_WITHIN = 30.0
_LOOKS_AT_SERVERS_EVERY = 5.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class UnableToStart(RuntimeError):
    """A process did not become ready; the message names its log."""


def _die_with_supervisor() -> None:
    """Linux: even a killed supervisor leaves no orphans that hold the ports."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class _Child:
    program: Program
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float | None = None
    delay: float = _FIRST_DELAY
    restarts: int = 0

    def start(self, working_folder: Path) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.program.command,
                cwd=working_folder,
                env={**os.environ, **self.program.environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the supervisor only, which stops us in order
                preexec_fn=_die_with_supervisor,
            )
        self.started_at, self.restart_at = time.monotonic(), None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def is_listening(self) -> bool:
        if self.program.address is None:
            return self.is_running
        try:
            with socket.create_connection(self.program.address, timeout=1):
                return self.is_running
        except OSError:
            return False

    @property
    def state(self) -> str:
        if not self.is_running:
            return "waiting to restart"
        return f"up ({self.restarts} restarts)" if self.restarts else "up"

    def plan_restart(self, now: float) -> None:
        """Waits longer each time, until a start has lasted."""
        if now - self.started_at > _COUNTS_AS_STABLE:
            self.delay = _FIRST_DELAY
        self.restart_at = now + self.delay
        self.delay = min(self.delay * 2, _LONGEST_DELAY)

    def ask_to_stop(self) -> None:
        if self.process is not None and self.is_running:
            self.process.terminate()

    def stop(self) -> None:
        if self.process is None:
            return
        self.ask_to_stop()
        try:
            self.process.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Supervisor:
    """`start`, then `watch` until asked to stop, then `stop`."""

    def __init__(
        self,
        programs: list[Program],
        *,
        working_folder: Path,
        logs: Path,
        keep_servers: Callable[[], None] = lambda: None,
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._working_folder = working_folder
        self._keep_servers, self._servers_seen_at = keep_servers, time.monotonic()
        self._children = [_Child(program, logs / f"{program.name}.log") for program in programs]

    def start(self, *, ready_within: float = 60.0) -> None:
        """Returns when everything that listens answers."""
        for child in self._children:
            self._refuse_taken_port(child)
            child.start(self._working_folder)
        deadline = time.monotonic() + ready_within
        for child in self._children:
            self._wait_ready(child, deadline)

    def _refuse_taken_port(self, child: _Child) -> None:
        address = child.program.address
        if address is None:
            return
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise UnableToStart(f"{child.program.name} needs port {address[1]}: {error.strerror}.") from error

    def _wait_ready(self, child: _Child, deadline: float) -> None:
        while not child.is_listening:
            if not child.is_running or time.monotonic() > deadline:
                raise UnableToStart(f"{child.program.name} did not start; see {child.log}.")
            time.sleep(0.05)

    def check(self) -> None:
        """One look: plans the restart of what has ended, and restarts what has waited long enough."""
        now = time.monotonic()
        if now - self._servers_seen_at > _LOOKS_AT_SERVERS_EVERY:
            self._keep_servers()
            self._servers_seen_at = now
        for child in self._children:
            if child.is_running:
                continue
            if child.restart_at is None:
                child.plan_restart(now)
            elif now >= child.restart_at:
                child.restarts += 1
                child.start(self._working_folder)

    def watch(self, should_stop: Callable[[], bool], *, report: Callable[[str], None], every: float = 0.5) -> None:
        """Tells each change of the state in one line."""
        told = ""
        while not should_stop():
            self.check()
            if self.status != told:
                told = self.status
                report(told)
            time.sleep(every)

    @property
    def status(self) -> str:
        return "  ".join(f"{child.program.name}: {child.state}" for child in self._children)

    def pid(self, name: str) -> int | None:
        """The process now running under this name."""
        for child in self._children:
            if child.program.name == name and child.process is not None and child.is_running:
                return child.process.pid
        return None

    def stop(self) -> None:
        """One after the other, the last started first; what depends on nothing else is asked all at once."""
        ordered = [child for child in self._children if not child.program.is_independent]
        for child in reversed(ordered):
            child.stop()
        independent = [child for child in self._children if child.program.is_independent]
        for child in independent:
            child.ask_to_stop()
        for child in independent:
            child.stop()
