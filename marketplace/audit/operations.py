"""The trail: every act is appended in the transaction it belongs to, chained to the entry before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection as database
from django.db.models import Model

from marketplace.audit.anchors import Anchor, append_when_committed
from marketplace.audit.models import ACTOR_TIEOUT, AuditEntry
from marketplace.core.clock import now
from tenants.models import User


def record_act(
    *, user: User | None, action: str, subject: Model | None, summary: str, details: Mapping[str, Any] | None = None
) -> AuditEntry:
    """Append one entry. `user` None: Tieout itself acted. Runs inside the tenant transaction of the act it records."""
    _wait_for_turn()
    last = AuditEntry.objects.order_by("-sequence").first()
    entry = AuditEntry(
        sequence=last.sequence + 1 if last else 1,
        at=now(),
        user=user,
        actor=(user.full_name or user.email) if user else ACTOR_TIEOUT,
        action=action,
        subject_type=subject._meta.label_lower if subject is not None else "",
        subject_id=str(subject.pk) if subject is not None else "",
        summary=summary,
        # Fractions are kept as text: the database would give back another spelling than the one the digest covers.
        details=json.loads(json.dumps(details or {}, default=str), parse_float=str),
        previous_digest=last.digest if last else "",
    )
    entry.digest = digest_of(entry)
    entry.save(force_insert=True)
    append_when_committed(entry)
    return entry


def _wait_for_turn() -> None:
    """One act at a time in each trail, until the end of the transaction: two could otherwise follow the same entry."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(current_schema() || ':audit'))")


def digest_of(entry: AuditEntry) -> str:
    """Covers every column and the digest before it, each part with its length, so that no two entries read the same."""
    parts = [
        str(entry.sequence),
        entry.at.isoformat(),
        str(entry.user_id or ""),
        entry.actor,
        entry.action,
        entry.subject_type,
        entry.subject_id,
        entry.summary,
        json.dumps(entry.details, sort_keys=True, default=str),
        entry.previous_digest,
    ]
    whole = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hashlib.sha256(whole).hexdigest()


def verify_trail(anchors: Sequence[Anchor] = ()) -> list[int]:
    """The sequence numbers at which the chain is broken, or where it is not what was anchored outside of the database; empty when the
    trail is whole. Read the anchors before calling this: one that is newer than what is read here would seem to be missing."""
    broken, before, expected = set[int](), "", 1
    anchored: dict[int, set[str]] = {}
    for anchor in anchors:
        anchored.setdefault(anchor.sequence, set()).add(anchor.digest)
    for entry in AuditEntry.objects.order_by("sequence").iterator():
        if entry.sequence != expected or entry.previous_digest != before or entry.digest != digest_of(entry):
            broken.add(entry.sequence)
        if anchored.pop(entry.sequence, {entry.digest}) != {entry.digest}:
            broken.add(entry.sequence)
        before, expected = entry.digest, entry.sequence + 1
    return sorted(broken | set(anchored))
