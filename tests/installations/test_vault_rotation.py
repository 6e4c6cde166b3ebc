"""Replacing the key-encryption key: old ciphertexts open, are sealed again, and then the old key may go."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.core.management import call_command
from django.utils import timezone

from connectors.sdk.errors import ConfigurationError
from marketplace.core.models import ConsentState
from marketplace.installations import rotation, tasks
from marketplace.installations.models import Connection
from marketplace.installations.vault import ConnectionToken, KeyMissing, is_current, open_sealed, seal
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.installations.walking import Walk

Walking = Callable[..., Walk]
HERE: dict[str, Any] = {"tenant_id": uuid.UUID(int=1), "row": "row-1", "field": "access"}


@pytest.fixture
def replace_key(settings: Any) -> Callable[..., bytes]:
    """A new current key; the one before stays able to open unless told otherwise."""

    def replace(*, keeps_old: bool = True) -> bytes:
        before = bytes(settings.TIEOUT_KEK)
        settings.TIEOUT_KEK = os.urandom(32)
        settings.TIEOUT_KEK_OLD = (before,) if keeps_old else ()
        return before

    return replace


def rotate() -> tuple[str, str]:
    said, complained = StringIO(), StringIO()
    call_command("rotate_keys", stdout=said, stderr=complained)
    return said.getvalue(), complained.getvalue()


def test_old_key_opens_and_the_new_one_seals(replace_key: Callable[..., bytes], settings: Any) -> None:
    sealed = seal("secret-token", **HERE)
    replace_key()
    assert open_sealed(sealed, **HERE) == "secret-token"
    assert not is_current(sealed)
    fresh = seal("secret-token", **HERE)
    settings.TIEOUT_KEK_OLD = ()
    assert is_current(fresh)
    assert open_sealed(fresh, **HERE) == "secret-token"
    with pytest.raises(KeyMissing):
        open_sealed(sealed, **HERE)


def test_ciphertext_cannot_claim_another_key(replace_key: Callable[..., bytes]) -> None:
    old = seal("secret-token", **HERE)
    replace_key()
    claimed = seal("another", **HERE)[:5] + old[5:]
    with pytest.raises(Exception, match="sealed for another place"):
        open_sealed(claimed, **HERE)


def test_everything_is_sealed_again_and_the_old_key_may_go(
    replace_key: Callable[..., bytes],
    settings: Any,
    walk: Walking,
    tenant: Tenant,
    other_tenant: Tenant,
    charlie_client: Any,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 1)
    connections = [walk(slug).connect() for slug in ("stripe", "xero", "quickbooks")]
    theirs = walk("stripe", charlie_client, other_tenant).connect()
    choice = walk("xero").to_the_choice()
    TOTP.activate(alice, "JBSWY3DPEHPK3PXP")
    codes = RecoveryCodes.activate(alice).get_unused_codes()
    tokens = [ConnectionToken(tenant.pk, connection.pk).current() for connection in connections]
    replace_key()
    said, complained = rotate()
    assert "4 connections" in said and "2 second factors" in said
    assert complained == ""
    settings.TIEOUT_KEK_OLD = ()
    assert [ConnectionToken(tenant.pk, connection.pk).current() for connection in connections] == tokens
    assert ConnectionToken(other_tenant.pk, theirs.pk).current()
    assert "Kestrel" in walk("xero").client.get(choice).content.decode()
    assert walk("xero").client.post(choice, {"organisation": walk("xero").first_organisation}).status_code == 302
    factors = {factor.type: factor.wrap() for factor in Authenticator.objects.all()}
    assert factors["recovery_codes"].get_unused_codes() == codes
    assert (
        rotate()[0]
        == "Sealed again with the current key: 0 connections, 0 consents under way, 0 second factors, 0 deliveries.\n"
    )


def test_what_no_key_opens_is_told_and_left(replace_key: Callable[..., bytes], walk: Walking, tenant: Tenant) -> None:
    lost, kept = walk("stripe").connect(), walk("xero").connect()
    with tenant_context(tenant):
        Connection.objects.filter(pk=lost.pk).update(sealed_access=b"\x01" + os.urandom(60))
    replace_key()
    said, complained = rotate()
    assert "1 connections" in said
    assert complained.startswith("1 cannot be opened")
    assert is_current(walk().again(kept).sealed_access)


def test_key_taken_away_too_early_asks_nobody_to_reconnect(
    replace_key: Callable[..., bytes], settings: Any, walk: Walking, tenant: Tenant
) -> None:
    connection = walk("stripe").connect()
    before = replace_key(keeps_old=False)
    with tenant_context(tenant):
        Connection.objects.filter(pk=connection.pk).update(token_expires_at=timezone.now() - timedelta(days=1))
    with pytest.raises(ConfigurationError, match="lost the key"):
        ConnectionToken(tenant.pk, connection.pk).current()
    with pytest.raises(KeyMissing):
        tasks.revoke(tenant.pk, str(connection.pk))
    assert walk().again(connection).state == "connected"
    settings.TIEOUT_KEK_OLD = (before,)
    assert ConnectionToken(tenant.pk, connection.pk).current()


def test_refresh_seals_with_the_new_key_even_what_the_provider_kept(
    replace_key: Callable[..., bytes], walk: Walking, tenant: Tenant
) -> None:
    connection = walk("quickbooks").connect()
    replace_key()
    token = ConnectionToken(tenant.pk, connection.pk)
    token.renew(token.current())
    renewed = walk().again(connection)
    assert is_current(renewed.sealed_access)
    assert is_current(renewed.sealed_refresh)


def test_verifier_of_a_consent_under_way_survives(
    replace_key: Callable[..., bytes], settings: Any, walk: Walking, tenant: Tenant
) -> None:
    alice = walk("xero")
    params = alice.decide(alice.agree())
    replace_key()
    rotate()
    settings.TIEOUT_KEK_OLD = ()
    assert alice.come_back(params).status_code == 302
    assert ConsentState.objects.get().used_at is not None
