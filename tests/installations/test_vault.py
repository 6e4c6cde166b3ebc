"""The token vault: sealed for one place, refreshed once, and never given up for passing trouble."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.utils import timezone

from connectors.registry import connectors
from connectors.sdk.errors import ReconnectRequired, TransientError, UnexpectedResponse
from connectors.testing.faults import Fault, Kind
from marketplace.audit.models import AuditEntry
from marketplace.installations.models import Connection
from marketplace.installations.vault import ConnectionToken, UnableToOpen, mark_needs_reconnect, open_sealed, seal
from tenants.context import tenant as tenant_context
from tenants.models import Tenant
from tests.installations.walking import Walk

Walking = Callable[..., Walk]
HERE: dict[str, Any] = {"tenant_id": uuid.UUID(int=1), "row": "row-1", "field": "access"}


def expire(tenant: Tenant, connection: Connection) -> None:
    with tenant_context(tenant):
        Connection.objects.filter(pk=connection.pk).update(token_expires_at=timezone.now() + timedelta(seconds=30))


def refreshes(walk: Walk) -> int:
    """Calls of the token endpoint so far."""
    path = walk.simulator.oauth_rules.token_path
    return sum(count for route, count in walk.simulator.counts.items() if route == f"POST {path}")


def test_what_is_sealed_opens_in_its_place() -> None:
    sealed = seal("secret-token", **HERE)
    assert b"secret" not in sealed
    assert open_sealed(sealed, **HERE) == "secret-token"
    assert seal("secret-token", **HERE) != sealed


@pytest.mark.parametrize(
    "elsewhere", [{"tenant_id": uuid.UUID(int=2)}, {"row": "row-2"}, {"field": "refresh"}, {"row": "row-1|access"}]
)
def test_ciphertext_moved_elsewhere_does_not_open(elsewhere: dict[str, Any]) -> None:
    with pytest.raises(UnableToOpen):
        open_sealed(seal("secret-token", **HERE), **(HERE | elsewhere))


@pytest.mark.parametrize("position", [0, 1, 5, 17, -1])
def test_ciphertext_off_by_a_bit_does_not_open(position: int) -> None:
    sealed = bytearray(seal("secret-token", **HERE))
    sealed[position] ^= 1
    with pytest.raises(UnableToOpen):
        open_sealed(bytes(sealed), **HERE)


@pytest.mark.parametrize("nothing", [None, b"", b"\x01", memoryview(b"plain text of some length")])
def test_what_was_never_sealed_does_not_open(nothing: Any) -> None:
    with pytest.raises(UnableToOpen):
        open_sealed(nothing, **HERE)


def test_another_key_does_not_open(settings: Any) -> None:
    sealed = seal("secret-token", **HERE)
    settings.TIEOUT_KEK = bytes(32)
    with pytest.raises(UnableToOpen):
        open_sealed(sealed, **HERE)


def test_tokens_copied_between_rows_are_useless(walk: Walking, tenant: Tenant) -> None:
    mine, theirs = walk("stripe").connect(), walk("quickbooks").connect()
    with tenant_context(tenant):
        Connection.objects.filter(pk=theirs.pk).update(sealed_access=bytes(mine.sealed_access or b""))
    with pytest.raises(ReconnectRequired):
        ConnectionToken(tenant.pk, theirs.pk).current()
    assert walk().again(theirs).state == "needs_reconnect"
    assert walk().again(mine).state == "connected"


def test_tokens_are_nowhere_in_the_clear(walk: Walking, tenant: Tenant) -> None:
    connection = walk("stripe").connect()
    token = ConnectionToken(tenant.pk, connection.pk).current()
    assert token.encode() not in bytes(connection.sealed_access or b"")
    with tenant_context(tenant):
        assert token not in str(list(AuditEntry.objects.values()))


@pytest.mark.parametrize("slug", sorted(connectors()))
def test_token_is_refreshed_early_and_only_then(slug: str, walk: Walking, tenant: Tenant) -> None:
    alice = walk(slug)
    connection = alice.connect()
    token = ConnectionToken(tenant.pk, connection.pk)
    first, before = token.current(), refreshes(alice)
    assert token.current() == first
    assert refreshes(alice) == before
    expire(tenant, connection)
    assert token.current() != first
    assert refreshes(alice) == before + 1
    assert alice.again(connection).token_version == connection.token_version + 1


def test_refused_token_is_renewed_unless_somebody_did(walk: Walking, tenant: Tenant) -> None:
    alice = walk("stripe")
    connection = alice.connect()
    token = ConnectionToken(tenant.pk, connection.pk)
    first, before = token.current(), refreshes(alice)
    second = token.renew(first)
    assert second != first
    assert token.renew(first) == second
    assert refreshes(alice) == before + 1


def test_one_refresh_serves_everybody_who_asks_at_expiry(transactional_db: None, walk: Walking, tenant: Tenant) -> None:
    alice = walk("stripe")
    connection = alice.connect()
    expire(tenant, connection)
    before, answers, start = refreshes(alice), [], threading.Barrier(6)

    def ask() -> None:
        start.wait()
        answers.append(ConnectionToken(tenant.pk, connection.pk).current())
        database.close()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6
    assert len(set(answers)) == 1
    assert refreshes(alice) == before + 1


@pytest.mark.parametrize("kind", ["status", "html", "half_body", "drop_before"])
def test_passing_trouble_never_disconnects(kind: Kind, walk: Walking, tenant: Tenant) -> None:
    alice = walk("xero")
    connection = alice.connect()
    expire(tenant, connection)
    alice.simulator.faults.add(Fault(match="POST /connect/token", kind=kind))
    token = ConnectionToken(tenant.pk, connection.pk)
    with pytest.raises((TransientError, UnexpectedResponse)):
        token.current()
    assert alice.again(connection).state == "connected"
    assert token.current()


@pytest.mark.parametrize("slug", sorted(connectors()))
def test_grant_that_is_gone_asks_for_reconnecting(slug: str, walk: Walking, tenant: Tenant) -> None:
    alice = walk(slug)
    connection = alice.connect()
    for grant in alice.simulator.oauth.live_grants(connection.organisation_id):
        alice.simulator.oauth.end(grant.id)
    expire(tenant, connection)
    for _ in range(2):
        with pytest.raises(ReconnectRequired):
            ConnectionToken(tenant.pk, connection.pk).current()
    broken = alice.again(connection)
    assert broken.state == "needs_reconnect"
    assert broken.problem.endswith(".")
    with tenant_context(tenant):
        entry = AuditEntry.objects.get(action="connection.needs_reconnect")
    assert entry.actor == "Tieout"
    assert connection.organisation_name in entry.summary


@pytest.mark.parametrize("state", ["needs_reconnect", "disconnected"])
def test_what_is_not_connected_is_refused_without_asking_anybody(state: str, walk: Walking, tenant: Tenant) -> None:
    alice = walk("xero")
    connection = alice.connect()
    expire(tenant, connection)
    with tenant_context(tenant):
        Connection.objects.filter(pk=connection.pk).update(state=state, problem="Xero said no.")
        entries = AuditEntry.objects.count()
    before, token = alice.simulator.counts.total(), ConnectionToken(tenant.pk, connection.pk)
    for ask in (token.current, lambda: token.renew("anything")):
        with pytest.raises(ReconnectRequired, match="Xero said no"):
            ask()
    assert alice.simulator.counts.total() == before
    with tenant_context(tenant):
        assert AuditEntry.objects.count() == entries


def test_last_calls_after_disconnecting_still_have_a_token(walk: Walking, tenant: Tenant) -> None:
    connection = walk("xero").connect()
    with tenant_context(tenant):
        Connection.objects.filter(pk=connection.pk).update(state="disconnected")
    expire(tenant, connection)
    assert ConnectionToken(tenant.pk, connection.pk, is_ending=True).current()
    with tenant_context(tenant):
        Connection.objects.filter(pk=connection.pk).update(state="needs_reconnect")
    with pytest.raises(ReconnectRequired):
        ConnectionToken(tenant.pk, connection.pk, is_ending=True).current()


def test_needs_reconnecting_is_said_once(walk: Walking, tenant: Tenant) -> None:
    connection = walk("xero").connect()
    with tenant_context(tenant):
        for problem in ("Xero ended it.", "Xero ended it twice."):
            mark_needs_reconnect(connection=connection, problem=problem)
        assert AuditEntry.objects.filter(action="connection.needs_reconnect").count() == 1
    assert walk().again(connection).problem == "Xero ended it."
