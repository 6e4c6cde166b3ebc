"""Seeing, reconnecting and disconnecting what was connected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from connectors.registry import connectors
from connectors.testing.faults import Fault
from marketplace.core.models import WebhookRoute, WorkItem
from marketplace.installations import tasks
from marketplace.installations.models import Connection, ConsentEntry
from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.models import Membership, Tenant, User
from tests.installations.walking import Walk, text_of

SLUGS = sorted(connectors())
Walking = Callable[..., Walk]


def break_it(tenant: Tenant, connection: Connection) -> None:
    with tenant_context(tenant):
        Connection.objects.filter(pk=connection.pk).update(state="needs_reconnect", problem="Xero says no.")


def work(tenant: Tenant) -> set[str]:
    return set(WorkItem.objects.filter(tenant=tenant).values_list("kind", flat=True))


def disconnect(walk: Walk, connection: Connection) -> str:
    path = f"/o/{walk.tenant.slug}/connections/{connection.pk}/uninstall/"
    return text_of(walk.client.post(path, follow=True))


def test_nothing_connected_leads_to_the_catalogue(tenant: Tenant, alice_client: Client) -> None:
    body = text_of(alice_client.get("/o/kestrel/connections/"))
    assert "Nothing is connected yet" in body
    assert "/o/kestrel/catalogue/" in body


def test_list_shows_state_problem_and_what_to_do(walk: Walking, tenant: Tenant) -> None:
    alice = walk("xero")
    connection = alice.connect()
    break_it(tenant, connection)
    body = text_of(alice.client.get("/o/kestrel/connections/"))
    assert "Kestrel & Co Ltd" in body
    assert "Needs reconnecting" in body
    assert "Xero says no." in body
    assert f"/o/kestrel/connections/{connection.pk}/reconnect/" in body


def test_catalogue_shows_what_is_connected(walk: Walking, tenant: Tenant) -> None:
    alice = walk("xero")
    connection = alice.connect()
    assert "Connected" in text_of(alice.client.get("/o/kestrel/catalogue/?text=xero"))
    assert f"/o/kestrel/connections/{connection.pk}/" in text_of(alice.client.get("/o/kestrel/catalogue/xero/"))


def test_bookkeeper_sees_but_cannot_change(walk: Walking, tenant: Tenant, bob_client: Client) -> None:
    connection = walk().connect()
    assert "Disconnect" not in text_of(bob_client.get("/o/kestrel/connections/"))
    assert bob_client.get(f"/o/kestrel/connections/{connection.pk}/").status_code == 200
    for page in ("reconnect", "uninstall"):
        assert bob_client.post(f"/o/kestrel/connections/{connection.pk}/{page}/").status_code == 403
    assert walk().again(connection).state == "connected"


@pytest.mark.parametrize("page", ["", "connected/", "reconnect/", "uninstall/"])
def test_stranger_finds_nothing_even_by_id(
    page: str, walk: Walking, tenant: Tenant, other_tenant: Tenant, charlie_client: Client
) -> None:
    connection = walk().connect()
    assert charlie_client.get(f"/o/kestrel/connections/{connection.pk}/{page}").status_code == 404
    assert charlie_client.post(f"/o/kestrel/connections/{connection.pk}/{page}").status_code == 404
    assert charlie_client.get(f"/o/marlow/connections/{connection.pk}/{page}").status_code == 404
    assert charlie_client.get("/o/kestrel/connections/").status_code == 404


def test_reconnecting_keeps_the_row(walk: Walking, tenant: Tenant) -> None:
    alice = walk("stripe")
    connection = alice.connect()
    break_it(tenant, connection)
    link = alice.agree(f"/o/kestrel/connections/{connection.pk}/reconnect/")
    renewed = alice.connection_at(alice.come_back(alice.decide(link))["Location"])
    assert renewed.pk == connection.pk
    assert (renewed.state, renewed.problem) == ("connected", "")
    assert renewed.token_version > connection.token_version
    assert WebhookRoute.objects.filter(connection_id=connection.pk).count() == 1
    body = text_of(alice.client.get(f"/o/kestrel/connections/{connection.pk}/connected/"))
    assert "Reconnected" in body


@pytest.mark.parametrize("slug", ["quickbooks", "stripe"])
def test_reconnecting_refuses_a_different_organisation_by_name(slug: str, walk: Walking, tenant: Tenant) -> None:
    alice = walk(slug)
    connection = alice.connect()
    other = alice.simulator.open_organisation(
        {
            "id": "9130000000000099" if slug == "quickbooks" else "acct_other",
            "name": "Wren Ltd",
            "base_currency": "GBP",
            "country": "GB",
        }
    )
    alice.simulator.commit()
    link = alice.agree(f"/o/kestrel/connections/{connection.pk}/reconnect/")
    response = alice.come_back(alice.decide(link, str(other["id"])))
    body = text_of(response)
    assert response.status_code == 400
    assert f"belongs to {connection.organisation_name}; you chose" in body
    assert "as a new connection" in body
    assert alice.again(connection).token_version == connection.token_version


def test_reconnecting_with_a_choice_refuses_a_different_organisation(walk: Walking, tenant: Tenant) -> None:
    alice = walk("xero")
    connection = alice.connect()
    second = str(alice.simulator.organisations()[1]["id"])
    link = alice.agree(f"/o/kestrel/connections/{connection.pk}/reconnect/")
    path = alice.come_back(alice.decide(link, second))["Location"]
    assert "This connection belongs to Kestrel & Co Ltd." in text_of(alice.client.get(path))
    assert "you chose Kestrel Europe" in text_of(alice.client.post(path, {"organisation": second}))
    response = alice.client.post(path, {"organisation": connection.organisation_id})
    assert alice.connection_at(response["Location"]).pk == connection.pk


def test_connecting_the_same_organisation_again_is_the_same_connection(walk: Walking, tenant: Tenant) -> None:
    assert walk("stripe").connect().pk == walk("stripe").connect().pk


@pytest.mark.parametrize("slug", SLUGS)
def test_disconnecting_revokes_and_destroys_the_tokens(slug: str, walk: Walking, tenant: Tenant) -> None:
    alice = walk(slug)
    connection = alice.connect()
    body = disconnect(alice, connection)
    assert "is disconnected" in body
    assert "Everything posted stays in the ledger." in body
    assert "Being ended" in body
    assert not WebhookRoute.objects.filter(connection_id=connection.pk).exists()
    assert "revoke" in work(tenant)
    tasks.revoke(tenant.pk, str(connection.pk))
    ended = alice.again(connection)
    assert (ended.state, ended.sealed_access, ended.sealed_refresh) == ("disconnected", None, None)
    assert ended.installation.uninstalled_at is not None
    if slug != "stripe":  # Stripe gives apps no way to uninstall themselves
        assert alice.simulator.oauth.live_grants(connection.organisation_id) == []
    assert "Ended" in text_of(alice.client.get(f"/o/kestrel/connections/{connection.pk}/"))
    with tenant_context(tenant):
        assert ConsentEntry.objects.filter(kind="revoked").count() == 1


def test_provider_that_cannot_be_told_is_told_later(walk: Walking, tenant: Tenant) -> None:
    alice = walk("xero")
    connection = alice.connect()
    disconnect(alice, connection)
    alice.simulator.faults.add(Fault(match="POST /connect/revocation", kind="status", status=503))
    with pytest.raises(ConnectionError):
        tasks.revoke(tenant.pk, str(connection.pk))
    WorkItem.objects.filter(kind="revoke").update(problem="503")
    assert alice.again(connection).sealed_access is not None
    assert "tried again" in text_of(alice.client.get("/o/kestrel/connections/"))
    tasks.revoke(tenant.pk, str(connection.pk))
    assert alice.again(connection).sealed_access is None
    assert alice.simulator.oauth.live_grants(connection.organisation_id) == []


def test_disconnected_stays_so_when_its_grant_is_gone_already(walk: Walking, tenant: Tenant) -> None:
    alice = walk("shopify")
    connection = alice.connect()
    for grant in alice.simulator.oauth.live_grants(connection.organisation_id):
        alice.simulator.oauth.end(grant.id)
    disconnect(alice, connection)
    with tenant_context(tenant):
        Connection.objects.filter(pk=connection.pk).update(token_expires_at=timezone.now() - timedelta(days=1))
    tasks.revoke(tenant.pk, str(connection.pk))
    assert (alice.again(connection).state, alice.again(connection).sealed_access) == ("disconnected", None)


def test_grant_another_business_uses_is_kept(
    walk: Walking, tenant: Tenant, other_tenant: Tenant, charlie_client: Client
) -> None:
    alice, charlie = walk("xero"), walk("xero", charlie_client, other_tenant)
    connection, theirs = alice.connect(), charlie.connect()
    assert connection.organisation_id == theirs.organisation_id
    assert "another connection to the same organisation is in use" in disconnect(alice, connection)
    assert {"shared"} == work(tenant) & {"shared", "revoke"}
    tasks.forget_shared(tenant.pk, str(connection.pk))
    assert alice.again(connection).sealed_access is None
    assert charlie.again(theirs).state == "connected"
    assert len(alice.simulator.oauth.live_grants(connection.organisation_id)) == 2


def test_grant_is_kept_when_somebody_connected_before_it_could_be_revoked(walk: Walking, tenant: Tenant) -> None:
    alice = walk("shopify")
    connection = alice.connect()
    disconnect(alice, connection)
    renewed = alice.connect()
    assert renewed.pk != connection.pk
    tasks.revoke(tenant.pk, str(connection.pk))
    assert alice.again(connection).sealed_access is None
    assert alice.simulator.oauth.live_grants(connection.organisation_id) != []


@pytest.mark.parametrize("page", ["connected/", "reconnect/", "uninstall/"])
def test_what_is_disconnected_cannot_be_reconnected(page: str, walk: Walking, tenant: Tenant) -> None:
    alice = walk("stripe")
    connection = alice.connect()
    disconnect(alice, connection)
    assert alice.client.get(f"/o/kestrel/connections/{connection.pk}/{page}").status_code == 404


def test_reconnect_that_was_overtaken_by_disconnecting_is_refused(walk: Walking, tenant: Tenant) -> None:
    alice = walk("stripe")
    connection = alice.connect()
    params = alice.decide(alice.agree(f"/o/kestrel/connections/{connection.pk}/reconnect/"))
    disconnect(alice, connection)
    response = alice.come_back(params)
    assert response.status_code == 400
    assert "was disconnected meanwhile" in text_of(response)
    assert alice.again(connection).state == "disconnected"


def test_uninstall_page_says_what_happens_and_what_stays(walk: Walking, tenant: Tenant) -> None:
    alice = walk("xero")
    connection = alice.connect()
    body = text_of(alice.client.get(f"/o/kestrel/connections/{connection.pk}/uninstall/"))
    assert "What happens" in body
    assert "Everything that was posted stays in the ledger." in body
    assert alice.again(connection).state == "connected"


def test_admin_may_disconnect(walk: Walking, tenant: Tenant, bob: User, bob_client: Client) -> None:
    Membership.objects.filter(user=bob).update(role=Role.ADMIN)
    connection = walk("stripe").connect()
    disconnect(walk("stripe", bob_client), connection)
    assert walk().again(connection).state == "disconnected"
