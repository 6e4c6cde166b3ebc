"""Where the trails stood, written down outside of the database.

Whoever owns the database can rewrite a trail and all its digests. So the heads of all trails are appended now and then to a file that
belongs on a disk, or a machine, that the application cannot rewrite. Each line names the one before it and is signed with a key that
is not in the database: a line that was changed, taken out or put in shows, and so does a trail that no longer leads to its anchors.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import hmac
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.conf import settings

from marketplace.audit.models import AuditEntry
from marketplace.core.clock import now
from tenants.context import tenant
from tenants.models import Tenant

OVERLAP = dt.timedelta(hours=1)  # an act may be committed later than its time says
LAST_LINE_BYTES = 64 * 1024


class AnchorsDamaged(Exception):
    """The file is not as it was written."""


@dataclass(frozen=True)
class Anchor:
    """At `at`, the entry `sequence` of a trail had this digest."""

    at: str
    sequence: int
    digest: str


def append_anchors() -> int:
    """Write down where the trails stand that went on since the last time. Answers how many; none where no file is named."""
    if settings.AUDIT_ANCHORS is None:
        return 0
    path = Path(settings.AUDIT_ANCHORS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        last = _last_line(file)
        heads = _heads_since(json.loads(last) if last else None)
        if heads:
            file.write(_line(heads, last))
            file.flush()
            os.fsync(file.fileno())
    return len(heads)


def anchors_of(tenant_id: uuid.UUID) -> list[Anchor]:
    """Every time one trail was written down, oldest first. Raises `AnchorsDamaged`."""
    found: dict[tuple[int, str], Anchor] = {}
    for line in _genuine_lines():
        if str(tenant_id) in line["heads"]:
            sequence, digest = line["heads"][str(tenant_id)]
            found.setdefault((sequence, digest), Anchor(line["at"], sequence, digest))
    return list(found.values())


def _heads_since(last: dict[str, Any] | None) -> dict[str, list[Any]]:
    since = dt.datetime.fromisoformat(last["at"]) - OVERLAP if last else dt.datetime.min.replace(tzinfo=dt.UTC)
    known = last["heads"] if last else {}
    heads = {}
    for owner in Tenant.objects.order_by("pk"):
        with tenant(owner):
            head = AuditEntry.objects.order_by("-sequence").values_list("at", "sequence", "digest").first()
        if head is not None and head[0] > since and known.get(str(owner.pk)) != list(head[1:]):
            heads[str(owner.pk)] = list(head[1:])
    return heads


def _line(heads: dict[str, list[Any]], last: bytes) -> bytes:
    body = {"at": now().isoformat(), "heads": heads, "previous": _digest(last)}
    return json.dumps(body | {"signature": _signature(body, settings.TIEOUT_KEK)}, sort_keys=True).encode() + b"\n"


def _genuine_lines() -> Iterator[dict[str, Any]]:
    """A line that a key signed which is gone by now is vouched for by the lines after it."""
    path = settings.AUDIT_ANCHORS
    if path is None or not Path(path).exists():
        return
    before, unsigned = b"", 0
    lines = Path(path).read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        body = _parsed(line, number)
        if body["previous"] != _digest(before):
            raise AnchorsDamaged(f"Line {number} does not follow the one before it.")
        unsigned = 0 if _is_signed(body) else number
        before = line
    if unsigned:
        raise AnchorsDamaged(f"Line {unsigned} is signed with no key of ours.")
    for line in lines:
        yield json.loads(line)


def _parsed(line: bytes, number: int) -> dict[str, Any]:
    try:
        body: dict[str, Any] = json.loads(line)
        if set(body) == {"at", "heads", "previous", "signature"}:
            return body
    except ValueError:
        pass
    raise AnchorsDamaged(f"Line {number} is none of ours.")


def _is_signed(body: dict[str, Any]) -> bool:
    signed = {name: value for name, value in body.items() if name != "signature"}
    keys = (settings.TIEOUT_KEK, *settings.TIEOUT_KEK_OLD)
    return any(hmac.compare_digest(_signature(signed, key), str(body["signature"])) for key in keys)


def _signature(body: dict[str, Any], key: bytes) -> str:
    own = hmac.digest(key, b"tieout audit anchors", hashlib.sha256)
    return hmac.digest(own, json.dumps(body, sort_keys=True).encode(), hashlib.sha256).hex()


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest() if line else ""


def _last_line(file: IO[bytes]) -> bytes:
    """Grows the window until a whole line is in it."""
    size = file.seek(0, os.SEEK_END)
    window = LAST_LINE_BYTES
    while True:
        file.seek(max(0, size - window))
        lines = file.read().splitlines(keepends=True)
        if len(lines) > 1 or window >= size:
            return lines[-1] if lines else b""
        window *= 4
