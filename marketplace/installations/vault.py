"""The token vault: what is sealed for one tenant, row and field opens nowhere else, and one refresh serves everybody.

AES-256-GCM with a key derived per tenant from a key-encryption key outside the database. The associated data names tenant, row,
field and key, so a ciphertext copied to another row does not open. Every ciphertext names the key that sealed it: after the key
was replaced, old ones still open and new ones are sealed with the new key.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from connectors.sdk.errors import ConfigurationError, ReconnectRequired
from connectors.sdk.oauth import TokenSet
from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.installations.models import Connection, ConsentEntry
from marketplace.installations.registrations import oauth_for
from tenants.context import tenant
from tenants.models import Tenant

FORMAT = b"\x01"
KEY_ID_BYTES = 4
NONCE_BYTES = 12
EARLY = dt.timedelta(seconds=60)
GONE = "This connection has no authorisation. Reconnect to go on."
_NEEDED = ("state", "problem", "token_expires_at", "token_version", "sealed_access")
LOCKED = "This server has lost the key to this connection. Whoever runs it has to put the key back."


class UnableToOpen(Exception):
    """The ciphertext does not belong here."""


class KeyMissing(UnableToOpen):
    """None of our keys sealed this: whoever runs this server took a key away that is still needed."""


def seal(value: str, *, tenant_id: uuid.UUID, row: str, field: str) -> bytes:
    """Encrypt for exactly this place, with the current key."""
    key = settings.TIEOUT_KEK
    key_id, nonce = key_id_of(key), os.urandom(NONCE_BYTES)
    cipher = AESGCM(_tenant_key(key, tenant_id)).encrypt(nonce, value.encode(), _place(tenant_id, row, field, key_id))
    return FORMAT + key_id + nonce + cipher


def open_sealed(sealed: bytes | memoryview | None, *, tenant_id: uuid.UUID, row: str, field: str) -> str:
    """Decrypt what was sealed for exactly this place. Raises `UnableToOpen`."""
    body = bytes(sealed or b"")
    if body[:1] != FORMAT or len(body) <= 1 + KEY_ID_BYTES + NONCE_BYTES:
        raise UnableToOpen("There is nothing sealed here.")
    key_id, rest = body[1 : 1 + KEY_ID_BYTES], body[1 + KEY_ID_BYTES :]
    key, place = _tenant_key(key_with(key_id), tenant_id), _place(tenant_id, row, field, key_id)
    try:
        return AESGCM(key).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], place).decode()
    except InvalidTag:
        raise UnableToOpen("This was sealed for another place.") from None


def is_current(sealed: bytes | memoryview | None) -> bool:
    """There is nothing to do here when the key is replaced: nothing is sealed, or the current key sealed it."""
    return sealed is None or bytes(sealed)[: 1 + KEY_ID_BYTES] == FORMAT + key_id_of(settings.TIEOUT_KEK)


def key_with(key_id: bytes) -> bytes:
    """The key of ours that this names. Raises `KeyMissing`."""
    for key in (settings.TIEOUT_KEK, *settings.TIEOUT_KEK_OLD):
        if key_id_of(key) == key_id:
            return bytes(key)
    raise KeyMissing("The key that sealed this is not among ours.")


def key_id_of(key: bytes) -> bytes:
    """Names a key without telling anything about it."""
    return hashlib.sha256(b"tieout key id" + key).digest()[:KEY_ID_BYTES]


def _tenant_key(key: bytes, tenant_id: uuid.UUID) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"tieout tenant " + tenant_id.bytes).derive(key)


def _place(tenant_id: uuid.UUID, row: str, field: str, key_id: bytes) -> bytes:
    return "|".join((str(tenant_id), row, field, key_id.hex())).encode()


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


def stored_tokens(connection: Connection, *, tenant_id: uuid.UUID) -> TokenSet:
    """What is sealed on the row. Raises `UnableToOpen` when there is nothing, or nothing that belongs there."""
    row = str(connection.pk)
    access = open_sealed(connection.sealed_access, tenant_id=tenant_id, row=row, field="access")
    tokens = TokenSet(access_token=access, expires_in=0, scopes=tuple(connection.scopes))
    if connection.sealed_refresh is None:
        return tokens
    refresh = open_sealed(connection.sealed_refresh, tenant_id=tenant_id, row=row, field="refresh")
    return replace(tokens, refresh_token=refresh)


def mark_needs_reconnect(*, connection: Connection, problem: str, happened_at: dt.datetime | None = None) -> None:
    """Only a new consent helps now; `problem` is a sentence for the person who gives it. Says so once, in the tenant's context.

    What was disconnected here stays disconnected, and news from before the latest consent (`happened_at`) changes nothing.
    """
    known = Connection.objects.select_for_update().get(pk=connection.pk)
    if known.state != Connection.State.CONNECTED or (happened_at and _was_granted_after(known, happened_at)):
        return
    known.state, known.problem = Connection.State.NEEDS_RECONNECT, problem
    known.save(update_fields=["state", "problem"])
    record_act(
        user=None,
        action="connection.needs_reconnect",
        subject=known,
        summary=f"{known.organisation_name} needs reconnecting: {problem}",
    )


def _was_granted_after(connection: Connection, moment: dt.datetime) -> bool:
    granted = ConsentEntry.objects.filter(installation=connection.installation_id, kind=ConsentEntry.Kind.GRANTED)
    return granted.filter(organisation=connection.organisation_name, at__gt=moment).exists()


@contextmanager
def _said_plainly() -> Iterator[None]:
    """What cannot be opened, as an error that says who acts."""
    try:
        yield
    except KeyMissing as error:
        raise ConfigurationError(LOCKED, detail=str(error)) from error
    except UnableToOpen as error:
        raise ReconnectRequired(GONE) from error


@dataclass(frozen=True)
class ConnectionToken:
    """The access token of one connection, for clients that work outside transactions. `is_ending`: for the last calls after a
    person disconnected.

    However many processes ask at expiry, one refreshes: the row is locked, read again, and refreshed only if nobody did meanwhile.
    What the provider answers is committed before it is used, since the refresh token it replaces may be dead by then.
    `owner` spares a look at the tenant with every call.
    """

    tenant_id: uuid.UUID
    connection_id: uuid.UUID
    is_ending: bool = False
    owner: Tenant | None = None

    def current(self) -> str:
        """A token good for at least a minute. Raises `ReconnectRequired`."""
        connection = self._usable()
        if connection.token_expires_at and connection.token_expires_at - EARLY <= now():
            return self._refreshed(stale_version=connection.token_version)
        return self._kept(connection)

    def look(self) -> tuple[str, dt.datetime] | None:
        """Inside the tenant's context: the token as it is on the row and until when it is good; None where there is more to do about it."""
        connection = Connection.objects.only(*_NEEDED).get(pk=self.connection_id)
        if connection.state != Connection.State.CONNECTED or connection.token_expires_at is None:
            return None
        try:
            return self._access(connection), connection.token_expires_at - EARLY
        except (ConfigurationError, ReconnectRequired):
            return None

    def renew(self, rejected: str) -> str:
        """The provider refused `rejected`: somebody may have refreshed already, else do it now."""
        connection = self._usable()
        token = self._kept(connection)
        return token if token != rejected else self._refreshed(stale_version=connection.token_version)

    def _usable(self) -> Connection:
        with tenant(self.owner or self.tenant_id):
            connection = Connection.objects.only(*_NEEDED).get(pk=self.connection_id)
        self._check_state(connection)
        return connection

    def _check_state(self, connection: Connection) -> None:
        """Nobody asks the provider again about an authorisation that is known to be gone."""
        is_ended = connection.state == Connection.State.DISCONNECTED
        if connection.state != Connection.State.CONNECTED and not (self.is_ending and is_ended):
            raise ReconnectRequired(connection.problem or GONE)

    def _kept(self, connection: Connection) -> str:
        """What is on the row; when that is not what belongs there, a person is told."""
        try:
            return self._access(connection)
        except ReconnectRequired as error:
            with tenant(self.tenant_id):
                mark_needs_reconnect(connection=connection, problem=error.user_message)
            raise

    def _access(self, connection: Connection) -> str:
        with _said_plainly():
            sealed, row = connection.sealed_access, str(connection.pk)
            return open_sealed(sealed, tenant_id=self.tenant_id, row=row, field="access")

    def _stored(self, connection: Connection) -> TokenSet:
        with _said_plainly():
            return stored_tokens(connection, tenant_id=self.tenant_id)

    def _refreshed(self, *, stale_version: int) -> str:
        """Raises `ReconnectRequired` once the provider says the grant is gone; passing trouble changes nothing."""
        refusal: ReconnectRequired | None = None
        with tenant(self.tenant_id):
            rows = Connection.objects.select_for_update(of=("self",)).select_related("installation")
            connection = rows.get(pk=self.connection_id)
            self._check_state(connection)
            if connection.token_version != stale_version:
                return self._access(connection)
            try:
                self._refresh(connection)
            except ReconnectRequired as error:
                refusal = error  # raised only once what it means for the row is committed
                mark_needs_reconnect(connection=connection, problem=error.user_message)
        if refusal is not None:
            raise refusal
        return self._access(connection)

    def _refresh(self, connection: Connection) -> None:
        oauth = oauth_for(connection.connector, connection.environment, connection.installation.settings, connection)
        known = self._stored(connection)
        fresh = oauth.refresh(known.refresh_token)
        # A refresh token the provider kept is sealed again too, so that a replaced key can be retired one day.
        kept = replace(fresh, refresh_token=fresh.refresh_token or known.refresh_token)
        store_tokens(connection, kept, tenant_id=self.tenant_id)


@dataclass
class HeldToken:
    """A token looked at once for several calls: whoever commits what they are to do looks in the same transaction. A connection that
    ends meanwhile is noticed at the next look, and before that by the provider's refusal."""

    token: ConnectionToken
    _held: tuple[str, dt.datetime] | None = None

    def look(self) -> None:
        """Inside the tenant's context."""
        self._held = self.token.look()

    def current(self) -> str:
        if self._held is not None and self._held[1] > now():
            return self._held[0]
        return self.token.current()

    def renew(self, rejected: str) -> str:
        self._held = None
        return self.token.renew(rejected)
