"""Linked pairs of a two-way flow, in the database: their bases, what their merge says, and the conflicts it finds.

Whoever reads and moves the bases of two connections holds `lock_pairs` for them: planning either direction, writing down an answer,
a person's decision. So a pair is judged by one at a time, and the other direction sees what was decided.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import msgspec
from django.db import connection as database
from django.db.models import Q

from connectors.registry import connector
from connectors.sdk.records import Customer
from marketplace.core.bulk import new_ids
from marketplace.core.work import request_work
from marketplace.mapping.compiling import mapped_by
from marketplace.mapping.contact_values import only, said_by, texts_of
from marketplace.mapping.merging import Base, Clash, Look, Meeting, Rules, Way, meet
from marketplace.mapping.models import Flow, Stage
from marketplace.mapping.plan import Circumstances, Held, Ledger, PlannedDocument
from marketplace.mapping.templates import template
from marketplace.mapping.templates.contacts import CHANGES, wanted_contact
from marketplace.posting.models import Conflict, LinkedPair, Posting, RecordOutcome
from tenants.context import current_tenant

FLYING = (Posting.State.SENDING, Posting.State.UNCERTAIN)


def is_two_way(flow: Flow) -> bool:
    return template(flow.template).is_two_way


def mirror_of(flow: Flow) -> Flow | None:
    """The flow of the same kind in the other direction, if there is one."""
    found = Flow.objects.filter(template=flow.template, source=flow.target_id, target=flow.source_id)
    return found.select_related("source", "target", "mapping").first()


def lock_pairs(one_id: uuid.UUID, other_id: uuid.UUID) -> None:
    """Until the end of the transaction, and before any of its postings are locked."""
    first, second = sorted((str(one_id), str(other_id)))
    with database.cursor() as cursor:
        key = f"pairs:{current_tenant().pk}:{first}:{second}"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])


def waiting_for_the_way_back(flow: Flow, mirror: Flow | None) -> tuple[set[str], bool]:
    """Customers of the source about whom the other direction waits for an answer, and whether it waits for a new one: that one may
    be read here before we know that it is our own."""
    if mirror is None:
        return set(), False
    flying = Posting.objects.filter(flow=mirror, state__in=FLYING, data_type="customer")
    rows = list(flying.values_list("action", "external_id"))
    return {external_id for action, external_id in rows if action == "update"}, any(row[0] == "create" for row in rows)


@dataclass(frozen=True)
class Fact:
    """A record's state as last read, and since when it is so."""

    version: str
    at: dt.datetime


@dataclass(frozen=True)
class Merged:
    """What is left of a record's documents, and why a person is needed, if one is."""

    documents: list[PlannedDocument]
    held: Held | None = None


@dataclass
class Pairs:
    """The linked pairs one batch of a two-way flow is about. `save` writes what merging has changed."""

    flow: Flow
    mirror: Flow | None
    circumstances: Circumstances
    at: dt.datetime
    facts: Mapping[tuple[uuid.UUID, str], Fact]
    known: dict[tuple[str, str], LinkedPair]
    open: dict[tuple[int, str], Conflict]
    unanswered: Mapping[str, list[Posting]]  # of the other direction, by the record they were to change
    ids: Iterator[int]
    found: list[Conflict] = field(default_factory=list)
    changed: dict[int, LinkedPair] = field(default_factory=dict)

    @property
    def is_rehearsal(self) -> bool:
        """While both sides are only compared, nothing is decided for good."""
        return self.flow.stage == Stage.PARALLEL

    def merge(
        self,
        external_id: str,
        record_id: int,
        record: Customer,
        planned: list[PlannedDocument],
        existing: list[Posting],
    ) -> Merged:
        """Narrow the change of a known contact to the fields that are to be written now."""
        changes = next((part for part in planned if part.purpose == CHANGES), None)
        if changes is None:
            return Merged(planned)
        others = [part for part in planned if part is not changes]
        pair = self._pair(external_id, changes.external_id)
        open_here = {name: conflict for (pk, name), conflict in self.open.items() if pk == pair.pk}
        base = msgspec.convert(deepcopy(pair.base), Base)
        self._note_unanswered(base, external_id, existing)
        meeting = meet(base, self._look(external_id, record, changes, open_here))
        held = self._conflicts(pair, record_id, meeting, open_here)
        self._keep(pair, base)
        if not meeting.carried:
            return Merged(others, held)
        assert isinstance(changes.document, Customer)
        target = self.facts[self.flow.target_id, changes.external_id]
        narrowed = msgspec.structs.replace(
            changes, document=only(changes.document, meeting.carried), version=target.version
        )
        return Merged([*others, narrowed], held)

    def _pair(self, external_id: str, contact_id: str) -> LinkedPair:
        pair = self.known.get((external_id, contact_id))
        if pair is None:
            pair = self.known[external_id, contact_id] = new_pair(
                self.flow, external_id, contact_id, self.at, next(self.ids)
            )
        return pair

    def _note_unanswered(self, base: Base, external_id: str, existing: list[Posting]) -> None:
        """A write that was tried and never answered may still arrive after it was planned anew."""
        for posting in existing:
            if posting.purpose == CHANGES and posting.state == Posting.State.PLANNED and posting.attempts:
                note_late(base, self.flow, posting, posting.attempts, self.at)
        for posting in self.unanswered.get(external_id, []):
            assert self.mirror is not None
            note_late(base, self.mirror, posting, posting.attempts, self.at)

    def _look(self, external_id: str, record: Customer, changes: PlannedDocument, open_here: Collection[str]) -> Look:
        body = self.circumstances.ledger.contact_bodies[changes.external_id]
        assert isinstance(changes.document, Customer)
        return Look(
            there=Way(source=str(self.flow.source_id), sent=texts_of(changes.document), held=texts_of(body)),
            back=Way(
                source=str(self.flow.target_id),
                sent=texts_wanted(self.mirror, body, self.circumstances.time_zone),
                held=texts_of(record),
            ),
            rules=Rules(
                rule=self.circumstances.rule,
                owner="source" if self.circumstances.is_source_of_truth else "target",
                field_winners=self.circumstances.field_winners,
                modes=changes.write_modes,
                cannot_empty=fields_kept_full(self.flow),
            ),
            source_at=self.facts[self.flow.source_id, external_id].at,
            target_at=self.facts[self.flow.target_id, changes.external_id].at,
            now=self.at,
            open_fields=open_here,
        )

    def _conflicts(
        self, pair: LinkedPair, record_id: int, meeting: Meeting, open_here: dict[str, Conflict]
    ) -> Held | None:
        """Keep every clash as a conflict: a new one, or the one that is open about this field already."""
        if self.is_rehearsal:
            return _held(self.flow, [clash for clash in meeting.clashes if not clash.winner], meeting.stuck)
        for name in meeting.ended:
            conflict = open_here.pop(name)
            conflict.state, conflict.decided_at = Conflict.State.ENDED, self.at
            conflict.save(update_fields=["state", "decided_at"])
            if conflict.flow_id != self.flow.pk:
                ask_again(conflict.flow, [conflict.record.external_id])
        for clash in meeting.clashes:
            if clash.name in open_here:
                self._still_open(open_here[clash.name], clash)
            else:
                self.found.append(self._conflict(pair, record_id, clash))
        if meeting.is_for_the_way_back and self.mirror is not None:
            ask_again(self.mirror, [contact_id_of(pair, self.flow)])
        is_ours = {name: conflict.flow_id == self.flow.pk for name, conflict in open_here.items()}
        waiting = [c for c in meeting.clashes if not c.winner and is_ours.get(c.name, True)]
        return _held(self.flow, waiting, meeting.stuck)

    def _conflict(self, pair: LinkedPair, record_id: int, clash: Clash) -> Conflict:
        return Conflict(
            pair=pair,
            flow=self.flow,
            record_id=record_id,
            field=clash.name,
            source_value=clash.source_value,
            target_value=clash.target_value,
            source_agreed=clash.agreed[0],
            target_agreed=clash.agreed[1],
            source_at=clash.source_at,
            target_at=clash.target_at,
            state=Conflict.State.DECIDED if clash.winner else Conflict.State.OPEN,
            rule=clash.rule,
            winner=clash.winner,
            found_at=self.at,
            decided_at=self.at if clash.winner else None,
        )

    def _still_open(self, conflict: Conflict, clash: Clash) -> None:
        """Its values as they are now; a rule that was changed meanwhile may decide it."""
        is_ours = conflict.flow_id == self.flow.pk
        seen = (clash.source_value, clash.target_value) if is_ours else (clash.target_value, clash.source_value)
        since = (clash.source_at, clash.target_at) if is_ours else (clash.target_at, clash.source_at)
        conflict.source_value, conflict.target_value = seen
        conflict.source_at, conflict.target_at = since
        if clash.winner:
            conflict.state, conflict.rule, conflict.decided_at = Conflict.State.DECIDED, clash.rule, self.at
            conflict.winner = clash.winner if is_ours else _OPPOSITE[clash.winner]
            ask_again(conflict.flow, [conflict.record.external_id])
        conflict.save()

    def _keep(self, pair: LinkedPair, base: Base) -> None:
        kept = msgspec.to_builtins(base)
        if not self.is_rehearsal and kept != pair.base:
            pair.base, pair.merged_at = kept, self.at
            self.changed[pair.pk] = pair

    def save(self) -> None:
        save_pairs(self.changed.values())
        Conflict.objects.bulk_create(self.found)


_OPPOSITE = {"source": "target", "target": "source"}


def pairs_of(
    flow: Flow, mirror: Flow | None, circumstances: Circumstances, about: Sequence[str], at: dt.datetime
) -> Pairs:
    """The pairs of these customers of the source, with everything a merge looks at."""
    known = linked_pairs(flow, about)
    conflicts = Conflict.objects.filter(pair__in=known.values(), state=Conflict.State.OPEN).select_related(
        "flow", "record"
    )
    contacts = list(circumstances.ledger.contact_bodies)
    return Pairs(
        flow=flow,
        mirror=mirror,
        circumstances=circumstances,
        at=at,
        facts=_facts(flow, about, contacts),
        known=known,
        unanswered=_unanswered(mirror, about),
        ids=pair_ids(),
        open={(conflict.pair_id, conflict.field): conflict for conflict in conflicts},
    )


def _is_one(flow: Flow) -> bool:
    """Whether the flow's source is the side a pair names first."""
    return str(flow.source_id) < str(flow.target_id)


def _ids(pair: LinkedPair, flow: Flow) -> tuple[str, str]:
    ids = (pair.one_id_there, pair.other_id_there)
    return ids if _is_one(flow) else (ids[1], ids[0])


def contact_id_of(pair: LinkedPair, flow: Flow) -> str:
    """The record at the flow's target."""
    return _ids(pair, flow)[1]


def new_pair(flow: Flow, external_id: str, contact_id: str, at: dt.datetime, pk: int) -> LinkedPair:
    """A pair that never agreed on anything yet; not saved."""
    ours, theirs = (flow.source_id, external_id), (flow.target_id, contact_id)
    (one, one_id), (other, other_id) = (ours, theirs) if _is_one(flow) else (theirs, ours)
    return LinkedPair(
        pk=pk, one_id=one, one_id_there=one_id, other_id=other, other_id_there=other_id, base={}, merged_at=at
    )


def pair_ids() -> Iterator[int]:
    """Primary keys for new pairs as they are needed, reserved by the hundred."""
    while True:
        yield from new_ids(LinkedPair, 100)


def _unanswered(mirror: Flow | None, about: Sequence[str]) -> dict[str, list[Posting]]:
    """Changes the other direction has tried without an answer, and will try again."""
    found: dict[str, list[Posting]] = {}
    if mirror is not None:
        planned = Posting.objects.filter(flow=mirror, state=Posting.State.PLANNED, data_type="customer")
        for posting in planned.filter(purpose=CHANGES, attempts__gt=0, external_id__in=about):
            found.setdefault(posting.external_id, []).append(posting)
    return found


def linked_pairs(flow: Flow, about: Sequence[str]) -> dict[tuple[str, str], LinkedPair]:
    """The saved pairs of these customers of the flow's source, by both ids."""
    forth = Q(one=flow.source_id, other=flow.target_id, one_id_there__in=about)
    home = Q(other=flow.source_id, one=flow.target_id, other_id_there__in=about)
    return {_ids(pair, flow): pair for pair in LinkedPair.objects.filter(forth if _is_one(flow) else home)}


def save_pairs(pairs: Iterable[LinkedPair]) -> None:
    rows = [
        (p.pk, p.one_id, p.one_id_there, p.other_id, p.other_id_there, json.dumps(p.base), p.merged_at) for p in pairs
    ]
    if rows:
        with database.cursor() as cursor:
            cursor.execute(_SAVE, list(map(list, zip(*rows, strict=True))))


def _facts(flow: Flow, customers: Sequence[str], contacts: Sequence[str]) -> dict[tuple[uuid.UUID, str], Fact]:
    """Where a provider does not say when a record changed, the time counts at which we saw it."""
    with database.cursor() as cursor:
        cursor.execute(_FACTS, [flow.source_id, list(customers), flow.target_id, list(contacts)])
        return {(row[0], row[1]): Fact(row[2], row[3]) for row in cursor.fetchall()}


def texts_wanted(flow: Flow | None, record: Customer, zone: ZoneInfo) -> dict[str, str]:
    """What a flow's mapping would have its target hold; without a flow, or where it does not come out, the record's own values."""
    if flow is None or flow.mapping is None:
        return texts_of(record)
    bare = Circumstances(time_zone=zone, ledger=Ledger(base_currency=""), start_date=flow.start_date, source_name="")
    try:
        return texts_of(wanted_contact(record, mapped_by(flow.template, flow.mapping), bare))
    except Held:
        return texts_of(record)


def sent_by(posting: Posting) -> dict[str, str]:
    """The fields a posting writes. A new contact is written whole, a change says only what it changes."""
    document = msgspec.convert(posting.document, Customer)
    return texts_of(document) if posting.action == "create" else said_by(document)


def note_late(base: Base, flow: Flow, posting: Posting, attempt: int, at: dt.datetime) -> None:
    """This attempt of the posting had no answer. A creation that comes late makes another contact and empties nothing."""
    is_new = posting.action == "create"
    sent = {name: text for name, text in sent_by(posting).items() if text or not is_new}
    base.note_late(str(flow.target_id), sent, at, attempt=f"{posting.pk}.{attempt}")


def fields_kept_full(flow: Flow) -> frozenset[str]:
    """The fields of a customer that the provider of this flow's target lets nobody empty."""
    return connector(flow.target.connector).writable("customer").cannot_empty


def ask_again(flow: Flow, external_ids: Collection[str], *, delay: dt.timedelta | None = None) -> None:
    """Have these records of the flow's source planned again."""
    RecordOutcome.objects.filter(
        flow=flow, record__external_id__in=external_ids, record__connection_id=flow.source_id
    ).update(is_replay_asked=True)
    request_work(tenant_id=current_tenant().pk, kind="plan", key=str(flow.pk), delay=delay)


def _held(flow: Flow, clashes: Sequence[Clash], stuck: Sequence[str]) -> Held | None:
    if not clashes:
        return _held_full(flow, stuck) if stuck else None
    here, there = (connector(side.connector).manifest.name for side in (flow.source, flow.target))
    said = "; ".join(
        f"{FIELD_WORDS[c.name]}: “{one_line(c.source_value)}” in {here}, “{one_line(c.target_value)}” in {there}"
        for c in clashes
    )
    is_plain = not any(clash.is_doubtful for clash in clashes)
    return Held(
        "conflict",
        f"{'Both sides changed the same field' if is_plain else DOUBTFUL}. {said}.",
        owner="bookkeeper",
        next_step="Choose field by field which value stays.",
    )


def _held_full(flow: Flow, stuck: Sequence[str]) -> Held:
    here, there = (connector(side.connector).manifest.name for side in (flow.source, flow.target))
    fields = ", ".join(FIELD_WORDS[name].lower() for name in stuck)
    return Held(
        "cannot_empty",
        f"Emptied in {here}, but {there} does not let Tieout empty it there: {fields}.",
        owner="bookkeeper",
        next_step=f"Empty it by hand in {there}, or fill it in again in {here}.",
    )


FIELD_WORDS = {"name": "Name", "email": "E-mail", "phone": "Phone", "tax_number": "Tax number", "address": "Address"}


DOUBTFUL = "A change we had given up may have arrived late, so nobody can tell what people wanted here"

EMPTY = "(empty)"  # a field's value, in words


def one_line(text: str) -> str:
    return ", ".join(part for part in text.split("\n") if part) or EMPTY


_FACTS = """
    SELECT connection_id, external_id, version, COALESCE(updated_at, seen_at) FROM sync_record
    WHERE data_type = 'customer' AND ((connection_id = %s AND external_id = ANY(%s))
        OR (connection_id = %s AND external_id = ANY(%s)))
"""
_SAVE = """
    INSERT INTO posting_linkedpair (id, one_id, one_id_there, other_id, other_id_there, base, merged_at)
    SELECT * FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::uuid[], %s::text[], %s::jsonb[], %s::timestamptz[])
    ON CONFLICT (id) DO UPDATE SET base = excluded.base, merged_at = excluded.merged_at
"""
