"""Deliveries at rest: what a provider sent is sealed before it is stored, although nobody knows yet whose it is.

AES-256-GCM like the vault's, with a key of its own derived from the same key-encryption key. The associated data names connector,
environment and digest, so that one delivery's body cannot be passed off as another's.
"""

from __future__ import annotations

import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from marketplace.core.models import WebhookDelivery
from marketplace.installations.vault import FORMAT, KEY_ID_BYTES, NONCE_BYTES, UnableToOpen, key_id_of, key_with


def seal_body(body: bytes, *, connector: str, environment: str, digest: str) -> bytes:
    """Encrypt for exactly this delivery, with the current key."""
    key_id, cipher = _cipher(settings.TIEOUT_KEK)
    nonce = os.urandom(NONCE_BYTES)
    return FORMAT + key_id + nonce + cipher.encrypt(nonce, body, _place(connector, environment, digest, key_id))


def body_of(delivery: WebhookDelivery) -> bytes:
    """The raw bytes as they came. Raises `UnableToOpen`."""
    sealed = bytes(delivery.sealed_body)
    if not is_sealed(sealed):
        raise UnableToOpen("There is nothing sealed here.")
    key_id, rest = sealed[1 : 1 + KEY_ID_BYTES], sealed[1 + KEY_ID_BYTES :]
    _, cipher = _cipher(key_with(key_id))
    place = _place(delivery.connector, delivery.environment, delivery.digest, key_id)
    try:
        return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], place)
    except InvalidTag:
        raise UnableToOpen("This was sealed for another place.") from None


def is_sealed(body: bytes | memoryview) -> bool:
    """No provider's body begins like a sealed one: they are text."""
    return bytes(body[:1]) == FORMAT


@lru_cache(maxsize=8)
def _cipher(key: bytes) -> tuple[bytes, AESGCM]:
    """Deriving a key costs more than sealing with it, so each is derived once in a process."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"tieout inbox").derive(key)
    return key_id_of(key), AESGCM(derived)


def _place(connector: str, environment: str, digest: str, key_id: bytes) -> bytes:
    return "|".join((connector, environment, digest, key_id.hex())).encode()
