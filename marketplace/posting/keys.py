"""Permanent identities: the same source record, purpose and version give the same key for ever."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterable

KEY_LENGTH = 50
MARK_LENGTH = 8


def posting_key(*, tenant_id: uuid.UUID, flow_id: uuid.UUID, external_id: str, purpose: str, version: int) -> str:
    """Fits every provider's idempotency field."""
    return _key(str(tenant_id), str(flow_id), external_id, purpose, str(version))


def batch_key(posting_keys: Iterable[str]) -> str:
    """The same postings sent again are the same request to the provider."""
    return _key(*posting_keys)


def mark_of(key: str) -> str:
    """The short mark put into a document's reference, by which it can be found again at the provider."""
    return f"T-{key[:MARK_LENGTH]}"


def marked(reference: str, key: str) -> str:
    """A document's reference as it is sent."""
    return f"{reference} {mark_of(key)}".strip()


def _key(*parts: str) -> str:
    joined = b"".join(len(part).to_bytes(4, "big") + part.encode() for part in parts)
    return base64.b32encode(hashlib.sha256(joined).digest()).decode()[:KEY_LENGTH]
