"""Workers as processes of their own: `python -m tests.faults.worker COUNT FOLDER WRITTEN_AT_ONCE`.

The parent loads the product once and keeps COUNT children at work; one that was killed is replaced at once. A file
`pause-<slug>` in FOLDER stops the child that is about to send what the file says to that provider: with its request built, and not
one byte of it sent.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import django
import httpx
from django.conf import settings

IDLE_SECONDS = 0.05


def main(count: int, folder: Path, written_at_once: int) -> None:
    django.setup()
    from tests.faults.tempo import hasten  # noqa: PLC0415 -- needs the loaded applications

    hasten(written_at_once)
    signal.signal(signal.SIGTERM, _end_children)
    while True:
        while len(_children) < count:
            _children.add(_fork(folder))
        died, _ = os.wait()
        _children.discard(died)


def _fork(folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        _work(folder)
    finally:
        os._exit(1)


def _work(folder: Path) -> None:
    from marketplace.core.work import claim_work, do_work  # noqa: PLC0415 -- needs the loaded applications
    from marketplace.installations.clients import http_for  # noqa: PLC0415 -- the same

    pauses = [Pause(folder, slug) for slug in settings.SIMULATORS]
    for pause in pauses:
        http_for(pause.slug).event_hooks["request"].append(pause)
    while True:
        claim = claim_work()
        if claim is None:
            time.sleep(IDLE_SECONDS)
        else:
            do_work(claim)
            for pause in pauses:
                pause.tell_end()


class Pause:
    """Stops this process right before a write to one provider, when it was asked to."""

    def __init__(self, folder: Path, slug: str) -> None:
        self.slug = slug
        self._asked, self._done, self._ended = (folder / f"{name}-{slug}" for name in ("pause", "paused", "ended"))
        self._was_here = False

    def __call__(self, request: httpx.Request) -> None:
        if not is_write(request) or not self._is_asked(request.content):
            return
        self._was_here = True
        self._done.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)

    def _is_asked(self, body: bytes) -> bool:
        """The file holds what the request must contain; whoever takes it away is the one who stops."""
        try:
            if self._asked.read_bytes() not in body:
                return False
            self._asked.unlink()
        except FileNotFoundError:
            return False
        return True

    def tell_end(self) -> None:
        """The work in which this process stood still has come to its end."""
        if self._was_here:
            self._was_here = False
            self._ended.touch()


def is_write(request: httpx.Request) -> bool:
    """Documents carry a key by which the provider knows a repeated request."""
    return "idempotency-key" in request.headers or "requestid" in request.url.params


def _end_children(number: int, frame: object) -> None:
    for child in _children:
        os.kill(child, signal.SIGKILL)
    os._exit(0)


_children: set[int] = set()

if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
