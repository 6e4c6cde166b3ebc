"""Servers and databases for the tests: started once, shared by parallel workers and by test sessions side by side."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis
from psycopg import sql
from xdist.scheduler import LoadScopeScheduling

from marketplace.core.runtime.servers import ensure_servers, stop_servers
from tenants.provisioning import create_schema, ensure_template
from tenants.roles import ensure_shared_rights

# Schemas that the fixtures `tenant` and `other_tenant` use; made once, in the database the others are copied from.
TEST_SCHEMAS = ("t_kestrel", "t_marlow")
pytest_plugins = ["tests.faults.removal"]
_JOURNEYS = "tests/journeys/"
_ROOT = Path(__file__).resolve().parent
_lock: IO[str] | None = None
# The same examples each time, however slow the machine is: a red test is what a change did.
hypothesis.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.load_profile("repeatable")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Each session holds a shared lock, so that the last one to leave is the one that stops the servers."""
    global _lock
    settings.PLACES.var.mkdir(parents=True, exist_ok=True)
    _lock = (settings.PLACES.var / "sessions.lock").open("w")
    fcntl.flock(_lock, fcntl.LOCK_SH)
    ensure_servers(
        settings.PLACES,
        needs_postgres=settings.USES_EMBEDDED_POSTGRES,
        needs_valkey=settings.USES_EMBEDDED_VALKEY,
        is_durable=False,
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The journeys go to one worker, so they begin first."""
    items.sort(key=lambda item: not item.nodeid.startswith(_JOURNEYS))


class Scheduling(LoadScopeScheduling):
    """Each test goes to whichever worker is free; the journeys share one running product, and so one worker. The groups that the
    plugin itself offers do nothing beside this version of pytest."""

    def _split_scope(self, nodeid: str) -> str:
        return _JOURNEYS if nodeid.startswith(_JOURNEYS) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    """After pytest-django has dropped this session's database."""
    if _lock is None:
        return
    try:
        fcntl.flock(_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _lock.close()
        return
    # A session that starts now waits for the lock, and then finds the servers stopped.
    if settings.USES_EMBEDDED_POSTGRES and settings.USES_EMBEDDED_VALKEY:
        stop_servers(settings.PLACES)
    _lock.close()


def _migrations_digest() -> str:
    """Changes whenever a migration does, and with the code that makes schemas."""
    digest = hashlib.sha256()
    makers = [_ROOT / "tenants" / name for name in ("provisioning.py", "roles.py")]
    for path in (*sorted(_ROOT.glob("*/**/migrations/*.py")), *makers):
        if ".venv" not in path.parts:
            digest.update(path.as_posix().encode() + path.read_bytes())
    digest.update(" ".join([*settings.INSTALLED_APPS, *TEST_SCHEMAS]).encode())
    return digest.hexdigest()[:16]


def _use_database(name: str) -> None:
    connection.close()
    connection.settings_dict["NAME"] = settings.DATABASES["default"]["NAME"] = name


def _execute(statement: str, *names: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _exists(name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        return cursor.fetchone() is not None


def _make_original(server_database: str) -> str:
    """A migrated database with two tenant schemas, made once per state of the migrations and copied by every session."""
    original = f"tieout_tests_{_migrations_digest()}"
    with (settings.PLACES.var / "original.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _exists(original):
            part = f"{original}_part"
            _execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", part)
            _execute("CREATE DATABASE {}", part)
            _use_database(part)
            call_command("migrate", verbosity=0)
            ensure_shared_rights()
            ensure_template()
            for schema_name in TEST_SCHEMAS:
                create_schema(schema_name)
            _use_database(server_database)
            _execute("ALTER DATABASE {} RENAME TO {}", part, original)
    return original


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """Replaces pytest-django's: a copy of a migrated database takes a fraction of a second."""
    server_database = settings.DATABASES["default"]["NAME"]
    name = f"tieout_test_{os.getpid()}"
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        original = _make_original(server_database)
        _execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        _execute("CREATE DATABASE {} TEMPLATE {}", name, original)
        _use_database(name)
    yield
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        _use_database(server_database)
        _execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        connection.close()
