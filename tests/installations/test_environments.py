"""Which environments are offered: the provider's own only with a registration that somebody configured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from connectors.registry import connector
from connectors.testing import Simulator
from marketplace.core.models import ConsentState
from marketplace.installations.models import Connection
from marketplace.installations.registrations import environments_of, unconfigured_environments
from tenants.context import tenant as tenant_context
from tenants.models import Tenant
from tests.installations.walking import Walk, text_of

PAGE = "/o/kestrel/catalogue/xero/install/"


def names(environments: list[tuple[str, str]]) -> list[str]:
    return [value for value, _ in environments]


def test_made_up_credentials_are_for_simulators_only(settings: Any, simulators: dict[str, Simulator]) -> None:
    assert settings.CONNECTOR_CREDENTIALS["xero"]["client_id"]
    assert names(environments_of("xero")) == ["simulator"]
    assert "production" in names(unconfigured_environments("xero"))


def test_registration_opens_the_real_environments(settings: Any, simulators: dict[str, Simulator]) -> None:
    missing = names(unconfigured_environments("quickbooks"))
    settings.REGISTERED_CONNECTORS = frozenset({"quickbooks"})
    assert names(environments_of("quickbooks")) == [*missing, "simulator"]
    assert unconfigured_environments("quickbooks") == []


def test_person_is_told_what_is_not_configured(
    tenant: Tenant, alice_client: Client, settings: Any, simulators: dict[str, Simulator]
) -> None:
    body = text_of(alice_client.get(PAGE))
    assert "Not configured on this server: your real organisation" in body
    settings.REGISTERED_CONNECTORS = frozenset({"xero"})
    assert "Not configured on this server" not in text_of(alice_client.get(PAGE))


@pytest.mark.parametrize("environment", ["production", "sandbox"])
def test_unconfigured_environment_cannot_be_asked_for(
    environment: str, tenant: Tenant, alice_client: Client, simulators: dict[str, Simulator]
) -> None:
    response = alice_client.post(PAGE, {"environment": environment})
    assert 'rel="noreferrer"' not in text_of(response)
    assert not ConsentState.objects.exists()


@pytest.mark.parametrize("is_real", [True, False])
@pytest.mark.parametrize("slug", ["shopify", "stripe", "xero", "quickbooks"])
def test_nothing_starts_where_webhooks_of_an_offered_provider_cannot_be_checked(
    slug: str, is_real: bool, settings: Any
) -> None:
    """Every process comes by this when it loads the applications."""
    name = connector(slug).manifest.webhooks.signed_with  # type: ignore[union-attr]
    name = "client_secret" if name == "client_secret" else "webhook_secret"
    settings.SIMULATORS = {} if is_real else {slug: "http://127.0.0.1:9"}
    settings.REGISTERED_CONNECTORS = frozenset({slug} if is_real else ())
    given = dict(settings.CONNECTOR_CREDENTIALS)
    for secret in ("", "  ", "," if name == "webhook_secret" else " "):
        settings.CONNECTOR_CREDENTIALS = {**given, slug: {**given[slug], "webhook_secret": "", name: secret}}
        with pytest.raises(ImproperlyConfigured, match=f"CONNECTOR_{slug.upper()}_{name.upper()} must be set"):
            apps.get_app_config("installations").ready()
    settings.CONNECTOR_CREDENTIALS = given
    apps.get_app_config("installations").ready()


def test_connection_is_not_reconnected_where_its_environment_is_gone(
    walk: Callable[..., Walk], tenant: Tenant, alice_client: Client, settings: Any
) -> None:
    connection = walk("xero").connect()
    page = f"/o/kestrel/connections/{connection.pk}/reconnect/"
    states = ConsentState.objects.count()
    settings.SIMULATORS = {}
    for registered in (frozenset[str](), frozenset({"xero"})):
        settings.REGISTERED_CONNECTORS = registered
        assert "Cannot be reconnected here now" in text_of(alice_client.get(page))
        answer = alice_client.post(page)
        assert answer.status_code == 400
        assert "This server has no simulator of Xero any more" in text_of(answer)
    assert ConsentState.objects.count() == states


def test_registration_that_is_taken_away_refuses_the_reconnection(
    walk: Callable[..., Walk], tenant: Tenant, alice_client: Client, settings: Any
) -> None:
    connection = walk("xero").connect()
    with tenant_context(tenant):
        Connection.objects.filter(pk=connection.pk).update(environment="production")
    page = f"/o/kestrel/connections/{connection.pk}/reconnect/"
    assert "Cannot be reconnected here now" in text_of(alice_client.get(page))
    assert "This server has no registration at Xero any more" in text_of(alice_client.post(page))
    settings.REGISTERED_CONNECTORS = frozenset({"xero"})
    assert 'rel="noreferrer"' in alice_client.post(page).content.decode()


def test_consent_that_comes_back_where_its_environment_is_gone_is_refused(
    walk: Callable[..., Walk], tenant: Tenant, settings: Any
) -> None:
    person = walk("xero")
    params = person.decide(person.agree())
    settings.SIMULATORS = {}
    answer = person.come_back(params)
    assert answer.status_code == 400
    assert "This server has no simulator of Xero any more" in text_of(answer)
