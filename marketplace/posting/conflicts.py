"""A person decides which side's value of a field stays. The other side's value becomes known, so the chosen one is carried over it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from zoneinfo import ZoneInfo

import msgspec
from django.db.models import QuerySet

from connectors.registry import connector
from connectors.sdk.records import Customer
from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.mapping.contact_values import texts_of
from marketplace.mapping.merging import Base, Look, Rules, Way, decide
from marketplace.mapping.models import Flow
from marketplace.posting.decisions import UnableToDecide
from marketplace.posting.models import Conflict, LinkedPair
from marketplace.posting.pairs import (
    FIELD_WORDS,
    ask_again,
    contact_id_of,
    lock_pairs,
    mirror_of,
    save_pairs,
    texts_wanted,
)
from marketplace.sync.models import Record
from tenants.context import current_tenant, tenant
from tenants.models import User

MEANWHILE = "One of these values was changed meanwhile. Look at what stands there now and choose again."


def conflicts(*, is_open: bool) -> QuerySet[Conflict]:
    """Those to be decided, oldest first; or the history, newest first."""
    found = Conflict.objects.select_related("flow__source", "flow__target", "record", "decided_by", "pair")
    found = found.defer("record__body", "record__raw")
    if is_open:
        return found.filter(state=Conflict.State.OPEN).order_by("found_at", "id")
    return found.exclude(state=Conflict.State.OPEN).order_by("-decided_at", "-id")


def fingerprint_of(conflict: Conflict) -> str:
    """Of both values as they were shown: a decision holds for these only."""
    shown = f"{conflict.source_value}\0{conflict.target_value}"
    return hashlib.blake2b(shown.encode(), digest_size=8).hexdigest()


def fingerprint_of_all(found: Iterable[Conflict]) -> str:
    """Of many conflicts with the values they had when they were shown."""
    shown = sorted(f"{conflict.pk} {fingerprint_of(conflict)}" for conflict in found)
    return hashlib.blake2b("\n".join(shown).encode(), digest_size=8).hexdigest()


def decide_alike(*, shown: Mapping[int, str], keep: uuid.UUID, user: User) -> int:
    """One system's value stays in all these conflicts; `shown`: conflict -> fingerprint. All or none. Raises `UnableToDecide`."""
    choices: dict[int, str] = {}
    for conflict in conflicts(is_open=True).filter(pk__in=shown):
        sides = {conflict.flow.source_id: "source", conflict.flow.target_id: "target"}
        if keep not in sides:
            raise UnableToDecide("Some of these are between two other systems. Choose them apart.")
        choices[conflict.pk] = sides[keep]
    if choices.keys() != shown.keys():
        raise UnableToDecide(MEANWHILE)
    return decide_conflicts(choices=choices, shown=shown, user=user)


def decide_conflicts(*, choices: Mapping[int, str], shown: Mapping[int, str], user: User) -> int:
    """`choices`: conflict -> source or target; `shown`: conflict -> fingerprint. Answers how many were decided. Raises
    `UnableToDecide` when a value is not what the person saw."""
    with tenant(current_tenant()):
        for flow in Flow.objects.filter(conflicts__in=list(choices)).distinct().order_by("pk"):
            lock_pairs(flow.source_id, flow.target_id)
        chosen = list(conflicts(is_open=True).filter(pk__in=choices))
        for conflict in chosen:
            if not _is_as_shown(conflict, shown):
                raise UnableToDecide(MEANWHILE)
            _decide(conflict, choices[conflict.pk], user)
    return len(chosen)


def _is_as_shown(conflict: Conflict, shown: Mapping[int, str]) -> bool:
    return shown.get(conflict.pk) == fingerprint_of(conflict)


def _decide(conflict: Conflict, winner: str, user: User) -> None:
    flow, mirror = conflict.flow, mirror_of(conflict.flow)
    pair = LinkedPair.objects.get(pk=conflict.pair_id)
    contact_id = contact_id_of(pair, flow)
    look = _look(flow, mirror, conflict.record.external_id, contact_id)
    if (look.there.sent[conflict.field], look.there.held[conflict.field]) != (
        conflict.source_value,
        conflict.target_value,
    ):
        raise UnableToDecide(MEANWHILE)
    base = msgspec.convert(pair.base, Base)
    decide(base, look, conflict.field, "source" if winner == "source" else "target")
    pair.base, pair.merged_at = msgspec.to_builtins(base), now()
    save_pairs([pair])
    conflict.state, conflict.rule, conflict.winner = Conflict.State.DECIDED, Conflict.Rule.ASK, winner
    conflict.decided_by, conflict.decided_at = user, now()
    conflict.save(update_fields=["state", "rule", "winner", "decided_by", "decided_at"])
    ask_again(flow, [conflict.record.external_id])
    if mirror is not None:
        ask_again(mirror, [contact_id])
    side = connector((flow.source if winner == "source" else flow.target).connector).manifest.name
    record_act(
        user=user,
        action="conflict.decided",
        subject=conflict,
        summary=f"{FIELD_WORDS[conflict.field]} of {conflict.record.party or conflict.record}: {side}’s value stays",
        details={"field": conflict.field, "winner": winner},
    )


def _look(flow: Flow, mirror: Flow | None, external_id: str, contact_id: str) -> Look:
    zone, at = ZoneInfo(current_tenant().time_zone), now()
    own, theirs = _customer(flow.source_id, external_id), _customer(flow.target_id, contact_id)
    return Look(
        there=Way(source=str(flow.source_id), sent=texts_wanted(flow, own, zone), held=texts_of(theirs)),
        back=Way(source=str(flow.target_id), sent=texts_wanted(mirror, theirs, zone), held=texts_of(own)),
        rules=Rules(),
        source_at=at,
        target_at=at,
        now=at,
    )


def _customer(connection_id: uuid.UUID, external_id: str) -> Customer:
    body = Record.objects.values_list("body", flat=True).get(
        connection=connection_id, data_type="customer", external_id=external_id
    )
    return msgspec.convert(body, Customer)
