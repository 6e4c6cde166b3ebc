"""The providers' simulators as processes of their own, as workers meet them: reachable over HTTP only."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

SPEED = 600  # the providers' limits stay, ten minutes of them pass in a second


class Nursery:
    """See `nursery.py`; one for each session of tests, from when it is first needed."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.nursery"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self._end)

    def ask(self, **what: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def _end(self) -> None:
        self._process.communicate(timeout=30)


@cache
def nursery() -> Nursery:
    return Nursery()


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
    born = {slug: _start(slug, state, credentials[slug], speed) for slug in slugs}
    for slug in elsewhere:
        os.setpriority(os.PRIO_PROCESS, born[slug]["pid"], 5)
    try:
        yield {slug: one["address"] for slug, one in born.items()}
    finally:
        nursery().ask(end=[one["pid"] for one in born.values()])


def _start(slug: str, state: Path | None, credentials: Mapping[str, str], speed: int) -> dict[str, Any]:
    ours = {f"CONNECTOR_{slug.upper()}_{name.upper()}": value for name, value in credentials.items()}
    kept = str(state / slug) if state is not None else None
    return nursery().ask(slug=slug, state=kept, speed=speed, environment=ours)
