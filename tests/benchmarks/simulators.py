"""The providers' simulators as processes of their own, as workers meet them: reachable over HTTP only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SPEED = 600  # the providers' limits stay, ten minutes of them pass in a second


@contextmanager
def serving(
    slugs: tuple[str, ...],
    state: Path | None,
    credentials: Mapping[str, Mapping[str, str]],
    *,
    speed: int = SPEED,
    elsewhere: Collection[str] = (),
) -> Iterator[dict[str, str]]:
    """The address of each simulator while the block runs. Without `state` their books are in memory only; `elsewhere`
    gives way to our processes."""
    processes = {slug: _start(slug, state, credentials[slug], speed) for slug in slugs}
    for slug in elsewhere:
        os.setpriority(os.PRIO_PROCESS, processes[slug].pid, 5)
    try:
        yield {slug: _address(process) for slug, process in processes.items()}
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            process.communicate(timeout=20)


def _start(slug: str, state: Path | None, credentials: Mapping[str, str], speed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "connectors.testing.serve", slug, "--port", "0", "--speed", str(speed)]
    if state is not None:
        command += ["--state", str(state / slug)]
    ours = {f"CONNECTOR_{slug.upper()}_{name.upper()}": value for name, value in credentials.items()}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **ours})


def _address(process: subprocess.Popen[str]) -> str:
    """The simulator says where it listens once it does."""
    assert process.stdout is not None
    return process.stdout.readline().rsplit(" ", 1)[1].strip()
