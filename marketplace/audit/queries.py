"""Reading the trail."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import Count, Q, QuerySet

from marketplace.audit.models import ACTOR_TIEOUT, AuditEntry

# What an export holds: every column that the digests cover, so that auditors can follow the chain themselves.
COLUMNS = (
    "sequence",
    "at",
    "user_id",
    "actor",
    "action",
    "subject_type",
    "subject_id",
    "summary",
    "details",
    "previous_digest",
    "digest",
)


def row_of(entry: AuditEntry) -> list[Any]:
    """One line of an export, in the order of `COLUMNS`."""
    texts = {"at": entry.at.isoformat(), "details": json.dumps(entry.details, sort_keys=True, ensure_ascii=False)}
    return [texts.get(name, getattr(entry, name)) for name in COLUMNS]


def entries(*, action: str = "", actor: str = "", text: str = "") -> QuerySet[AuditEntry]:
    """Newest first. `actor` is a person's name as it stood when they acted."""
    wanted = Q()
    if action:
        wanted &= Q(action=action)
    if actor:
        wanted &= Q(actor=actor)
    if text:
        wanted &= Q(summary__icontains=text)
    return AuditEntry.objects.filter(wanted).select_related("user")


def actions_taken() -> list[tuple[str, str]]:
    """Every kind of act that happened in this business, as choices with how often."""
    found = AuditEntry.objects.order_by().values("action").annotate(count=Count("pk"))
    return sorted((row["action"], f"{action_words(row['action'])} ({row['count']})") for row in found)


def actors() -> list[tuple[str, str]]:
    """Everybody who acted, Tieout itself first."""
    found = set(AuditEntry.objects.order_by().values_list("actor", flat=True).distinct())
    return [(name, name) for name in sorted(found, key=lambda name: (name != ACTOR_TIEOUT, name))]


#: What acts are called whose names do not say it as they stand.
ACTION_WORDS = {
    "business.tenant_created": "Business: created",
    "connection.connect": "Connection: connected",
    "connection.denied": "Connection: refused at the provider",
    "connection.needs_reconnect": "Connection: needs reconnecting",
    "connection.reconnect": "Connection: reconnected",
    "connection.uninstall": "Connection: ended",
    "connection.webhooks_renewed": "Connection: messages of changes asked for again",
    "connector.install": "Connector: installed",
    "event.let_go": "Message: let go",
    "event.try_again": "Message: tried again",
    "flow.move": "Flow: moved to another step",
    "flow.scope_saved": "Flow: pilot’s scope saved",
    "flow.targets_agreed": "Flow: figures of the gate agreed",
    "pair.resolve": "Comparison: differences decided",
    "posting.accept": "Record: entry in the ledger accepted",
    "posting.exclude": "Record: left out of the books",
    "posting.post_again": "Record: to be posted again",
    "rejected_row.set_aside": "Unreadable record: set aside",
}


def action_words(action: str) -> str:
    """The act as people read it: "mapping.saved" is "Mapping: saved"."""
    if action in ACTION_WORDS:
        return ACTION_WORDS[action]
    thing, _, act = action.replace("_", " ").partition(".")
    return f"{thing.capitalize()}: {act}" if act else thing.capitalize()
