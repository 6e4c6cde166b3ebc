"""Workers as processes of their own: `python -m tests.faults.worker WORKERS WEBS FOLDER WRITTEN_AT_ONCE`.

The parent loads the product once and keeps so many workers and web servers alive; one that was killed is replaced at once. Each can be
struck at the points of `points.py`.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django
from django.conf import settings

from tests.faults.points import Strikes

IDLE_SECONDS = 0.05
Role = Callable[[Strikes], None]


def main(worker_count: int, web_count: int, folder: Path, written_at_once: int) -> None:
    django.setup()
    from tests.faults.tempo import CLOCKS, hasten  # noqa: PLC0415 -- needs the loaded applications

    hasten(written_at_once)
    clocks = itertools.cycle(json.loads(os.environ.get(CLOCKS, "[0]")))
    strikes = Strikes(folder)
    strikes.watch()
    serve = web_server() if web_count else work
    wanted: Counter[Role] = Counter({work: worker_count, serve: web_count} if web_count else {work: worker_count})
    signal.signal(signal.SIGTERM, _end_children)
    while True:
        for role in (wanted - Counter(_children.values())).elements():
            _children[_fork(role, strikes, next(clocks))] = role
        died, _ = os.wait()
        _children.pop(died, None)


def _fork(role: Role, strikes: Strikes, clock_error: float) -> int:
    from tests.faults.tempo import set_clock  # noqa: PLC0415 -- needs the loaded applications

    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        if clock_error:
            set_clock(clock_error)
        role(strikes)
    finally:
        os._exit(1)


def work(strikes: Strikes) -> None:
    from marketplace.core.work import claim_work, do_work  # noqa: PLC0415 -- needs the loaded applications

    while True:
        claim = claim_work()
        if claim is None:
            time.sleep(IDLE_SECONDS)
        else:
            do_work(claim)
        strikes.tell_end()


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the sender keeps the log that counts."""


def web_server() -> Role:
    """All web processes take deliveries from one listening socket."""
    from marketplace.wsgi import application  # noqa: PLC0415 -- needs the loaded applications

    address = urlsplit(settings.PUBLIC_URL)
    listening = socket.create_server((str(address.hostname), int(address.port or 0)), backlog=64)

    def serve(strikes: Strikes) -> None:
        server = WSGIServer(listening.getsockname(), QuietHandler, bind_and_activate=False)
        server.socket = listening
        server.server_name, server.server_port = str(address.hostname), int(address.port or 0)
        server.setup_environ()
        server.set_app(application)
        while True:
            server.handle_request()
            strikes.tell_end()

    return serve


def _end_children(number: int, frame: object) -> None:
    for child in _children:
        os.kill(child, signal.SIGKILL)
    os._exit(0)


_children: dict[int, Role] = {}

if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
