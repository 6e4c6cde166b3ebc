"""Second factors are sealed in the database: a copy of it must not let anybody log in."""

import base64
import secrets

from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

_PURPOSE = b"tieout second factor"
_NONCE_LENGTH = 12


class UnableToOpenSecondFactor(RuntimeError):
    """The stored second factor was sealed with another key, or changed."""


class SealedMFAAdapter(DefaultMFAAdapter):
    def encrypt(self, text: str) -> str:
        """With the current key."""
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        sealed = AESGCM(settings.TIEOUT_KEK).encrypt(nonce, text.encode(), _PURPOSE)
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """With the current key, or one that it replaced."""
        return _open(encrypted_text)[0]

    def resealed(self, encrypted_text: str) -> str:
        """The same secret under the current key; unchanged when that sealed it already."""
        text, key = _open(encrypted_text)
        return encrypted_text if key == settings.TIEOUT_KEK else self.encrypt(text)


def _open(encrypted_text: str) -> tuple[str, bytes]:
    """The secret, and the key that opened it."""
    raw = base64.urlsafe_b64decode(encrypted_text)
    for key in (settings.TIEOUT_KEK, *settings.TIEOUT_KEK_OLD):
        try:
            return AESGCM(key).decrypt(raw[:_NONCE_LENGTH], raw[_NONCE_LENGTH:], _PURPOSE).decode(), key
        except InvalidTag:
            continue
    raise UnableToOpenSecondFactor("The second factor cannot be opened with TIEOUT_KEK or TIEOUT_KEK_OLD.")
