"""Simulators forked from one process that has loaded them all: `python -m tests.benchmarks.nursery`.

Each is a process of its own, as it would be if it were started; only what they all load is loaded once. Requests and answers are lines of
JSON, in and out. When whoever asked is gone, so are they.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any

from connectors.testing.serve import Server, simulated_slugs, simulator_class

ENDS_WITHIN = 20.0


def main() -> None:
    importlib.import_module("gunicorn.workers.gthread")
    for slug in simulated_slugs():
        simulator_class(slug)
    born: dict[int, int] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "slug" in asked:
            pid, address, pipe = give_birth(asked)
            born[pid] = pipe
            answer: dict[str, Any] = {"pid": pid, "address": address}
        else:
            for pid in end(asked["end"]):
                os.close(born.pop(pid))
            answer = {}
        print(json.dumps(answer), flush=True)
    end(list(born))


def give_birth(asked: dict[str, Any]) -> tuple[int, str, int]:
    """The simulator's process, where it listens, and the pipe through which it said so."""
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(heard)
        serve(asked, told)
    os.close(told)
    words = b""
    while not words.endswith(b"\n"):
        piece = os.read(heard, 1000)
        if not piece:
            break
        words += piece
    return pid, words.decode().rsplit(" ", 1)[-1].strip(), heard


def serve(asked: dict[str, Any], told: int) -> None:
    """Until it is told to end. The simulator's own children come through here as well."""
    status = 1
    try:
        os.dup2(told, sys.stdout.fileno())
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        os.environ.update(asked["environment"])
        state = Path(asked["state"]) if asked["state"] else None
        Server(
            Namespace(
                slug=asked["slug"], host="127.0.0.1", port=0, state=state, webhook_url="", speed=float(asked["speed"])
            )
        ).run()
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        os._exit(status)


def end(pids: list[int]) -> list[int]:
    """Kindly, and otherwise not."""
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + ENDS_WITHIN
    for pid in pids:
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > until:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
    return pids


if __name__ == "__main__":
    main()
