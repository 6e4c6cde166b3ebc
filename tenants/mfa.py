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
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        sealed = AESGCM(settings.TIEOUT_KEK).encrypt(nonce, text.encode(), _PURPOSE)
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def decrypt(self, encrypted_text: str) -> str:
        raw = base64.urlsafe_b64decode(encrypted_text)
        try:
            opened = AESGCM(settings.TIEOUT_KEK).decrypt(raw[:_NONCE_LENGTH], raw[_NONCE_LENGTH:], _PURPOSE)
        except InvalidTag as error:
            raise UnableToOpenSecondFactor("The second factor cannot be opened with TIEOUT_KEK.") from error
        return opened.decode()
