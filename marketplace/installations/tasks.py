"""The work the queue asks of this slice: telling the provider what was decided here."""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings

from connectors.registry import connector
from connectors.sdk.errors import ConnectorError, ReconnectRequired
from connectors.sdk.oauth import TokenSet
from marketplace.core.models import WebhookRoute
from marketplace.core.work import handles
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.installations.operations import destroy_tokens, note_registration
from marketplace.installations.registrations import oauth_for
from marketplace.installations.vault import KeyMissing, UnableToOpen, stored_tokens
from tenants.context import tenant

CHECK_AGAIN = dt.timedelta(hours=12)


def webhook_url(connection: Connection) -> str:
    """Where the provider delivers this connector's events of this environment."""
    return f"{settings.PUBLIC_URL}/webhooks/{connection.connector}/{connection.environment}/"


@handles("subscribe")
def subscribe(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Have the provider tell us of changes, and see to it now and then: providers drop subscriptions that failed too often."""
    connection = _connection(tenant_id, key)
    webhooks = connector(connection.connector).webhooks
    if webhooks is None or connection.state != Connection.State.CONNECTED:
        return None
    try:
        missing = webhooks.subscribe(client_for(tenant_id, connection), webhook_url(connection))
    except ReconnectRequired:
        return None  # reconnecting asks again
    with tenant(tenant_id):
        note_registration(connection=connection, missing=missing)
    return CHECK_AGAIN


@handles("revoke")
def revoke(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """End the authorisation at the provider; only then are the tokens destroyed here. Tried again until it is done."""
    connection = _connection(tenant_id, key)
    tokens = _tokens(tenant_id, connection)
    if tokens is not None and not _is_used_elsewhere(connection):
        _unsubscribe(tenant_id, connection)
        _revoke(connection, tokens)
    with tenant(tenant_id):
        destroy_tokens(connection)
    return None


@handles("shared")
def forget_shared(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Another tenant uses the same organisation: only our own tokens go."""
    with tenant(tenant_id):
        destroy_tokens(Connection.objects.get(pk=key))
    return None


def _is_used_elsewhere(connection: Connection) -> bool:
    """Somebody connected the same organisation before we came to revoking: ending the grant would end theirs too."""
    return WebhookRoute.objects.filter(
        connector=connection.connector,
        environment=connection.environment,
        organisation_id=connection.organisation_id,
    ).exists()


def _connection(tenant_id: uuid.UUID, key: str) -> Connection:
    with tenant(tenant_id):
        return Connection.objects.select_related("installation").get(pk=key)


def _tokens(tenant_id: uuid.UUID, connection: Connection) -> TokenSet | None:
    """None when there is nothing left to end. Raises `KeyMissing`: then ending it waits until the key is back."""
    try:
        return stored_tokens(connection, tenant_id=tenant_id)
    except KeyMissing:
        raise
    except UnableToOpen:
        return None


def _unsubscribe(tenant_id: uuid.UUID, connection: Connection) -> None:
    webhooks = connector(connection.connector).webhooks
    try:
        if webhooks is not None:
            webhooks.unsubscribe(client_for(tenant_id, connection, is_ending=True), webhook_url(connection))
    except ReconnectRequired:
        return  # the authorisation is gone already, and the subscription with it


def _revoke(connection: Connection, tokens: TokenSet) -> None:
    oauth = oauth_for(connection.connector, connection.environment, connection.installation.settings, connection)
    try:
        oauth.revoke(tokens)
    except ReconnectRequired:
        return  # it was revoked at the provider's side before
    except ConnectorError as error:
        raise ConnectionError(error.user_message) from error
