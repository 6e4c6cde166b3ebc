"""A crowd at expiry, and death between the provider's answer and our commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest
from django.db import OperationalError
from django.db import connection as database
from django.utils import timezone

from connectors.sdk.errors import ReconnectRequired, TransientError
from connectors.testing.faults import Fault
from marketplace.audit.models import AuditEntry
from marketplace.installations.models import Connection
from marketplace.installations.vault import ConnectionToken
from tenants.context import tenant as tenant_context
from tenants.models import Tenant
from tests.installations.walking import Walk

Walking = Callable[..., Walk]
CROWD = 64


def expire(tenant: Tenant, connection: Connection) -> None:
    with tenant_context(tenant):
        Connection.objects.filter(pk=connection.pk).update(token_expires_at=timezone.now() + timedelta(seconds=30))


def refreshes(walk: Walk) -> int:
    return walk.simulator.counts[f"POST {walk.simulator.oauth_rules.token_path}"]


def ask_all(token: ConnectionToken) -> list[str]:
    """What each of a crowd got that asked at the same moment, every one through a database connection of its own."""
    answers: list[str] = []
    start = threading.Barrier(CROWD)

    def ask() -> None:
        start.wait()
        try:
            answers.append(token.current())
        except (ReconnectRequired, TransientError) as error:
            answers.append(type(error).__name__)
        finally:
            database.close()

    threads = [threading.Thread(target=ask) for _ in range(CROWD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.fixture
def dies_at_commit(transactional_db: None, tenant: Tenant) -> Iterator[Callable[[], None]]:
    """After this, the next commit of a changed connection never happens: the database ends the session that tries."""
    schema = f'"{tenant.schema_name}"'

    def arm() -> None:
        with database.cursor() as cursor:
            cursor.execute(
                f"CREATE FUNCTION {schema}.die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
                " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
            )
            cursor.execute(
                f"CREATE CONSTRAINT TRIGGER die AFTER UPDATE ON {schema}.installations_connection"
                f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {schema}.die()"
            )

    yield arm
    disarm(tenant)


def disarm(tenant: Tenant) -> None:
    with database.cursor() as cursor:
        cursor.execute(f'DROP FUNCTION IF EXISTS "{tenant.schema_name}".die() CASCADE')


def test_one_refresh_serves_a_crowd(transactional_db: None, walk: Walking, tenant: Tenant) -> None:
    alice = walk("quickbooks")
    connection = alice.connect()
    expire(tenant, connection)
    before = refreshes(alice)
    answers = ask_all(ConnectionToken(tenant.pk, connection.pk))
    assert len(answers) == CROWD
    assert len(set(answers)) == 1
    assert refreshes(alice) == before + 1
    assert alice.again(connection).token_version == connection.token_version + 1


def test_one_refusal_serves_a_crowd(transactional_db: None, walk: Walking, tenant: Tenant) -> None:
    alice = walk("xero")
    connection = alice.connect()
    for grant in alice.simulator.oauth.live_grants(connection.organisation_id):
        alice.simulator.oauth.end(grant.id)
    expire(tenant, connection)
    before = refreshes(alice)
    assert ask_all(ConnectionToken(tenant.pk, connection.pk)) == ["ReconnectRequired"] * CROWD
    assert refreshes(alice) == before + 1
    with tenant_context(tenant):
        assert AuditEntry.objects.filter(action="connection.needs_reconnect").count() == 1


def test_provider_that_is_down_for_a_crowd_disconnects_nobody(
    transactional_db: None, walk: Walking, tenant: Tenant
) -> None:
    alice = walk("stripe")
    connection = alice.connect()
    expire(tenant, connection)
    path = alice.simulator.oauth_rules.token_path
    alice.simulator.faults.add(Fault(match=f"POST {path}", kind="status", status=503, times=2 * CROWD))
    token = ConnectionToken(tenant.pk, connection.pk)
    assert ask_all(token) == ["TransientError"] * CROWD
    assert alice.again(connection).state == "connected"
    alice.simulator.faults.clear()
    assert token.current()


@pytest.mark.parametrize("slug", ["quickbooks", "shopify", "xero"])
def test_death_between_answer_and_commit_loses_nothing(
    slug: str, dies_at_commit: Callable[[], None], walk: Walking, tenant: Tenant
) -> None:
    alice = walk(slug)
    connection = alice.connect()
    expire(tenant, connection)
    before, token = refreshes(alice), ConnectionToken(tenant.pk, connection.pk)
    dies_at_commit()
    with pytest.raises((OperationalError, psycopg.OperationalError)):
        token.current()
    database.close()
    disarm(tenant)
    assert refreshes(alice) == before + 1
    assert alice.again(connection).token_version == connection.token_version
    assert token.current()
    assert refreshes(alice) == before + 2
    assert alice.again(connection).state == "connected"


def test_death_at_a_provider_without_grace_asks_for_reconnecting(
    dies_at_commit: Callable[[], None], walk: Walking, tenant: Tenant
) -> None:
    """Stripe takes a refresh token once: what it answered is lost with us, and a person is asked, not left in the dark."""
    alice = walk("stripe")
    connection = alice.connect()
    expire(tenant, connection)
    token = ConnectionToken(tenant.pk, connection.pk)
    dies_at_commit()
    with pytest.raises((OperationalError, psycopg.OperationalError)):
        token.current()
    database.close()
    disarm(tenant)
    with pytest.raises(ReconnectRequired, match="Reconnect to go on"):
        token.current()
    assert alice.again(connection).state == "needs_reconnect"


def test_answer_lost_on_its_way_loses_nothing(walk: Walking, tenant: Tenant) -> None:
    alice = walk("xero")
    connection = alice.connect()
    expire(tenant, connection)
    alice.simulator.faults.add(Fault(match="POST /connect/token", kind="drop_after"))
    token = ConnectionToken(tenant.pk, connection.pk)
    with pytest.raises(TransientError):
        token.current()
    assert token.current()
    assert alice.again(connection).state == "connected"
