"""The database is shut down, filled, locked and cut off, in the middle of commits too, while web and real Celery workers are at it."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from django.conf import settings
from django.db import Error, OperationalError, connection
from psycopg import sql

from marketplace.core.models import WebhookDelivery
from tenants.backend.base import DatabaseWrapper
from tests.benchmarks.driving import Business
from tests.faults.books import check
from tests.faults.campaign import Size
from tests.faults.moved_clock import MovedClock
from tests.faults.processes import running, wait_until
from tests.faults.servers import (
    MOST_CONNECTIONS,
    Broker,
    Cluster,
    answer_of,
    celery,
    delivery,
    delivery_body,
    own_cluster,
    rest,
    web_server,
)
from tests.faults.test_broker import acknowledged, aim_webhooks_at, health
from tests.faults.test_webhooks import sent
from tests.faults.world import World, connect, make_orders, seen_first, sending_ended, work_quietly

pytestmark = [pytest.mark.faults, pytest.mark.stack]

SEEN, STEP = 20, 6
LOST_SHARE, LOSSES, PATIENCE = 0.25, 40, 120.0
RESUMED_WITHIN = 60.0
LARGE = 500_000  # so that there is soon no room for a delivery
LOCKED = ("public.core_workitem", "public.core_webhookdelivery", "t_kestrel.posting_posting", "t_kestrel.sync_record")


@pytest.fixture
def cluster(django_db_setup: None, django_db_blocker: Any) -> Iterator[Cluster]:
    """Named before `business`, so that the business is made there."""
    with django_db_blocker.unblock(), own_cluster() as made:
        yield made


# ---------------------------------------------------------------------- what is done to the database


def crash(cluster: Cluster, dice: random.Random) -> None:
    cluster.crash()
    rest(dice.uniform(0, 1.5))
    cluster.start()


def cut_off(cluster: Cluster, dice: random.Random) -> None:
    """Some sessions end in the middle of whatever they are doing."""
    for _ in range(5):
        cluster.run(_END_SOME, dice.uniform(0.3, 1))
        rest(0.2)


def cut_off_commits(cluster: Cluster, dice: random.Random) -> None:
    """Sessions end after their commit was made and before they are told of it."""
    with commits_unanswered(cluster):
        until = time.monotonic() + 2
        while time.monotonic() < until:
            end_unanswered_commits(cluster)
            rest(0.1)


def lock(cluster: Cluster, dice: random.Random) -> None:
    """Somebody holds a table for himself."""
    with cluster.session() as session, session.transaction():
        session.execute(f"LOCK TABLE {dice.choice(LOCKED)} IN ACCESS EXCLUSIVE MODE")
        rest(3)


def entangle(cluster: Cluster, dice: random.Random) -> None:
    """Somebody takes the rows that workers take, in another order: deadlocks, of which the server ends one side."""
    until = time.monotonic() + 3
    while time.monotonic() < until:
        with suppress(psycopg.OperationalError), cluster.session() as session, session.transaction():
            for table in dice.sample(LOCKED, 2):
                session.execute(f"SELECT 1 FROM {table} ORDER BY id DESC FOR UPDATE")
                rest(0.05)


def crowd(cluster: Cluster, dice: random.Random) -> None:
    """No session is left for us."""
    held: list[psycopg.Connection[Any]] = []
    with suppress(psycopg.OperationalError):
        for _ in range(MOST_CONNECTIONS):
            held.append(cluster.session())
    rest(2)
    for session in held:
        session.close()


def fill(cluster: Cluster, dice: random.Random) -> None:
    """No room is left on the disk."""
    with cluster.without_room():
        rest(2)


BLOWS: tuple[Callable[[Cluster, random.Random], None], ...] = (
    crash,
    cut_off,
    cut_off_commits,
    lock,
    entangle,
    crowd,
    fill,
)
_END_SOME = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < %s
"""
_END_UNANSWERED = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid <> pg_backend_pid()
"""


class commits_unanswered:
    """Commits are made, and wait for a standby that there is not before they are answered."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __enter__(self) -> None:
        self._set("nobody")

    def __exit__(self, *error: object) -> None:
        self._set("")

    def _set(self, standby: str) -> None:
        with self._cluster.session() as session:
            session.execute("SET synchronous_commit = local")
            session.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(sql.Literal(standby)))
            session.execute("SELECT pg_reload_conf()")


def end_unanswered_commits(cluster: Cluster) -> int:
    with cluster.session() as session:
        row = session.execute(_END_UNANSWERED).fetchone()
    return int(row[0]) if row else 0


# ---------------------------------------------------------------------- the campaign


def is_done(world: World) -> bool:
    """Asked through a session that may just have been ended."""
    try:
        return world.is_done()
    except Error:
        connection.close()
        return False


def sell(world: World, orders: list[Any]) -> None:
    world.sell(orders, emit=True)
    connection.close()
    world.read()
    connection.close()


def test_whatever_happens_to_the_database_loses_and_repeats_nothing(
    cluster: Cluster,
    business: Business,
    broker: Broker,
    address: str,
    simulators: dict[str, str],
    tmp_path: Path,
    size: Any,
    seed: int,
    tell: Any,
) -> None:
    dice = random.Random(seed)
    rounds = size.pick(10, 60)
    blows = [BLOWS[number % len(BLOWS)] for number in range(rounds)]
    dice.shuffle(blows)
    orders = seen_first(make_orders(SEEN + STEP * rounds, seed=seed))
    world = connect(business, orders[:SEEN])
    tried: Counter[str] = Counter()
    with running(celery(tmp_path), tmp_path / "celery.log"), web_server(address, tmp_path):
        aim_webhooks_at(address)
        wait_until(lambda: is_done(world), "the first orders", 120)
        for number, blow in enumerate(blows):
            start = SEEN + STEP * number
            sell(world, orders[start : start + STEP])
            rest(dice.uniform(0, 0.5))
            blow(cluster, dice)
            tried[blow.__name__] += 1
        wait_until(lambda: is_done(world), "all work", RESUMED_WITHIN * 2)
        wait_until(sending_ended, "the end of sending")
        assert answer_of(f"{address}/healthz") is not None
    check(business, world.flows, world.orders)
    rows = Counter(WebhookDelivery.objects.values_list("digest", flat=True))
    assert acknowledged(sent()) <= set(rows)
    assert set(rows.values()) == {1}
    for blow_name, count in tried.items():
        tell("C5", f"database: {blow_name.replace('_', ' ')}", tried=count, events=len(world.orders) // len(tried))


# ---------------------------------------------------------------------- one thing at a time


@dataclass
class LostCommits:
    """At some commits the session ends: right after the commit was made, or right before. Its caller is told neither."""

    dice: random.Random
    is_made: bool
    lost: int = 0

    def wrap(self, commit: Callable[[Any], None]) -> Callable[[Any], None]:
        def lose_some(wrapper: Any) -> None:
            if self.dice.random() > LOST_SHARE:
                return commit(wrapper)
            self.lost += 1
            if self.is_made:
                commit(wrapper)
            wrapper.connection.close()
            raise OperationalError("server closed the connection unexpectedly")

        return lose_some


@pytest.mark.parametrize("number", range(Size.asked().pick(1, 8)))
@pytest.mark.parametrize("is_made", [True, False], ids=["made", "not-made"])
def test_commit_without_an_answer_is_neither_forgotten_nor_repeated(
    is_made: bool,
    number: int,
    business: Business,
    simulators: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    tell: Any,
) -> None:
    orders = make_orders(16)
    world = connect(business, orders[:6], ["xero"])
    work_quietly()
    world.sell(orders[6:])
    world.read()
    clock = MovedClock(business.owner)
    lost = LostCommits(random.Random(seed), is_made)
    with monkeypatch.context() as patched:
        patched.setattr(DatabaseWrapper, "_commit", lost.wrap(DatabaseWrapper._commit))
        until = time.monotonic() + PATIENCE
        while lost.lost < LOSSES and time.monotonic() < until:
            try:
                if not clock.work_once():
                    break
            except Error:
                connection.close()  # as Celery does after each task
    clock.work_off()
    check(business, world.flows, world.orders)
    assert lost.lost > LOSSES / 4
    tell("C5", f"commits {'made' if is_made else 'not made'} and not answered", tried=lost.lost, events=len(orders))


def test_people_and_senders_are_told_when_the_database_is_away(
    cluster: Cluster,
    business: Business,
    broker: Broker,
    address: str,
    simulators: dict[str, str],
    tmp_path: Path,
    tell: Any,
) -> None:
    with web_server(address, tmp_path):
        pages = [f"{address}/user/login/", f"{address}/healthz"]
        assert [status(page) for page in pages] == [200, 503]  # no worker runs
        assert health(address)["database"] == "ok"
        end_sessions(cluster)
        assert health(address)["database"] == "ok"
        cluster.crash()
        assert health(address)["database"] == "down"
        answer = httpx.post(f"{address}/user/login/", data={"login": "alice@example.com", "password": "x" * 12})
        assert answer.status_code in (403, 503)  # without the token of a form nothing was asked of the database
        answer = httpx.get(f"{address}/o/kestrel/", cookies={settings.SESSION_COOKIE_NAME: "a" * 32})
        assert answer.status_code == 503
        assert "We cannot reach our records" in answer.text
        assert "Traceback" not in answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert delivery(address) == 503
        cluster.start()
        assert health(address)["database"] == "ok"
        assert delivery(address) == 200
    assert WebhookDelivery.objects.count() == 1
    tell("C5", "pages and deliveries while the database is away", tried=3, events=2)


def test_without_room_nothing_is_acknowledged_that_is_not_kept(
    cluster: Cluster,
    business: Business,
    broker: Broker,
    address: str,
    simulators: dict[str, str],
    tmp_path: Path,
    tell: Any,
) -> None:
    """On a disk that is full, where we may mount one to fill; and with files that may not grow, which is possible everywhere."""
    ways: dict[str, Callable[[], AbstractContextManager[None]]] = {"no file may grow": cluster.rationed}
    if cluster.disk is not None:
        ways["a full disk"] = cluster.without_room
    answers: dict[int, int] = {}

    def send() -> int:
        number = len(answers) + 1
        answers[number] = delivery(address, number, LARGE)
        return answers[number]

    with web_server(address, tmp_path):
        for way, without_room in ways.items():
            before = len(answers)
            assert send() == 200
            with without_room():
                wait_until(lambda: send() != 200, "a delivery for which there is no room")
                refused = [send() for _ in range(3)]
                assert set(refused) == {503}
            assert send() == 200
            tell("C5", f"deliveries to a database without room: {way}", tried=1, events=len(answers) - before)
    connection.close()  # its server has fallen over since
    assert set(answers.values()) == {200, 503}
    acknowledged = {sha256(delivery_body(number, LARGE)) for number, answer in answers.items() if answer == 200}
    rows = Counter(WebhookDelivery.objects.values_list("digest", flat=True))
    assert acknowledged <= set(rows) and set(rows.values()) == {1}


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def end_sessions(cluster: Cluster) -> None:
    connection.close()
    cluster.run(_END_SOME, 2)


def status(url: str) -> int:
    answer = answer_of(url)
    return 0 if answer is None else answer.status_code
