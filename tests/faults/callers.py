"""Processes that call one provider as fast as they are let: `python -m tests.faults.callers COUNT SECONDS FOLDER TENANT CONNECTION`.

Each stands for a worker that begins one piece of work after the other. What it was not let do it puts back, as the queue would, until
the time it was told. Everything that happened goes to a file a process.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import django
import httpx

REFUSED = 429
ENOUGH = "enough"  # a file of this name ends it before its time
#: What is called: one page of something small; where calls have a price, objects by their ids, which may cost half of all there is.
CHEAP: tuple[str, list[str]] = ("company", [])
EXPENSIVE = {"shopify": ("order", [str(number) for number in range(1, 6)])}


@dataclass
class Diary:
    """When calls were sent, which were refused until when, and how long each piece of work held its worker without being done."""

    sent: list[float] = field(default_factory=list)
    refused: list[tuple[float, float]] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    done: int = 0


def main(count: int, seconds: float, folder: Path, tenant_id: uuid.UUID, connection_id: uuid.UUID) -> None:
    django.setup()
    children = [
        child
        for number in range(count)
        if (child := _fork(folder / f"{number}.json", seconds, tenant_id, connection_id))
    ]
    for _ in children:
        os.wait()


def _fork(path: Path, seconds: float, tenant_id: uuid.UUID, connection_id: uuid.UUID) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        path.write_text(json.dumps(_work(path, seconds, tenant_id, connection_id).__dict__))
        code = 0
    finally:
        os._exit(code)


def _work(path: Path, seconds: float, tenant_id: uuid.UUID, connection_id: uuid.UUID) -> Diary:
    from connectors.registry import connector  # noqa: PLC0415 -- needs the loaded applications
    from connectors.sdk.errors import RateLimited  # noqa: PLC0415 -- the same
    from marketplace.installations.clients import client_for  # noqa: PLC0415 -- the same
    from marketplace.installations.models import Connection  # noqa: PLC0415 -- the same
    from tenants.context import tenant  # noqa: PLC0415 -- the same

    with tenant(tenant_id):
        connection = Connection.objects.get(pk=connection_id)
    data_type, ids = EXPENSIVE.get(connection.connector, CHEAP)
    stream = connector(connection.connector).stream(data_type)
    diary, until, enough = Diary(), time.time() + seconds, path.with_name(ENOUGH)
    with _noted(connection.connector, diary):
        while time.time() < until and not enough.exists():
            began = time.time()
            try:
                client = client_for(tenant_id, connection)
                stream.fetch(client, ids) if ids else next(iter(stream.pages(client, None)))
            except RateLimited as error:
                diary.held.append(time.time() - began)
                time.sleep(max(0.0, min(error.retry_after, until - time.time())))
            else:
                diary.done += 1
    return diary


@contextmanager
def _noted(slug: str, diary: Diary) -> Iterator[None]:
    from marketplace.installations.registrations import http_for  # noqa: PLC0415 -- needs the loaded applications

    def answered(response: httpx.Response) -> None:
        if response.status_code == REFUSED:
            at = time.time()
            diary.refused.append((at, at + float(response.headers.get("Retry-After", 0))))

    hooks = http_for(slug).event_hooks
    hooks["request"].append(lambda request: diary.sent.append(time.time()))
    hooks["response"].append(answered)
    yield


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), uuid.UUID(sys.argv[4]), uuid.UUID(sys.argv[5]))
