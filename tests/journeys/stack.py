"""The whole product as its user starts it, in processes, a folder and ports of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from connectors.registry import connectors

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 180
# Simulated limits and retries pass this much faster than real ones.
SPEED = 1000


class StackDidNotStart(Exception):
    """What the command printed, for whoever reads the failed test."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Where a running product is found."""

    url: str
    simulators: dict[str, str]


@contextmanager
def started_stack(var: Path) -> Iterator[Stack]:
    """`manage.py stack`, until the block ends."""
    ports = _free_ports(1 + len(connectors()))
    simulators = {slug: f"http://127.0.0.1:{port}" for slug, port in zip(connectors(), ports[1:], strict=True)}
    stack = Stack(url=f"http://127.0.0.1:{ports[0]}", simulators=simulators)
    log = var.parent / "stack.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "stack"],
            cwd=ROOT,
            env=_environment(var, ports[0], simulators),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_up(process, stack, log)
            yield stack
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=PATIENCE_SECONDS)


def _environment(var: Path, port: int, simulators: dict[str, str]) -> dict[str, str]:
    """Nothing of the tests' own settings: the journey is through what a user runs, with its own servers."""
    foreign = ("TIEOUT_", "DATABASE_URL", "REDIS_URL", "DJANGO_", "CONNECTOR_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "marketplace.settings",
        "TIEOUT_VAR": str(var),
        "TIEOUT_WEB_PORT": str(port),
        "TIEOUT_SIMULATORS": msgspec.json.encode(simulators).decode(),
        "TIEOUT_SIMULATOR_SPEED": str(SPEED),
    }


def _free_ports(count: int) -> list[int]:
    """All are held until the last is found, so that none comes twice."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _wait_until_up(process: subprocess.Popen[bytes], stack: Stack, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "Stop with Ctrl-C" not in log.read_text() or not _answers(stack.url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StackDidNotStart(log.read_text())
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/user/login/").status_code == 200
    except httpx.TransportError:
        return False
