"""The end of an authorisation: told by the provider, found out by us, or asked for by two businesses at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection as database
from django.test import Client
from django.utils import timezone

from connectors.testing import Simulator
from connectors.testing.control import Control
from connectors.testing.faults import Fault
from connectors.testing.outbox import as_delivery
from marketplace.audit.models import AuditEntry
from marketplace.core.models import EventCopy, InboxEvent, WorkItem
from marketplace.core.work import claim_work, do_work
from marketplace.installations import tasks
from marketplace.installations.models import Connection
from marketplace.installations.operations import uninstall
from marketplace.sync.models import Record
from marketplace.sync.operations import read_stream
from marketplace.sync.tasks import follow_events
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.installations.walking import Walk
from tests.posting.world import order

Walking = Callable[..., Walk]


def kinds(*tenants: Tenant) -> list[str]:
    wanted = WorkItem.objects.filter(tenant__in=tenants, kind__in=["revoke", "shared", "subscribe"])
    return sorted(wanted.values_list("kind", flat=True))


def end_at_the_provider(simulator: Simulator, connection: Connection) -> None:
    for grant in simulator.oauth.live_grants(connection.organisation_id):
        simulator.oauth.end(grant.id)


def deliver(simulator: Simulator, client: Client) -> int:
    """Carry the newest message to our endpoint, as the provider's sender does."""
    delivery = as_delivery(simulator.outbox.deliveries()[-1])
    return client.generic(
        "POST",
        f"/webhooks/{simulator.slug}/simulator/",
        delivery.body,
        content_type="application/json",
        headers=simulator.webhook_headers(delivery),
    ).status_code


def do(tenant: Tenant, kind: str) -> None:
    """One worker's turn at the work of this kind."""
    WorkItem.objects.exclude(tenant=tenant, kind=kind).delete()
    claim = claim_work()
    assert claim is not None
    do_work(claim)


def revoked_entries(tenant: Tenant) -> list[str]:
    with tenant_context(tenant):
        entries = AuditEntry.objects.filter(action="connection.needs_reconnect")
        return [f"{entry.actor}: {entry.summary}" for entry in entries]


def test_end_told_by_the_provider_is_in_the_trail_once(walk: Walking, tenant: Tenant) -> None:
    alice = walk("shopify")
    connection = alice.connect()
    tasks.subscribe(tenant.pk, str(connection.pk))
    Control(alice.simulator).disconnect({"organisation": connection.organisation_id})
    assert deliver(alice.simulator, alice.client) == 200
    for _ in range(2):
        follow_events(tenant.pk, str(connection.pk))
    broken = alice.again(connection)
    assert broken.state == "needs_reconnect"
    assert "ended this connection at the provider's side" in broken.problem
    assert revoked_entries(tenant) == [f"Tieout: {connection.organisation_name} needs reconnecting: {broken.problem}"]


def test_what_comes_after_disconnecting_is_parked_and_starts_nothing(walk: Walking, tenant: Tenant) -> None:
    """From the page to the last message: the provider was told, nothing opens its doors any more, and nothing is dropped."""
    alice = walk("shopify")
    connection = alice.connect()
    tasks.subscribe(tenant.pk, str(connection.pk))
    alice.client.post(f"/o/kestrel/connections/{connection.pk}/uninstall/")
    before = sum(alice.simulator.counts.values())
    alice.simulator.plant(connection.organisation_id, [order(1001)], by="provider", emit=True)
    assert deliver(alice.simulator, alice.client) == 200
    assert [event.state for event in InboxEvent.objects.all()] == ["parked"]
    assert not EventCopy.objects.exists()
    assert read_stream(tenant_id=tenant.pk, connection_id=connection.pk, data_type="order") is None
    assert follow_events(tenant.pk, str(connection.pk)) is None
    assert sum(alice.simulator.counts.values()) == before
    with tenant_context(tenant):
        assert not Record.objects.filter(connection=connection).exists()


def test_old_message_of_an_end_does_not_break_the_new_consent(walk: Walking, tenant: Tenant) -> None:
    alice = walk("shopify")
    connection = alice.connect()
    tasks.subscribe(tenant.pk, str(connection.pk))
    Control(alice.simulator).disconnect({"organisation": connection.organisation_id})
    alice.connect()
    assert deliver(alice.simulator, alice.client) == 200
    follow_events(tenant.pk, str(connection.pk))
    assert alice.again(connection).state == "connected"
    assert revoked_entries(tenant) == []


def test_subscribing_ends_with_the_authorisation(walk: Walking, tenant: Tenant) -> None:
    alice = walk("shopify")
    connection = alice.connect()
    end_at_the_provider(alice.simulator, connection)
    do(tenant, "subscribe")
    assert kinds(tenant) == []
    assert alice.again(connection).state == "needs_reconnect"
    link = alice.agree(f"/o/kestrel/connections/{connection.pk}/reconnect/")
    alice.come_back(alice.decide(link))
    assert kinds(tenant) == ["subscribe"]


def test_subscribing_is_tried_again_after_passing_trouble(walk: Walking, tenant: Tenant) -> None:
    alice = walk("shopify")
    connection = alice.connect()
    alice.simulator.faults.add(Fault(match="POST /shops", kind="html", times=9))
    do(tenant, "subscribe")
    waiting = WorkItem.objects.get(tenant=tenant, kind="subscribe")
    assert waiting.attempts == 1
    assert waiting.due_at > timezone.now()
    assert alice.again(connection).state == "connected"
    alice.simulator.faults.clear()
    WorkItem.objects.update(due_at=timezone.now())
    do(tenant, "subscribe")
    assert WorkItem.objects.get().due_at > timezone.now() + timedelta(hours=11)


def waits_for_a_lock(thread: threading.Thread) -> bool:
    """Whether a backend comes to wait for an advisory lock while the thread runs."""
    until = time.monotonic() + 20
    while thread.is_alive() and time.monotonic() < until:
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
                " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database())"
            )
            if cursor.fetchone()[0]:
                return True
    return False


def test_last_of_two_who_leave_at_once_revokes(
    transactional_db: None,
    walk: Walking,
    tenant: Tenant,
    other_tenant: Tenant,
    alice: User,
    charlie: User,
    charlie_client: Client,
) -> None:
    ours, theirs = walk("xero").connect(), walk("xero", charlie_client, other_tenant).connect()

    def leave() -> None:
        try:
            with tenant_context(other_tenant):
                uninstall(connection=theirs, user=charlie)
        finally:
            database.close()

    second = threading.Thread(target=leave)
    with tenant_context(tenant):
        uninstall(connection=ours, user=alice)
        second.start()
        assert waits_for_a_lock(second)
    second.join()
    assert set(kinds(tenant)) == {"shared", "subscribe"}
    assert set(kinds(other_tenant)) == {"revoke", "subscribe"}
    tasks.forget_shared(tenant.pk, str(ours.pk))
    tasks.revoke(other_tenant.pk, str(theirs.pk))
    assert walk("xero").again(ours).sealed_access is None


def test_unsubscribing_refreshes_after_disconnecting(walk: Walking, tenant: Tenant, alice: User) -> None:
    walked = walk("shopify")
    connection = walked.connect()
    tasks.subscribe(tenant.pk, str(connection.pk))
    assert subscriptions(walked.simulator, connection)
    with tenant_context(tenant):
        uninstall(connection=connection, user=alice)
        Connection.objects.filter(pk=connection.pk).update(token_expires_at=timezone.now() - timedelta(days=1))
    tasks.revoke(tenant.pk, str(connection.pk))
    assert not subscriptions(walked.simulator, connection)
    assert walked.simulator.oauth.live_grants(connection.organisation_id) == []


def subscriptions(simulator: Any, connection: Connection) -> list[Any]:
    return list(simulator.shop(connection.organisation_id).all("WebhookSubscription"))
