"""Posting keys are permanent: however they are worked out, the same document has the same one for ever."""

from __future__ import annotations

import base64
import hashlib
import random
import uuid

from marketplace.posting.keys import KEY_LENGTH, batch_key, posting_key

TENANT, FLOW = uuid.UUID(int=1), uuid.UUID(int=2)


def as_defined(*parts: str) -> str:
    """Each part with its length before it, hashed, in base32."""
    joined = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return base64.b32encode(hashlib.sha256(joined).digest()).decode()[:KEY_LENGTH]


def test_key_is_as_it_was_defined() -> None:
    first = posting_key(tenant_id=TENANT, flow_id=FLOW, external_id="512345", purpose="invoice", version=1)
    assert first == "VH5EODOWXEXHMEFJYSYKJRPPWGOC4ZCJ3JYHWXZAFBUZ5XKAZD"
    for version, purpose, external_id in ((1, "invoice", "512345"), (2, "payment:7", "Café №1"), (1, "invoice", "")):
        key = posting_key(tenant_id=TENANT, flow_id=FLOW, external_id=external_id, purpose=purpose, version=version)
        assert key == as_defined(str(TENANT), str(FLOW), external_id, purpose, str(version))


def test_every_digest_is_written_as_base64_writes_it() -> None:
    dice = random.Random(7)
    for _ in range(500):
        texts = [str(dice.getrandbits(64)) for _ in range(dice.randint(0, 3))]
        assert batch_key(texts) == as_defined(*texts)
