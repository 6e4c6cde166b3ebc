"""C8: a crowd at every expiry costs one refresh and no connection, and what is sealed opens nowhere else.

The judge is the provider's simulator: it counts the calls of its token endpoint and knows which grants live.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection as database
from django.utils import timezone
from pytest_django import Settings

from connectors.registry import connector
from connectors.sdk.oauth import TokenSet
from marketplace.audit.models import AuditEntry
from marketplace.demo.world import Simulated
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.installations.vault import UnableToOpen, store_tokens, stored_tokens
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.benchmarks.driving import Business
from tests.benchmarks.simulators import SPEED, serving
from tests.faults.askers import FEW
from tests.faults.campaign import Size
from tests.faults.processes import environment
from tests.mapping.world import connect

pytestmark = [pytest.mark.faults, pytest.mark.stack]

CROWD = 64
STRICT = "strict, family revoked"
#: How each provider's refresh tokens behave.
MODES = {"stripe": STRICT, "xero": "grace window", "quickbooks": "not rotating"}
TROUBLES: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 429},
    {"kind": "html"},
    {"kind": "drop_before"},
)


@pytest.fixture
def provider(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Iterator[Simulated]:
    """One simulator in a process of its own."""
    with serving((request.param,), tmp_path, settings.CONNECTOR_CREDENTIALS) as addresses:
        settings.SIMULATORS = addresses
        settings.SIMULATOR_SPEED = SPEED
        simulated = Simulated(request.param)
        yield simulated
        simulated.http.close()


class Crowd:
    """Processes that all use one connection."""

    def __init__(self, owner: Tenant, connection: Connection, simulated: Simulated, count: int) -> None:
        self.owner, self.connection, self.simulated, self.count = owner, connection, simulated, count
        command = [sys.executable, "-m", "tests.faults.askers", str(count)]
        self.process = subprocess.Popen(
            [*command, str(owner.pk), str(connection.pk), simulated.slug],
            env=environment(),
            cwd=django_settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready\n"

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self, word: str = "all") -> Counter[str]:
        """What all of them got that asked at the same moment."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return Counter(json.loads(self._read()))

    def expire(self) -> None:
        with tenant_context(self.owner):
            Connection.objects.update(token_expires_at=timezone.now() - timedelta(seconds=1))

    def refreshes(self) -> int:
        """Calls of the token endpoint, as the provider counts them. The first one exchanged the code."""
        return int(self.simulated.counts()["calls"][f"POST {self._path}"]) - 1

    @property
    def _path(self) -> str:
        return connector(self.connection.connector).manifest.auth.token[1]

    def trouble(self, **fault: Any) -> None:
        self.simulated.http.post("/_sim/faults", json={"match": f"POST {self._path}", **fault}).raise_for_status()

    def calm(self) -> None:
        self.simulated.http.delete("/_sim/faults").raise_for_status()

    def again(self) -> Connection:
        with tenant_context(self.owner):
            return Connection.objects.get(pk=self.connection.pk)

    def works(self) -> bool:
        """The provider answers to what is stored."""
        client = client_for(self.owner.pk, self.connection)
        stream = connector(self.connection.connector).stream("company")
        return bool(next(iter(stream.pages(client, None))).records)

    def notices(self) -> int:
        with tenant_context(self.owner):
            return AuditEntry.objects.filter(action="connection.needs_reconnect").count()


@pytest.fixture
def crowd(provider: Simulated, business: Business) -> Iterator[Crowd]:
    organisation = provider.http.get("/_sim/organisations").raise_for_status().json()["organisations"][0]["id"]
    connection = business.connect(provider.slug, organisation)
    one = Crowd(business.owner, connection, provider, CROWD)
    yield one
    one.process.communicate(timeout=30)


def at(*providers: str) -> pytest.MarkDecorator:
    """The test runs at these providers."""
    return pytest.mark.parametrize("provider", providers, indirect=True, ids=[MODES[slug] for slug in providers])


@at("stripe", "xero", "quickbooks")
def test_crowd_at_every_expiry_costs_one_refresh_and_no_connection(crowd: Crowd, size: Size, tell: Any) -> None:
    """Then one holder of the lock after the other is killed with the provider's answer in hand."""
    mode = MODES[crowd.simulated.slug]
    rounds = size.pick(44 if crowd.simulated.slug == "stripe" else 3, 500)
    assert len(storm(crowd, rounds)) == rounds
    assert crowd.again().state == "connected"
    assert crowd.works()
    tell("C8", f"expiry with {CROWD} processes, {mode}", tried=rounds, events=rounds * CROWD)
    lose_the_answers(crowd)
    tell("C8", f"kill -9 between answer and commit, {mode}", tried=FEW, events=FEW + CROWD)


def storm(crowd: Crowd, rounds: int) -> set[str]:
    """The token of each round, which all got, for one call."""
    tokens = set()
    for number in range(1, rounds + 1):
        crowd.expire()
        answers = crowd.ask()
        assert list(answers.values()) == [CROWD], answers
        assert crowd.refreshes() == number
        tokens |= set(answers)
    return tokens


def lose_the_answers(crowd: Crowd) -> None:
    """Where the old refresh token still works, whoever comes next gets a new one. Where it does not, a person is asked, once."""
    before = crowd.refreshes()
    crowd.expire()
    if MODES[crowd.simulated.slug] != STRICT:
        assert crowd.ask("die") == Counter(killed=FEW)
        assert list(crowd.ask().values()) == [CROWD]
        assert crowd.refreshes() == before + FEW + 1
        assert (crowd.again().state, crowd.notices()) == ("connected", 0)
        assert crowd.works()
        return
    assert crowd.ask("die") == Counter(killed=1, ReconnectRequired=FEW - 1)
    assert crowd.ask() == Counter(ReconnectRequired=CROWD)
    assert crowd.refreshes() == before + 2
    assert (crowd.again().state, crowd.notices()) == ("needs_reconnect", 1)


@at("xero")
def test_one_refresh_serves_all_and_trouble_disconnects_nobody(crowd: Crowd, tell: Any) -> None:
    assert len(storm(crowd, 2)) == 2
    for trouble in TROUBLES:
        crowd.trouble(times=CROWD, **trouble)
        crowd.expire()
        assert set(crowd.ask("few")) <= {"TransientError", "RateLimited", "UnexpectedResponse"}
        assert crowd.again().state == "connected"
        crowd.calm()
        assert list(crowd.ask("few").values()) == [FEW]
    assert crowd.works()
    tell("C8", "token endpoint in trouble", tried=len(TROUBLES), events=2 * FEW * len(TROUBLES))


def test_sealed_tokens_open_in_no_other_row_tenant_or_field(
    transactional_db: None, tenant: Tenant, other_tenant: Tenant, alice: User, tell: Any
) -> None:
    """Ciphertexts moved about with SQL, as whoever owns the database could."""
    stored = [(owner, store(owner, alice, slug)) for owner in (tenant, other_tenant) for slug in ("stripe", "xero")]
    places = [(*place, column) for place in stored for column in ("sealed_access", "sealed_refresh")]
    sealed = [read(*place) for place in places]
    tried = 0
    for target, place in enumerate(places):
        for source in range(len(places)):
            write(*place, sealed[source])
            assert opens(place[0], place[1]) == (source == target)
            tried += source != target
        write(*place, sealed[target])
    assert all(opens(owner, connection) for owner, connection, _ in places)
    tell("C8", "ciphertexts moved elsewhere", tried=tried)


def store(owner: Tenant, user: User, slug: str) -> Connection:
    with tenant_context(owner):
        connection = connect(user, slug, "Kestrel")
        store_tokens(
            connection, TokenSet(access_token=f"a-{slug}", refresh_token=f"r-{slug}", expires_in=9), tenant_id=owner.pk
        )
        return connection


def read(owner: Tenant, connection: Connection, column: str) -> bytes:
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT {column} FROM {owner.schema_name}.installations_connection WHERE id = %s", [connection.pk]
        )
        return bytes(cursor.fetchone()[0])


def write(owner: Tenant, connection: Connection, column: str, sealed: bytes) -> None:
    with database.cursor() as cursor:
        statement = f"UPDATE {owner.schema_name}.installations_connection SET {column} = %s WHERE id = %s"
        cursor.execute(statement, [sealed, connection.pk])


def opens(owner: Tenant, connection: Connection) -> bool:
    with tenant_context(owner):
        known = Connection.objects.get(pk=connection.pk)
    try:
        tokens = stored_tokens(known, tenant_id=owner.pk)
    except UnableToOpen:
        return False
    return (tokens.access_token, tokens.refresh_token) == (f"a-{known.connector}", f"r-{known.connector}")
