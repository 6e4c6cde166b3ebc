"""The trail: every act is appended in the transaction it belongs to, chained to the entry before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.db import connection as database
from django.db.models import Model

from marketplace.audit.models import ACTOR_TIEOUT, AuditEntry
from marketplace.core.clock import now
from tenants.models import User


def record_act(
    *, user: User | None, action: str, subject: Model | None, summary: str, details: Mapping[str, Any] | None = None
) -> AuditEntry:
    """Append one entry. `user` None: Tieout itself acted. Runs inside the tenant transaction of the act it records."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(current_schema() || ':audit'))")
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
        details=json.loads(json.dumps(details or {}, default=str)),
        previous_digest=last.digest if last else "",
    )
    entry.digest = digest_of(entry)
    entry.save(force_insert=True)
    return entry


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


def verify_trail() -> list[int]:
    """The sequence numbers at which the chain is broken; empty when the trail is whole from its first entry."""
    broken, before, expected = [], "", 1
    for entry in AuditEntry.objects.order_by("sequence").iterator():
        if entry.sequence != expected or entry.previous_digest != before or entry.digest != digest_of(entry):
            broken.append(entry.sequence)
        before, expected = entry.digest, entry.sequence + 1
    return broken
