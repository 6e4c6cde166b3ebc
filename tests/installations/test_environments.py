"""Which environments are offered: the provider's own only with a registration that somebody configured."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from connectors.testing import Simulator
from marketplace.core.models import ConsentState
from marketplace.installations.clients import environments_of, unconfigured_environments
from tenants.models import Tenant
from tests.installations.walking import text_of

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
