"""A crowd of processes that ask for the token of one connection: `python -m tests.faults.askers COUNT TENANT CONNECTION SLUG`.

They stay for many rounds. For a line `all` or `few` on standard input they ask at the same moment, and what each got is told as a JSON
list: a digest of its token, or the name of its error. On the line `die` a few of them ask, and whose refresh the provider answers is
killed right then, before anything is committed; it is told as `killed`, and replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable
from typing import Any

import django
import httpx

FEW = 4


class Asker:
    """One process, and the line to it."""

    def __init__(self, ask: Callable[[], str], die: Callable[[], None]) -> None:
        self.line, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid:
            theirs.close()
            return
        self.line.close()
        try:
            while word := theirs.recv(8):
                if word == b"die":
                    die()
                theirs.sendall(ask().encode())
        finally:
            os._exit(0)

    def answer(self) -> str:
        """Nothing comes from one that was killed."""
        return self.line.recv(200).decode() or "killed"


def main(count: int, tenant_id: uuid.UUID, connection_id: uuid.UUID, slug: str) -> None:
    django.setup()
    from connectors.sdk.errors import ConnectorError  # noqa: PLC0415 -- needs the loaded applications
    from marketplace.installations import registrations  # noqa: PLC0415 -- the same
    from marketplace.installations.vault import ConnectionToken  # noqa: PLC0415 -- the same

    token = ConnectionToken(tenant_id, connection_id)

    def ask() -> str:
        try:
            return hashlib.sha256(token.current().encode()).hexdigest()[:16]
        except ConnectorError as error:
            return type(error).__name__

    def die() -> None:
        registrations._token_http(slug).event_hooks["response"].append(end_with_the_answer)

    askers = [Asker(ask, die) for _ in range(count)]
    print("ready", flush=True)
    for word in sys.stdin:
        asked = askers if word.strip() == "all" else askers[:FEW]
        for asker in asked:
            asker.line.sendall(word.strip().encode())
        answers = [asker.answer() for asker in asked]
        print(json.dumps(answers), flush=True)
        askers[: len(asked)] = [replaced(*told, ask, die) for told in zip(asked, answers, strict=True)]
    for asker in askers:
        os.kill(asker.pid, signal.SIGKILL)
        os.waitpid(asker.pid, 0)


def end_with_the_answer(response: httpx.Response) -> None:
    if response.status_code == 200:
        os.kill(os.getpid(), signal.SIGKILL)


def replaced(asker: Asker, answer: str, *given: Any) -> Asker:
    if answer != "killed":
        return asker
    os.waitpid(asker.pid, 0)
    asker.line.close()
    return Asker(*given)


if __name__ == "__main__":
    main(int(sys.argv[1]), uuid.UUID(sys.argv[2]), uuid.UUID(sys.argv[3]), sys.argv[4])
