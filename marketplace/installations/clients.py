"""Clients of connected organisations, with our registration at each provider."""

from __future__ import annotations

import uuid

from django.conf import settings

from connectors.registry import connector
from connectors.sdk.client import Access, Client
from connectors.sdk.oauth import ConnectorKeys
from marketplace.installations.models import Connection


def connector_keys(slug: str) -> ConnectorKeys:
    """Our registration at a provider, from the settings."""
    found = settings.CONNECTOR_CREDENTIALS[slug]
    return ConnectorKeys(
        client_id=found["client_id"],
        client_secret=found["client_secret"],
        webhook_secrets=tuple(secret for secret in [found["webhook_secret"]] if secret),
    )


def webhook_secrets(slug: str, environment: str) -> tuple[str, ...]:
    """The secrets a delivery may be signed with now; none means nothing is accepted."""
    return connector_keys(slug).webhook_secrets


def simulator_url(slug: str, environment: str) -> str:
    """The simulator that stands in for the provider, or nothing for real environments."""
    return settings.SIMULATORS[slug] if environment == Connection.Environment.SIMULATOR else ""


def client_for(tenant_id: uuid.UUID, connection: Connection) -> Client:
    """A client acting for one connection; used outside transactions."""
    from marketplace.installations.vault import ConnectionToken  # noqa: PLC0415 -- the vault refreshes through this module

    return connector(connection.connector).client(
        Access(
            token=ConnectionToken(tenant_id, connection.pk),
            organisation_id=connection.organisation_id,
            environment=connection.environment,
            simulator=simulator_url(connection.connector, connection.environment),
            settings=connection.installation.settings,
        )
    )
