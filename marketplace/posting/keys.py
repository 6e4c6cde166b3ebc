"""Permanent identities: the same source record, purpose and version give the same key for ever."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterable

from connectors.sdk.records import encode
from connectors.sdk.streams import Draft

KEY_LENGTH = 50
MARK_LENGTH = 8


class PostingKeys:
    """The keys of one flow's postings; they fit every provider's idempotency field."""

    def __init__(self, *, tenant_id: uuid.UUID, flow_id: uuid.UUID) -> None:
        self._flow = _joined((str(tenant_id), str(flow_id)))

    def of(self, *, external_id: str, purpose: str, version: int) -> str:
        return _encoded(self._flow + _joined((external_id, purpose, str(version))))


def posting_key(*, tenant_id: uuid.UUID, flow_id: uuid.UUID, external_id: str, purpose: str, version: int) -> str:
    """One of them."""
    return PostingKeys(tenant_id=tenant_id, flow_id=flow_id).of(
        external_id=external_id, purpose=purpose, version=version
    )


def documents_digest(drafts: Iterable[Draft]) -> str:
    """Identifies what a request asks for, in our own terms: a request made of the same documents may be worded differently."""
    parts = [(draft.key, draft.reference, draft.as_draft, draft.document) for draft in drafts]
    return hashlib.sha256(encode(parts)).hexdigest()


def request_key(digest: str, rounds: Iterable[int]) -> str:
    """The same documents sent again are the same request to the provider, until the key was given up (see `Posting.key_round`)."""
    return _key(digest, *map(str, rounds))


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
    return _encoded(_joined(parts))


def _encoded(joined: bytes) -> str:
    return base64.b32encode(hashlib.sha256(joined).digest()).decode()[:KEY_LENGTH]


def _joined(parts: Iterable[str]) -> bytes:
    """Unlike any other list of texts."""
    return b"".join([len(part).to_bytes(4, "big") + part for part in map(str.encode, parts)])
