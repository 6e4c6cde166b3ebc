"""Installing with consent: what is shown, recorded and connected, and every way in which the answer can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.utils import timezone

from connectors.registry import connectors
from connectors.testing.faults import Fault, Kind
from marketplace.core.models import ConsentState, WebhookRoute, WorkItem
from marketplace.installations.models import Connection, ConsentEntry
from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.models import Membership, Tenant, User
from tests.installations.walking import Walk, text_of

SLUGS = sorted(connectors())
Walking = Callable[..., Walk]


def kinds(tenant: Tenant) -> list[str]:
    with tenant_context(tenant):
        return sorted(entry.kind for entry in ConsentEntry.objects.all())


def connections(tenant: Tenant) -> int:
    with tenant_context(tenant):
        return Connection.objects.count()


def refused(response: Any, words: str, status: int = 400) -> str:
    body = text_of(response)
    assert response.status_code == status
    assert words in body
    return body


@pytest.mark.parametrize("slug", SLUGS)
def test_owner_connects_with_consent(slug: str, walk: Walking, tenant: Tenant) -> None:
    alice = walk(slug)
    connection = alice.connect()
    assert connection.state == "connected"
    assert connection.organisation_id == alice.first_organisation
    assert connection.environment == "simulator"
    assert WebhookRoute.objects.filter(connection_id=connection.pk, tenant=tenant).count() == 1
    assert {"subscribe", "sync"} <= set(WorkItem.objects.filter(tenant=tenant).values_list("kind", flat=True))
    assert kinds(tenant) == ["agreed", "granted"]
    body = text_of(alice.client.get(f"/o/kestrel/connections/{connection.pk}/connected/"))
    assert f"{connection.organisation_name} is connected" in body


@pytest.mark.parametrize("slug", SLUGS)
def test_consent_is_recorded_in_the_words_that_were_shown(slug: str, walk: Walking, tenant: Tenant) -> None:
    alice = walk(slug)
    page = text_of(alice.client.get(f"/o/kestrel/catalogue/{slug}/install/"))
    alice.agree()
    with tenant_context(tenant):
        entry = ConsentEntry.objects.get()
    assert entry.actor == "Alice"
    assert entry.purpose in page
    assert entry.duration in page
    assert entry.scopes
    for scope in entry.scopes:
        assert scope["words"] in page
        assert scope["why"] in page


def test_recorded_consent_cannot_be_changed_or_deleted(walk: Walking, tenant: Tenant) -> None:
    walk().agree()
    with tenant_context(tenant):
        for change in (
            lambda: ConsentEntry.objects.update(actor="Mallory"),
            lambda: ConsentEntry.objects.all().delete(),
        ):
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                change()


def test_person_with_several_organisations_chooses_one(walk: Walking, tenant: Tenant) -> None:
    alice = walk("xero")
    path = alice.to_the_choice()
    page = text_of(alice.client.get(path))
    assert "Kestrel & Co Ltd" in page
    assert "Kestrel Europe" in page
    second = str(alice.simulator.organisations()[1]["id"])
    response = alice.client.post(path, {"organisation": second})
    assert alice.connection_at(response["Location"]).organisation_name == "Kestrel Europe"


def test_organisation_that_was_not_offered_is_refused(walk: Walking, tenant: Tenant) -> None:
    alice = walk("xero")
    path = alice.to_the_choice()
    before = connections(tenant)
    assert "Select a valid choice" in text_of(alice.client.post(path, {"organisation": "somebody-elses"}))
    assert connections(tenant) == before


def test_choice_is_open_only_to_its_person_and_only_once(
    walk: Walking, tenant: Tenant, bob: User, bob_client: Client
) -> None:
    Membership.objects.filter(user=bob).update(role=Role.ADMIN)
    alice = walk("xero")
    path = alice.to_the_choice()
    refused(bob_client.get(path), "no longer open")
    assert alice.client.post(path, {"organisation": alice.first_organisation}).status_code == 302
    refused(alice.client.post(path, {"organisation": alice.first_organisation}), "no longer open")


def test_setting_that_does_not_fit_is_said_beside_its_field(walk: Walking, tenant: Tenant) -> None:
    alice = walk("shopify")
    typed = {"environment": "simulator", "shop": "https://evil.example/?.myshopify.com"}
    body = text_of(alice.client.post("/o/kestrel/catalogue/shopify/install/", typed))
    assert "Shop address looks like your-shop.myshopify.com." in body
    assert "https://evil.example/?.myshopify.com" in body
    assert kinds(tenant) == []


def test_environment_that_is_not_offered_is_refused(walk: Walking, tenant: Tenant) -> None:
    response = walk().client.post("/o/kestrel/catalogue/xero/install/", {"environment": "production"})
    assert "Select a valid choice" in text_of(response)
    assert ConsentState.objects.count() == 0


def test_state_and_verifier_are_not_kept_in_the_clear(walk: Walking) -> None:
    alice = walk()
    state = alice.decide(alice.agree())["state"]
    kept = ConsentState.objects.get()
    assert state not in str(vars(kept))
    assert len(state) >= 43


@pytest.mark.parametrize("given", [{}, {"state": ""}, {"state": "made-up"}])
def test_missing_or_wrong_state_is_refused(given: dict[str, str], walk: Walking, tenant: Tenant) -> None:
    alice = walk()
    params = alice.decide(alice.agree())
    del params["state"]
    refused(alice.come_back(params | given), "does not belong to a connection you started")
    assert connections(tenant) == 0


def test_stale_state_is_refused(walk: Walking, tenant: Tenant) -> None:
    alice = walk()
    params = alice.decide(alice.agree())
    ConsentState.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    body = refused(alice.come_back(params), "More than ten minutes went by")
    assert "/o/kestrel/catalogue/xero/install/" in body
    assert connections(tenant) == 0


def test_state_works_once(walk: Walking, tenant: Tenant) -> None:
    alice = walk("stripe")
    params = alice.decide(alice.agree())
    assert alice.come_back(params).status_code == 302
    refused(alice.come_back(params), "was used already")
    assert connections(tenant) == 1


def test_state_of_somebody_else_tells_nothing(
    walk: Walking, tenant: Tenant, other_tenant: Tenant, charlie_client: Client, bob_client: Client
) -> None:
    alice = walk()
    params = alice.decide(alice.agree())
    assert "Kestrel" not in refused(
        alice.come_back(params, charlie_client), "does not belong to a connection you started"
    )
    refused(alice.come_back(params, bob_client), "does not belong to a connection you started")
    assert alice.come_back(params).status_code == 302, "somebody else's try must not use it up"


def test_state_of_another_browser_is_refused(
    walk: Walking, tenant: Tenant, alice: User, client_of: Callable[[User], Client]
) -> None:
    walking = walk()
    params = walking.decide(walking.agree())
    refused(walking.come_back(params, client_of(alice)), "in this browser")
    assert connections(tenant) == 0


def test_state_of_another_connector_is_refused(walk: Walking, tenant: Tenant) -> None:
    alice = walk("quickbooks")
    params = alice.decide(alice.agree())
    refused(alice.come_back(params, slug="xero"), "does not belong to a connection you started")
    assert connections(tenant) == 0


def test_answer_that_names_another_provider_is_refused(walk: Walking, tenant: Tenant) -> None:
    alice = walk("stripe")
    params = alice.decide(alice.agree())
    refused(alice.come_back(params | {"iss": "https://accounts.mallory.example"}), "does not come from Stripe")
    assert connections(tenant) == 0
    own = urlsplit(alice.agree())
    params = alice.decide(own.geturl())
    assert alice.come_back(params | {"iss": f"{own.scheme}://{own.netloc}/issuer"}).status_code == 302


def test_state_of_another_version_of_the_connector_is_refused(walk: Walking, tenant: Tenant) -> None:
    """What was agreed to on our page may be something else in the version that is here now."""
    alice = walk("stripe")
    params = alice.decide(alice.agree())
    ConsentState.objects.update(connector_version="0.0.1")
    refused(alice.come_back(params), "does not belong to a connection you started")
    assert connections(tenant) == 0


@pytest.mark.parametrize("slug", ["quickbooks", "xero"])
def test_code_goes_to_the_address_and_with_the_verifier_it_was_asked_for_with(
    slug: str, walk: Walking, tenant: Tenant
) -> None:
    """Changed in the row, either is refused, by the provider."""
    alice = walk(slug)
    params = alice.decide(alice.agree())
    ConsentState.objects.update(redirect_uri="https://mallory.example/callback")
    refused(alice.come_back(params), "was not connected")
    assert connections(tenant) == 0


def test_callback_of_an_unknown_connector_is_not_found(tenant: Tenant, alice_client: Client) -> None:
    assert alice_client.get("/connect/nothing/callback?state=x&code=y").status_code == 404


def test_callback_asks_to_sign_in(db: None) -> None:
    response = Client().get("/connect/xero/callback?state=x&code=y")
    assert response.status_code == 302
    assert response["Location"].startswith("/user/login/")


@pytest.mark.parametrize("slug", SLUGS)
def test_denied_consent_connects_nothing_and_is_recorded(slug: str, walk: Walking, tenant: Tenant) -> None:
    alice = walk(slug)
    body = refused(alice.come_back(alice.decide(alice.agree(), decision="deny")), "permission was not given", 403)
    assert f"/o/kestrel/catalogue/{slug}/install/" in body
    assert kinds(tenant) == ["agreed", "denied"]
    assert connections(tenant) == 0


def test_other_refusals_are_named_but_never_echoed(walk: Walking, tenant: Tenant) -> None:
    alice = walk()
    state = alice.decide(alice.agree())["state"]
    body = refused(alice.come_back({"state": state, "error": "<script>alert(1)</script>"}), "an unknown error")
    assert "alert(1)" not in body
    state = alice.decide(alice.agree())["state"]
    refused(alice.come_back({"state": state, "error": "invalid_scope"}), "(invalid_scope)")
    assert kinds(tenant) == ["agreed", "agreed"]


def test_code_the_provider_refuses_connects_nothing(walk: Walking, tenant: Tenant) -> None:
    alice = walk()
    params = alice.decide(alice.agree())
    refused(alice.come_back(params | {"code": "made-up"}), "was not connected")
    assert connections(tenant) == 0


def test_tampered_shopify_answer_is_refused(walk: Walking, tenant: Tenant) -> None:
    alice = walk("shopify")
    params = alice.decide(alice.agree())
    refused(alice.come_back(params | {"shop": "other.myshopify.com"}), "Shopify's signature")
    assert connections(tenant) == 0


@pytest.mark.parametrize("kind", ["status", "html", "half_body", "drop_before"])
def test_provider_in_trouble_is_said_and_nothing_is_connected(kind: Kind, walk: Walking, tenant: Tenant) -> None:
    alice = walk("stripe")
    params = alice.decide(alice.agree())
    alice.simulator.faults.add(Fault(match="POST /v1/oauth/token", kind=kind))
    refused(alice.come_back(params), "Start again")
    assert connections(tenant) == 0


def test_person_who_lost_the_right_meanwhile_is_refused(walk: Walking, tenant: Tenant, alice: User) -> None:
    walking = walk()
    params = walking.decide(walking.agree())
    Membership.objects.filter(user=alice).update(role=Role.BOOKKEEPER)
    refused(walking.come_back(params), "may no longer connect systems")
    assert connections(tenant) == 0


@pytest.mark.parametrize("role", [Role.VIEWER, Role.BOOKKEEPER])
def test_who_may_not_install_reads_who_can(
    role: Role, walk: Walking, tenant: Tenant, bob: User, bob_client: Client
) -> None:
    Membership.objects.filter(user=bob).update(role=role)
    for method in (bob_client.get, bob_client.post):
        refused(method("/o/kestrel/catalogue/xero/install/"), "alice@example.com", 403)
    assert ConsentState.objects.count() == 0


def test_admin_may_install(walk: Walking, tenant: Tenant, bob: User, bob_client: Client) -> None:
    Membership.objects.filter(user=bob).update(role=Role.ADMIN)
    assert walk("stripe", bob_client).connect().installation.installed_by_id == bob.pk


def test_tokens_of_an_unfinished_consent_do_not_outlive_it(walk: Walking) -> None:
    alice = walk("xero")
    alice.to_the_choice()
    waiting = ConsentState.objects.exclude(sealed_tokens=None)
    assert waiting.count() == 1
    waiting.update(expires_at=timezone.now() - timedelta(seconds=1))
    alice.agree()
    assert waiting.count() == 0
