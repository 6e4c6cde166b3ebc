"""Permanent identities: the same source record, purpose and version give the same key for ever."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from functools import lru_cache

from connectors.sdk.records import encode
from connectors.sdk.streams import Draft

KEY_LENGTH = 50
MARK_LENGTH = 8


class PostingKeys:
    """The keys of one flow's postings; they fit every provider's idempotency field."""

    def __init__(self, *, tenant_id: uuid.UUID, flow_id: uuid.UUID) -> None:
        self._flow = _joined((str(tenant_id), str(flow_id)))

    def of(self, *, external_id: str, purpose: str, version: int) -> str:
        return _encoded(self._flow + _measured(external_id) + _rest(purpose, version))


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
    return _base32(hashlib.sha256(joined).digest())


def _base32(digest: bytes) -> str:
    """The first fifty characters as `base64` writes them, which takes three times as long. Fifty groups of five bits are spread over
    bytes of their own by halves: 64 groups that lie next to each other, then twice 32, and so on."""
    number = int.from_bytes(digest, "big") >> 8 * len(digest) - 5 * KEY_LENGTH
    for low, high, apart in _HALVES:
        number = (number & low) | (number & high) << apart
    return number.to_bytes(KEY_LENGTH, "big").translate(_LETTERS).decode()


def _halves(groups: int) -> tuple[int, int, int]:
    """Of pieces of so many groups, each in the place of as many bytes: the bits of all lower halves, of all upper ones, and how far those move up."""
    half = 5 * groups // 2
    low = sum(((1 << half) - 1) << 8 * first for first in range(0, 64, groups))
    return low, low << half, 3 * groups // 2


_HALVES = tuple(_halves(groups) for groups in (64, 32, 16, 8, 4, 2))
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".ljust(256, b"=")


def _joined(parts: Iterable[str]) -> bytes:
    """Unlike any other list of texts."""
    return b"".join(map(_measured, parts))


def _measured(part: str) -> bytes:
    text = part.encode()
    return len(text).to_bytes(4, "big") + text


@lru_cache(maxsize=256)
def _rest(purpose: str, version: int) -> bytes:
    """What the keys of most documents end with."""
    return _joined((purpose, str(version)))
