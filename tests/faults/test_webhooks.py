"""Webhooks as badly sent and as roughly received as can be; the judges are the sender's own log and its own orders."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from django.db import connection
from pytest_django import Settings

from connectors.sdk.records import Order
from marketplace.core.models import EventCopy, WebhookDelivery
from marketplace.installations.models import Connection
from marketplace.sync.models import Change, Record, SyncRun
from tenants.context import tenant
from tests.benchmarks.driving import Business, provider
from tests.faults.campaign import Size
from tests.faults.conftest import Tell
from tests.faults.deliveries import Delivery, event, signed
from tests.faults.processes import children_of, free_port, kill, running, wait_until
from tests.faults.world import SHOP, make_orders, sending_ended, work_quietly

pytestmark = [pytest.mark.faults, pytest.mark.stack]

HUNG_UP = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)


@pytest.fixture
def address(settings: Settings) -> str:
    """Where the web server of the test will listen."""
    found = f"http://127.0.0.1:{free_port()}"
    settings.PUBLIC_URL = found
    return found


@contextmanager
def web(address: str, folder: Path) -> Iterator[Any]:
    """The product's web server with two processes; one that is killed is replaced."""
    command = (
        *(sys.executable, "-m", "gunicorn", "marketplace.wsgi:application", "--no-control-socket"),
        *("--workers", "2", "--threads", "2", "--worker-class", "gthread"),
        *("--bind", address.removeprefix("http://"), "--log-level", "error"),
    )
    with running(command, folder / "web.log") as process:
        wait_until(lambda: _answers(address), "the web server")
        yield process


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/webhooks/shopify/simulator/").status_code == 405
    except httpx.HTTPError:
        return False


def end_database_connections(except_ours: int) -> int:
    """As a restart of the server does it: in the middle of whatever they are doing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> %s",
            [except_ours],
        )
        return int(cursor.fetchone()[0])


def our_backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def one_event_each(count: int) -> list[Order]:
    """Orders that are not paid yet: the shop tells of each exactly once."""
    return [msgspec.structs.replace(order, status="open", payments=()) for order in make_orders(count)]


def strike(process: Any, dice: random.Random, blows: int) -> None:
    """Blows in turn, while the sender goes on."""
    ours = our_backend()
    for blow in range(blows):
        time.sleep(dice.uniform(0.05, 0.3))
        if blow % 2:
            kill(dice.choice(children_of(process)))
            wait_until(lambda: len(children_of(process)) == 2, "the web server's second process")
        else:
            end_database_connections(ours)


def sent() -> list[dict[str, Any]]:
    with provider("shopify") as simulated:
        return [entry for entry in simulated.deliveries() if entry["headers"]["X-Shopify-Topic"] == "orders/create"]


def digest(entry: dict[str, Any]) -> str:
    return hashlib.sha256(entry["body"].encode()).hexdigest()


def amounts_at_the_shop(orders: list[Order]) -> dict[str, Any]:
    return {order.id: order.total for order in orders}


def amounts_here(owner: Any, source: Connection) -> dict[str, Any]:
    with tenant(owner):
        rows = Record.objects.filter(connection=source, data_type="order", is_deleted=False)
        return dict(rows.values_list("external_id", "amount"))


def missed(owner: Any, source: Connection) -> set[str]:
    """What the latest check of orders found that nothing had told of."""
    with tenant(owner):
        sweep = SyncRun.objects.filter(connection=source, data_type="order").latest("started_at")
        found = set(Change.objects.filter(run=sweep, is_drift=True).values_list("record__external_id", flat=True))
    assert sweep.drift_count == len(found)
    return found


def test_events_dropped_repeated_and_shuffled_end_in_the_providers_state(
    business: Business, address: str, simulators: dict[str, str], tmp_path: Path, size: Size, seed: int, tell: Tell
) -> None:
    dice, orders, blows = random.Random(seed), one_event_each(size.pick(200, 3_000)), size.pick(8, 60)
    source = business.connect("shopify", SHOP, {"shop": SHOP})
    work_quietly()
    with web(address, tmp_path) as process, provider("shopify") as simulated:
        habits = {"drop_percent": 5, "duplicate_percent": 10, "shuffle": True, "seed": seed, "paused": True}
        simulated.http.post("/_sim/webhooks", json=habits).raise_for_status()
        simulated.enter(SHOP, orders, by="provider", emit=True)
        simulated.http.post("/_sim/webhooks", json={"paused": False}).raise_for_status()
        strike(process, dice, blows)
        wait_until(sending_ended, "the end of sending", size.pick(300, 900))
    log = sent()
    rows = Counter(WebhookDelivery.objects.values_list("digest", flat=True))
    acknowledged = {digest(entry) for entry in log if 200 in entry["answers"]}
    assert len(log) == len(orders)
    assert acknowledged <= set(rows) and set(rows.values()) == {1}
    work_quietly(size.pick(60, 900))
    assert not EventCopy.objects.filter(done_at=None).exists()
    never_came = {str(json.loads(entry["body"])["id"]) for entry in log if digest(entry) not in rows}
    assert set(amounts_here(business.owner, source)) == {order.id for order in orders} - never_came
    business.read(source)
    work_quietly(size.pick(60, 900))
    assert amounts_here(business.owner, source) == amounts_at_the_shop(orders)
    assert missed(business.owner, source) == never_came != set()
    tell("C7", "events dropped, repeated, shuffled", tried=len(log), events=len(log))
    tell("C3", "web process killed, database connections ended", tried=blows, events=len(acknowledged))


# --- what is hardly HTTP -----------------------------------------------------------------------------------------


def raw_requests(dice: random.Random) -> list[tuple[str, bytes]]:
    """Requests as only somebody hostile writes them, each named by what is wrong with it."""
    body = b'{"id": 1}'
    start, host = b"POST /webhooks/shopify/simulator/ HTTP/1.1\r\n", b"Host: 127.0.0.1\r\nConnection: close\r\n"
    length = b"Content-Length: %d\r\n" % len(body)
    return [
        ("no number as length", start + host + b"Content-Length: abc\r\n\r\n" + body),
        ("negative length", start + host + b"Content-Length: -1\r\n\r\n" + body),
        ("two lengths", start + host + length + b"Content-Length: 5\r\n\r\n" + body),
        (
            "length and chunks",
            start + host + length + b"Transfer-Encoding: chunked\r\n\r\n9\r\n" + body + b"\r\n0\r\n\r\n",
        ),
        ("chunks", start + host + b"Transfer-Encoding: chunked\r\n\r\n9\r\n" + body + b"\r\n0\r\n\r\n"),
        ("broken chunks", start + host + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body),
        ("half a body", start + host + b"Content-Length: 1000\r\n\r\n" + body),
        ("far too large", start + host + b"Content-Length: 1048577\r\n\r\n" + b"x" * 1_048_577),
        ("a gigabyte announced", start + host + b"Content-Length: 1073741824\r\n\r\n" + body),
        (
            "a header of 100 kB",
            start + host + length + b"X-Shopify-Hmac-Sha256: " + b"A" * 100_000 + b"\r\n\r\n" + body,
        ),
        ("a thousand headers", start + host + length + b"X-A: b\r\n" * 1000 + b"\r\n" + body),
        ("NUL in a header", start + host + length + b"X-Shopify-Topic: orders\x00/create\r\n\r\n" + body),
        ("line break in a header", start + host + length + b"X-Shopify-Topic: a\r\n b\r\n\r\n" + body),
        ("bytes above 127", start + host + length + b"X-Shopify-Hmac-Sha256: \xff\xfe\xfd\r\n\r\n" + body),
        ("no host", start + length + b"Connection: close\r\n\r\n" + body),
        ("no HTTP", dice.randbytes(200)),
        (
            "an address that climbs",
            b"POST /webhooks/shopify/simulator/../../../ HTTP/1.1\r\n" + host + length + b"\r\n" + body,
        ),
        ("old HTTP", b"POST /webhooks/shopify/simulator/ HTTP/0.9\r\n\r\n" + body),
        ("nothing at all", b""),
    ]


def in_chunks(delivery: Delivery, sizes: Iterator[int], end: bytes = b"0\r\n\r\n") -> bytes:
    """As senders do who do not know yet how long the body will be."""
    headers = {"Host": "127.0.0.1", "Connection": "close", **delivery.headers, "Transfer-Encoding": "chunked"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    body, chunks = delivery.body, b""
    while body:
        size = next(sizes)
        chunks += b"%x\r\n%b\r\n" % (len(body[:size]), body[:size])
        body = body[size:]
    return b"POST %b HTTP/1.1\r\n%b\r\n%b%b" % (delivery.address.encode(), head, chunks, end)


def status_of(address: str, request: bytes) -> int:
    """What the web server answers; nought when it only hangs up."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as wire:
        try:
            wire.sendall(request)
            wire.shutdown(socket.SHUT_WR)
            answer = wire.recv(4096)
        except OSError as error:
            if error.errno not in HUNG_UP:
                raise
            return 0
    return int(answer.split()[1]) if answer.startswith(b"HTTP/") else 0


def test_what_is_hardly_http_breaks_nothing(
    transactional_db: None, address: str, settings: Settings, tmp_path: Path, size: Size, seed: int, tell: Tell
) -> None:
    settings.SIMULATORS = {"shopify": "http://127.0.0.1:1"}
    dice, rounds = random.Random(seed), size.pick(3, 100)
    chunked = [signed(event("shopify", "nobody", dice)) for _ in range(rounds * 5)]
    large = signed(replace(chunked[0], body=b'{"id": 1, "x": "' + b"x" * 1_048_576 + b'"}'))
    with web(address, tmp_path) as process:
        wait_until(lambda: len(children_of(process)) == 2, "both processes of the web server")
        before = children_of(process)
        for told in chunked:
            assert status_of(address, in_chunks(told, iter(lambda: dice.randint(1, 400), 0))) == 200
        for other in (replace(chunked[0], body=b"{}"), replace(chunked[0], body=chunked[0].body[:-1])):
            assert status_of(address, in_chunks(other, itertools.repeat(50))) == 401
        assert status_of(address, in_chunks(large, itertools.repeat(40_000))) in (0, 413)
        assert status_of(address, in_chunks(chunked[0], itertools.repeat(50), b"")) in (0, 400)
        assert status_of(address, in_chunks(chunked[0], itertools.repeat(50), b"-1\r\n\r\n")) in (0, 400)
        answers = {(name, status_of(address, raw)) for _ in range(rounds) for name, raw in raw_requests(dice)}
        assert children_of(process) == before
        genuine = signed(event("shopify", "nobody", dice))
        answer = httpx.post(f"{address}{genuine.address}", content=genuine.body, headers=dict(genuine.headers))
    assert {found for found in answers if not (found[1] == 0 or 400 <= found[1] < 500)} == set()
    assert answer.status_code == 200
    kept = Counter(WebhookDelivery.objects.values_list("digest", flat=True))
    assert kept == Counter(told.digest for told in (*chunked, genuine))
    count = rounds * len(raw_requests(dice)) + 5
    tell("C7", "in chunks, to a real web server", tried=len(chunked), events=len(chunked))
    tell("C7", "hardly HTTP, to a real web server", tried=count, malformed=count)
