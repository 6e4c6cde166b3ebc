"""The token vault: what is sealed for one tenant, row and field opens nowhere else, and one refresh serves everybody.

AES-256-GCM with a key derived per tenant from the key-encryption key outside the database. The associated data names tenant, row,
field and key, so a ciphertext copied to another row does not open.
"""

from __future__ import annotations

import datetime as dt
import os
import uuid
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from connectors.sdk.errors import ReconnectRequired
from connectors.sdk.oauth import TokenSet
from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.installations.clients import oauth_for
from marketplace.installations.models import Connection
from tenants.context import tenant

NONCE_BYTES = 12
KEY_ID = b"1"
EARLY = dt.timedelta(seconds=60)


class UnableToOpen(Exception):
    """The ciphertext does not belong here, or the key is not ours."""


def seal(value: str, *, tenant_id: uuid.UUID, row: str, field: str) -> bytes:
    """Encrypt for exactly this place."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(_tenant_key(tenant_id)).encrypt(nonce, value.encode(), _place(tenant_id, row, field))
    return KEY_ID + nonce + sealed


def open_sealed(sealed: bytes | memoryview | None, *, tenant_id: uuid.UUID, row: str, field: str) -> str:
    """Decrypt what was sealed for exactly this place. Raises `UnableToOpen`."""
    body = bytes(sealed or b"")
    if body[:1] != KEY_ID or len(body) <= 1 + NONCE_BYTES:
        raise UnableToOpen("There is nothing sealed here.")
    nonce, cipher = body[1 : 1 + NONCE_BYTES], body[1 + NONCE_BYTES :]
    try:
        return AESGCM(_tenant_key(tenant_id)).decrypt(nonce, cipher, _place(tenant_id, row, field)).decode()
    except InvalidTag:
        raise UnableToOpen("This was sealed for another place.") from None


def _tenant_key(tenant_id: uuid.UUID) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"tieout tenant " + tenant_id.bytes).derive(
        settings.TIEOUT_KEK
    )


def _place(tenant_id: uuid.UUID, row: str, field: str) -> bytes:
    return "|".join((str(tenant_id), row, field, KEY_ID.decode())).encode()


def store_tokens(connection: Connection, tokens: TokenSet, *, tenant_id: uuid.UUID) -> None:
    """Put a token answer on the row, before anything uses it. A provider that keeps the refresh token answers none."""
    row = str(connection.pk)
    connection.sealed_access = seal(tokens.access_token, tenant_id=tenant_id, row=row, field="access")
    if tokens.refresh_token:
        connection.sealed_refresh = seal(tokens.refresh_token, tenant_id=tenant_id, row=row, field="refresh")
    connection.token_version += 1
    connection.token_expires_at = now() + dt.timedelta(seconds=tokens.expires_in)
    if tokens.scopes:
        connection.scopes = list(tokens.scopes)
    connection.save()


@dataclass(frozen=True)
class ConnectionToken:
    """The access token of one connection, for clients that work outside transactions.

    However many processes ask at expiry, one refreshes: the row is locked, read again, and refreshed only if nobody did meanwhile.
    """

    tenant_id: uuid.UUID
    connection_id: uuid.UUID

    def current(self) -> str:
        """A token good for at least a minute. Raises `ReconnectRequired`."""
        with tenant(self.tenant_id):
            connection = Connection.objects.get(pk=self.connection_id)
        if connection.token_expires_at and connection.token_expires_at - EARLY <= now():
            return self._refreshed(stale_version=connection.token_version)
        return self._access(connection)

    def renew(self, rejected: str) -> str:
        """The provider refused `rejected`: somebody may have refreshed already, else do it now."""
        with tenant(self.tenant_id):
            connection = Connection.objects.get(pk=self.connection_id)
        token = self._access(connection)
        return token if token != rejected else self._refreshed(stale_version=connection.token_version)

    def _access(self, connection: Connection) -> str:
        return self._open(connection.sealed_access, "access")

    def _open(self, sealed: bytes | memoryview | None, field: str) -> str:
        try:
            return open_sealed(sealed, tenant_id=self.tenant_id, row=str(self.connection_id), field=field)
        except UnableToOpen as error:
            raise ReconnectRequired("This connection has no authorisation. Reconnect to go on.") from error

    def _refreshed(self, *, stale_version: int) -> str:
        """Raises `ReconnectRequired` once the provider says the grant is gone; passing trouble changes nothing."""
        refusal: ReconnectRequired | None = None
        with tenant(self.tenant_id):
            connection = (
                Connection.objects.select_for_update().select_related("installation").get(pk=self.connection_id)
            )
            if connection.token_version != stale_version:
                return self._access(connection)
            try:
                self._refresh(connection)
            except ReconnectRequired as error:
                refusal = error
                _needs_reconnect(connection, error)
        if refusal is not None:
            raise refusal
        return self._access(connection)

    def _refresh(self, connection: Connection) -> None:
        oauth = oauth_for(connection.connector, connection.environment, connection.installation.settings, connection)
        tokens = oauth.refresh(self._open(connection.sealed_refresh, "refresh"))
        store_tokens(connection, tokens, tenant_id=self.tenant_id)


def _needs_reconnect(connection: Connection, error: ReconnectRequired) -> None:
    if connection.state != Connection.State.CONNECTED:
        return  # known already, or disconnected here and only being revoked
    connection.state = Connection.State.NEEDS_RECONNECT
    connection.problem = error.user_message
    connection.save(update_fields=["state", "problem"])
    record_act(
        user=None,
        action="connection.needs_reconnect",
        subject=connection,
        summary=f"{connection.organisation_name} needs reconnecting: {error.user_message}",
    )
