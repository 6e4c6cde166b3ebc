"""Servers of a test's own, to be killed, frozen, filled and emptied: the common ones serve the other tests."""

from __future__ import annotations

import base64
import hmac
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis
from django.conf import settings as configured
from django.db import connection
from psycopg import sql
from pytest_django import Settings

from marketplace.core.runtime.places import Places
from marketplace.core.runtime.postgres import (
    DATABASE_NAME,
    is_postgres_running,
    programs,
    start_postgres,
    stop_postgres,
)
from marketplace.core.runtime.valkey import is_valkey_running, start_valkey, stop_valkey
from tests.faults.backups import dump_database
from tests.faults.forked import Process
from tests.faults.processes import children_of, is_alive, running, wait_until

SHOP = "kestrel-and-co.myshopify.com"
MOST_CONNECTIONS = 40
DISK = "384m"


@dataclass(frozen=True)
class Broker:
    """A Valkey of the test's own."""

    places: Places

    @property
    def pid(self) -> int:
        return int((self.places.valkey / "valkey.pid").read_text())

    def wipe(self) -> None:
        with redis.Redis(unix_socket_path=str(self.places.valkey_socket)) as client:
            client.flushall()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not is_valkey_running(self.places), "the broker gone")

    def start(self) -> None:
        self.places.valkey_socket.unlink(missing_ok=True)
        start_valkey(self.places)

    def lose_disk(self) -> None:
        shutil.rmtree(self.places.valkey)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


@contextmanager
def own_broker(folder: Path, settings: Settings) -> Iterator[Broker]:
    """The settings of the test lead to it."""
    broker = Broker(Places(folder))
    broker.start()
    settings.REDIS_URL = f"unix://{broker.places.valkey_socket}?db=0"
    settings.CELERY_BROKER_URL = f"redis+socket://{broker.places.valkey_socket}"
    try:
        yield broker
    finally:
        stop_valkey(broker.places)


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL of the test's own, durable as in production, with a copy of the test database. `disk` is its file system, when it
    has one of its own."""

    places: Places
    disk: Path | None

    def session(self) -> psycopg.Connection[Any]:
        """Raises `psycopg.OperationalError` while the server is away."""
        return psycopg.connect(
            host=str(self.places.sockets), user="postgres", dbname=DATABASE_NAME, autocommit=True, connect_timeout=5
        )

    def run(self, statement: str, *values: Any) -> None:
        with self.session() as session:
            session.execute(statement, values)

    def crash(self) -> None:
        """An immediate shutdown: nothing is finished, nothing is written that was not; recovery comes with the next start."""
        pid = int((self.places.postgres / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the database gone")

    def start(self) -> None:
        start_postgres(self.places)

    def is_running(self) -> bool:
        return is_postgres_running(self.places)

    def without_room(self) -> AbstractContextManager[None]:
        """No room is left on the disk while the block runs; where we may not mount one that can be filled, no file may grow."""
        return self.rationed() if self.disk is None else self._filled(self.disk)

    @contextmanager
    def rationed(self) -> Iterator[None]:
        """The system lets the server write to no file. This needs no permission; the server falls over at its next commit, and cannot
        start either."""
        self._ration("0")
        try:
            yield
        finally:
            self._ration("unlimited")
            self.mend()

    @contextmanager
    def _filled(self, disk: Path) -> Iterator[None]:
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 65536)
        try:
            yield
        finally:
            ballast.unlink()
            self.mend()

    def mend(self) -> None:
        """There is room again. A server that gave up is started, as its supervisor would."""

        def is_back() -> bool:
            if not self._postmaster():
                self.start()
            return self.is_running()

        wait_until(is_back, "the database after it had no room")

    def _postmaster(self) -> int | None:
        """Its process, while it lives."""
        try:
            pid = int((self.places.postgres / "postmaster.pid").read_text().splitlines()[0])
        except (FileNotFoundError, IndexError):
            return None
        return pid if is_alive(pid) else None

    def _ration(self, size: str) -> None:
        """What starts later has it from its parent, so that comes first."""
        parent = self._postmaster()
        owner = (self.places.postgres / "PG_VERSION").owner()
        for pid in [parent, *children_of(parent)] if parent else []:
            command = ["prlimit", f"--pid={pid}", f"--fsize={size}:"]
            ended = subprocess.run(command, user=owner if os.geteuid() == 0 else None, capture_output=True, check=False)
            assert ended.returncode == 0 or not is_alive(pid), ended.stderr


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """While the block runs the database of the tests is a copy on this server."""
    with empty_cluster() as cluster:
        dump = cluster.places.sockets.parent / "original.dump"
        dump_database(dump)
        _copy_roles(cluster)
        _load(cluster, dump)
        with used(cluster):
            yield cluster


@contextmanager
def empty_cluster() -> Iterator[Cluster]:
    """A server with an empty database and no roles but its owner's."""
    with _open_folder() as folder, _own_disk(folder / "postgres") as disk:
        cluster = Cluster(Places(folder), disk)
        try:
            cluster.start()
            cluster.run(f"ALTER SYSTEM SET max_connections = {MOST_CONNECTIONS}")
            cluster.run("ALTER SYSTEM SET deadlock_timeout = '200ms'")
            stop_postgres(cluster.places)
            cluster.start()
            yield cluster
        finally:
            stop_postgres(cluster.places)


@contextmanager
def _open_folder() -> Iterator[Path]:
    """Not below pytest's own: every session that starts closes that to other users, the server's among them."""
    folder = Path(tempfile.mkdtemp(prefix="tieout-cluster-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def used(cluster: Cluster) -> Iterator[None]:
    """The tests' connection leads there, and so do the processes they start."""
    names = {"NAME": DATABASE_NAME, "HOST": str(cluster.places.sockets)}
    before = {key: connection.settings_dict[key] for key in names}
    connection.close()
    connection.settings_dict.update(names)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)


@contextmanager
def _own_disk(place: Path) -> Iterator[Path | None]:
    """A small file system for the server's files; None where we may not mount one."""
    place.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)], capture_output=True, check=False
    )
    try:
        yield place if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


_ROLES = r"SELECT rolname FROM pg_roles WHERE NOT rolcanlogin AND rolname NOT LIKE 'pg\_%'"
_MEMBERS = r"""
    SELECT pg_get_userbyid(roleid), pg_get_userbyid(member) FROM pg_auth_members
    WHERE pg_get_userbyid(roleid) NOT LIKE 'pg\_%'
"""


def _copy_roles(cluster: Cluster) -> None:
    """They belong to a server and not to a database, so no dump of one holds them."""
    with connection.cursor() as cursor:
        cursor.execute(_ROLES)
        roles = [name for (name,) in cursor.fetchall()]
        cursor.execute(_MEMBERS)
        members = cursor.fetchall()
    with cluster.session() as session:
        for name in roles:
            session.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
        for role, member in members:
            session.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(member)))


def _load(cluster: Cluster, dump: Path, *options: str) -> None:
    where = {"PGHOST": str(cluster.places.sockets), "PGUSER": "postgres"}
    command = [str(programs() / "pg_restore"), "--exit-on-error", *options, f"--dbname={DATABASE_NAME}", str(dump)]
    subprocess.run(command, env={**os.environ, **where}, check=True, capture_output=True)


def load_elsewhere(cluster: Cluster, dump: Path) -> None:
    """As the operators' guide has it done on a server that has not the tenants' roles."""
    _load(cluster, dump, "--no-privileges")


def celery(folder: Path, app: str = "tests.faults.hastened") -> list[str]:
    worker = ["celery", "-A", app, "worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "ERROR"]
    quiet = ["--without-gossip", "--without-mingle", "--beat", "--schedule", str(folder / "beat")]
    return [sys.executable, "-m", *worker, *quiet]


def kept_celery(folder: Path) -> list[str]:
    """The same, started again whenever it ends; it writes to the folder's `celery.log`."""
    return [sys.executable, "-m", "tests.faults.supervised", str(folder), *celery(folder)]


@contextmanager
def web_server(address: str, folder: Path, code: Path | None = None) -> Iterator[Process]:
    """The product's web server; one worker process, threads as in production. Another release's takes its share of the requests."""
    command = (
        *(sys.executable, "-m", "gunicorn", "marketplace.wsgi:application", "--no-control-socket"),
        *("--workers", "1", "--threads", "4", "--worker-class", "gthread", "--graceful-timeout", "10"),
        *("--bind", address.removeprefix("http://"), "--log-level", "error"),
        "--reuse-port",
    )
    log = folder / "web.log"
    with running(command, log, code=code) as process:
        wait_until(lambda: bool(children_of(process)) or process.poll() is not None, "the web server's process")
        wait_until(lambda: answer_of(f"{address}/healthz") is not None, "the web server")
        assert process.poll() is None, log.read_text()[-2000:]
        yield process


def answer_of(url: str, seconds: float = 8.0) -> httpx.Response | None:
    """None while nobody answers."""
    try:
        return httpx.get(url, timeout=seconds)
    except httpx.HTTPError:
        return None


def rest(seconds: float) -> None:
    """How long a server stays away or full: trouble takes its time, there is nothing to wait for."""
    time.sleep(seconds)


def delivery_body(number: int, size: int = 0) -> bytes:
    return b'{"id": %d, "admin_graphql_api_id": "gid://shopify/Order/%d", "note": "%b"}' % (number, number, b"x" * size)


def delivery(address: str, number: int = 1, size: int = 0) -> int:
    """A genuine one, as the shop signs it; answers its status."""
    body = delivery_body(number, size)
    secret = configured.CONNECTOR_CREDENTIALS["shopify"]["client_secret"]
    signature = base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()
    headers = {
        "X-Shopify-Topic": "orders/create",
        "X-Shopify-Hmac-Sha256": signature,
        "X-Shopify-Shop-Domain": SHOP,
        "X-Shopify-Event-Id": f"event-{number}",
        "X-Shopify-Webhook-Id": f"event-{number}",
        "Content-Type": "application/json",
    }
    answer = httpx.post(f"{address}/webhooks/shopify/simulator/", content=body, headers=headers, timeout=30)
    return answer.status_code
