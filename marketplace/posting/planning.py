"""From records to postings: every record of a flow's source ends with exactly one outcome.

A record needs planning when it has no outcome, when it changed since, or when somebody asked for it again. That is a comparison of
digests, not a position in a log, so nothing can be skipped. Work on one flow is exclusive (its lease), and each batch of
records with its postings and outcomes is one transaction.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.db import connection as database
from django.db.models.expressions import RawSQL

from connectors.sdk.records import Customer, decode, encode
from connectors.sdk.records import Record as StandardRecord
from marketplace.core.bulk import copy_rows, new_ids
from marketplace.core.clock import now
from marketplace.mapping.compiling import planner_for
from marketplace.mapping.models import Flow, Stage
from marketplace.mapping.plan import Circumstances, Excluded, Held, NotPlanned, PlannedDocument, Planner
from marketplace.mapping.queries import circumstances_of
from marketplace.mapping.scope import check_agreed
from marketplace.mapping.templates import template
from marketplace.posting.keys import PostingKeys, marked
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.posting.pairs import (
    Merged,
    Pairs,
    is_two_way,
    lock_pairs,
    mirror_of,
    pairs_of,
    waiting_for_the_way_back,
)
from marketplace.sync.columns import columns_of
from marketplace.sync.models import StreamState
from tenants.models import Tenant

BATCH = 4000
PLANNING_STAGES = (Stage.PILOT, Stage.PARALLEL, Stage.LIVE)
IN_LEDGER = (Posting.State.POSTED, Posting.State.LINKED)
WRITTEN = (*IN_LEDGER, Posting.State.REVERSED)
FLYING = (Posting.State.SENDING, Posting.State.UNCERTAIN)  # the ledger may or may not have it
#: Reasons of records that are being taken back, and that were, wholly or in part.
UNDER_WAY = "being_taken_back"
TAKEN_BACK = ("taken_back", "taken_back_in_part", "not_taken_back")


class Source(msgspec.Struct, frozen=True):
    """A record that needs planning, as selected."""

    id: int
    external_id: str
    digest: str
    body: str
    is_deleted: bool
    occurred_on: dt.date | None
    amount: str | None
    currency: str
    taken_back: NotPlanned | None = None


@dataclass
class Planned:
    """What one transaction writes."""

    postings: list[tuple[Any, ...]] = field(default_factory=list)
    outcomes: list[tuple[Any, ...]] = field(default_factory=list)
    withdrawn: list[int] = field(default_factory=list)
    redirected: dict[int, int] = field(default_factory=dict)  # posting -> the newer posting it waits for


@dataclass(frozen=True)
class Planning:
    """What stays the same for all records of one pass over a flow."""

    owner: Tenant
    flow: Flow
    planner: Planner
    circumstances: Circumstances
    at: dt.datetime
    keys: PostingKeys
    pairs: Pairs | None = None

    @cached_property
    def flow_id(self) -> str:
        """As text, which costs the driver least where it is written again and again."""
        return str(self.flow.pk)

    @cached_property
    def at_text(self) -> str:
        """Likewise."""
        return self.at.isoformat()


def plan_flow(*, owner: Tenant, flow: Flow) -> int:
    """Plan the next batch of records; inside the tenant's transaction. Returns how many were planned, 0 when none is left."""
    if not _is_planned(flow):
        return 0
    mirror = mirror_of(flow) if is_two_way(flow) else None
    if is_two_way(flow):
        if not _knows_all_contacts(flow):
            return 0
        lock_pairs(flow.source_id, flow.target_id)
    chosen = _sources(flow)
    # Asked before the links are read: an answer that came in between shows in the links.
    busy, is_new_flying = waiting_for_the_way_back(flow, mirror)
    existing = _existing(flow, [source.id for source in chosen])
    sources = [source for source in chosen if not _is_flying(existing.get(source.id, []))]
    planning = _planning(owner, flow, mirror, sources)
    if planning.pairs is not None:
        links = planning.circumstances.ledger.contacts
        sources = [s for s in sources if s.external_id not in busy and (s.external_id in links or not is_new_flying)]
    if not sources:
        return 0
    planned = Planned()
    ids = _new_ids(len(sources) * 2)
    for source in sources:
        plan_record(planning, source, existing.get(source.id, []), planned, ids)
    _write(planning, planned)
    if planning.pairs is not None:
        planning.pairs.save()
    return len(sources)


def _planning(owner: Tenant, flow: Flow, mirror: Flow | None, sources: list[Source]) -> Planning:
    assert flow.mapping is not None
    planner, at = planner_for(flow.template, flow.mapping), now()
    keys = PostingKeys(tenant_id=owner.pk, flow_id=flow.pk)
    if not is_two_way(flow):
        return Planning(owner, flow, planner, circumstances_of(flow, owner), at, keys)
    about = [source.external_id for source in sources]
    circumstances = circumstances_of(flow, owner, about)
    return Planning(owner, flow, planner, circumstances, at, keys, pairs_of(flow, mirror, circumstances, about, at))


def _knows_all_contacts(flow: Flow) -> bool:
    """Until the other side's contacts were read to the end once, nobody can tell a new one from one that is there."""
    return StreamState.objects.filter(
        connection=flow.target_id, data_type=template(flow.template).main_type, backfilled_at__isnull=False
    ).exists()


def waits_for_answers(flow: Flow) -> bool:
    """Whether records are left that cannot be planned before the ledger has answered: they changed while their documents were
    under way. To be asked after `plan_flow` found nothing more."""
    if not _is_planned(flow):
        return False
    with database.cursor() as cursor:
        cursor.execute(_IS_ANY_LEFT, [flow.pk, flow.source_id, template(flow.template).source_type])
        return bool(cursor.fetchone()[0])


def _is_planned(flow: Flow) -> bool:
    return not flow.is_paused and flow.stage in PLANNING_STAGES and flow.mapping is not None


def plan_record(
    planning: Planning, source: Source, existing: list[Posting], planned: Planned, ids: Iterator[int]
) -> None:
    """Add what becomes of one record to `planned`."""
    if source.taken_back is not None:
        planned.outcomes.append(_outcome(planning, source, source.taken_back.state, source.taken_back))
        return
    record = decode(template(planning.flow.template).source_type, source.body)
    try:
        documents = _documents(planning, source, record, existing)
        merged = Merged(documents)
        if planning.pairs is not None:
            assert isinstance(record, Customer)
            merged = planning.pairs.merge(source.external_id, source.id, record, documents, existing)
        _add_postings(planning, source, merged, existing, planned, ids)
    except NotPlanned as refusal:
        planned.withdrawn += [posting.id for posting in existing if posting.state not in WRITTEN]
        planned.outcomes.append(_outcome(planning, source, refusal.state, refusal))


def _documents(
    planning: Planning, source: Source, record: StandardRecord, existing: list[Posting]
) -> list[PlannedDocument]:
    is_in_ledger = any(posting.state in IN_LEDGER for posting in existing)
    if source.is_deleted:
        if is_in_ledger:
            raise _changed_after_posting("It was deleted at the source after it had been posted.")
        raise Excluded("deleted", "It was deleted at the source before it was posted.")
    check_agreed(planning.flow, record, source.occurred_on, planning.circumstances.time_zone)
    try:
        return planning.planner(record, planning.circumstances)
    except Excluded:
        if is_in_ledger:
            raise _changed_after_posting("It was cancelled at the source after it had been posted.") from None
        raise


def _changed_after_posting(reason: str) -> Held:
    return Held(
        "changed_after_posting",
        reason,
        owner=RecordOutcome.Owner.BOOKKEEPER,
        next_step="Compare the source with the ledger entry; correct the entry in the ledger or accept it as it is.",
    )


def _add_postings(
    planning: Planning,
    source: Source,
    merged: Merged,
    existing: list[Posting],
    planned: Planned,
    ids: Iterator[int],
) -> None:
    """Compare what should be with what is. Documents in the ledger stay; a difference there is for a person to judge."""
    documents = merged.documents
    latest = _latest_by_purpose(existing)
    refs: dict[str, int] = {}
    has_new, rows = False, []
    for document in documents:
        body = encode(document.document)
        digest = _digest(body)
        known = latest.get(document.purpose)
        if known is not None and known.digest == digest and _is_as_wanted(planning, known, document):
            refs[document.purpose] = known.id
            if document.needs and known.depends_on_id != refs.get(document.needs):
                planned.redirected[known.id] = refs[document.needs]
            has_new |= known.state not in (*IN_LEDGER, Posting.State.SHADOW)
            continue
        if known is not None and known.state in IN_LEDGER and document.action == "create":
            raise _changed_after_posting(_what_changed(known, document))
        if known is not None and known.state not in WRITTEN:
            planned.withdrawn.append(known.id)
        refs[document.purpose] = next(ids)
        version = (known.version if known else 0) + 1
        if known is not None and known.state == Posting.State.REVERSED:
            document = _numbered_anew(document, version)
            body = encode(document.document)
        rows.append(_posting(planning, source, document, refs, version, digest, body))
        has_new |= document.action != "link"
    wanted = {document.purpose for document in documents}
    planned.withdrawn += [
        posting.id for purpose, posting in latest.items() if purpose not in wanted and posting.state not in WRITTEN
    ]
    planned.postings += rows
    state = RecordOutcome.State.PENDING if has_new else RecordOutcome.State.POSTED
    if planning.flow.stage == Stage.PARALLEL and has_new:
        state = RecordOutcome.State.SHADOW
    refusal = None if has_new else merged.held
    planned.outcomes.append(_outcome(planning, source, refusal.state if refusal else state, refusal))


def _is_as_wanted(planning: Planning, known: Posting, document: PlannedDocument) -> bool:
    """What was written once stays written; a change is wanted anew whenever the merge says so, against the state it saw."""
    if document.action == "update":
        return known.state == _state(planning, document) and known.external_version == document.version
    return known.state in (*IN_LEDGER, _state(planning, document))


def _numbered_anew(planned: PlannedDocument, version: int) -> PlannedDocument:
    """Ledgers keep the number of a document that was taken back, so the next one has a number of its own."""
    number = getattr(planned.document, "number", "")
    if not number:
        return planned
    renumbered = msgspec.structs.replace(planned.document, number=f"{number}-{version}")
    return msgspec.structs.replace(planned, document=renumbered)


def _latest_by_purpose(existing: list[Posting]) -> dict[str, Posting]:
    return {posting.purpose: posting for posting in sorted(existing, key=lambda posting: posting.version)}


def _state(planning: Planning, document: PlannedDocument) -> str:
    """A link needs no writing; parallel writes nothing; in a pilot with drafts nobody has paid a draft yet."""
    if document.action == "link":
        return Posting.State.LINKED
    if planning.flow.stage == Stage.PARALLEL:
        return Posting.State.SHADOW
    if document.document.data_type == "customer_payment" and writes_drafts(planning.flow):
        return Posting.State.SHADOW
    return Posting.State.PLANNED


def writes_drafts(flow: Flow) -> bool:
    """In the pilot, documents are drafts where the ledger has drafts and the tenant did not choose otherwise."""
    from connectors.registry import connector  # noqa: PLC0415 -- the registry imports every connector

    return (
        flow.stage == Stage.PILOT
        and flow.settings.get("pilot_documents", "drafts") == "drafts"
        and connector(flow.target.connector).manifest.has_drafts
    )


def _what_changed(known: Posting, document: PlannedDocument) -> str:
    now_total = columns_of(document.document, _UTC).amount
    if now_total is not None and now_total != known.amount:
        return (
            f"It changed at the source after it had been posted: {known.currency} {known.amount:.2f} is in the ledger, "
            f"{known.currency} {now_total:.2f} would be right now."
        )
    return "It changed at the source after it had been posted: the amount is the same, other details differ."


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def _posting(
    planning: Planning,
    source: Source,
    planned: PlannedDocument,
    refs: dict[str, int],
    version: int,
    digest: str,
    body: bytes,
) -> tuple[Any, ...]:
    flow, document = planning.flow, planned.document
    key = planning.keys.of(external_id=source.external_id, purpose=planned.purpose, version=version)
    columns = columns_of(document, _UTC)
    reference = marked(columns.reference, key)
    return (
        refs[planned.purpose],
        key,
        planning.flow_id,
        source.id,
        flow.mapping_id,
        planned.purpose,
        version,
        planned.action,
        document.data_type,
        body.decode(),
        digest,
        _state(planning, planned),
        refs.get(planned.needs),
        planned.external_id,
        columns.number,
        reference,
        columns.occurred_on or source.occurred_on or planning.at.date(),
        columns.amount if columns.amount is not None else 0,
        columns.tax_amount or 0,
        columns.currency,
        columns.party or planned.party[:255],
        columns.ledger_account,
        planning.at_text,
        "",
        planned.version,
        "",
        "",
        0,
    )


def _outcome(planning: Planning, source: Source, state: str, refusal: NotPlanned | None) -> tuple[Any, ...]:
    return (
        source.id,
        source.digest,
        state,
        refusal.code if refusal else "",
        refusal.reason if refusal else "",
        refusal.owner if refusal else "",
        refusal.next_step if refusal else "",
        source.occurred_on or planning.at.date(),
        source.amount if source.amount is not None else 0,
        source.currency,
    )


def _new_ids(at_once: int) -> Iterator[int]:
    """Primary keys as they are needed, reserved by the batch."""
    while True:
        yield from new_ids(Posting, at_once)


def _sources(flow: Flow) -> list[Source]:
    with database.cursor() as cursor:
        cursor.execute(_SOURCES, [flow.pk, flow.source_id, template(flow.template).source_type, BATCH])
        return [Source(*(*row[:8], _as_taken_back(*row[8:]))) for row in cursor.fetchall()]


def _as_taken_back(is_asked: bool, code: str, reason: str, owner: str, next_step: str) -> Held | None:
    """What was taken back, or is being, stays held whatever happens at its source, until a person asks for it again."""
    if code == UNDER_WAY or (code in TAKEN_BACK and not is_asked):
        return Held(code, reason, owner=owner, next_step=next_step)
    return None


def _existing(flow: Flow, record_ids: list[int]) -> dict[int, list[Posting]]:
    """Locked, so that the writer cannot send what is being replaced here."""
    found: dict[int, list[Posting]] = {}
    if not record_ids:
        return found
    chosen = RawSQL("SELECT unnest(%s::bigint[])", [record_ids])
    postings = Posting.objects.select_for_update().filter(flow=flow, record_id__in=chosen, reverses=None)
    for posting in postings:
        found.setdefault(posting.record_id, []).append(posting)
    return found


def _is_flying(existing: list[Posting]) -> bool:
    """The writer took it between our choosing and our locking: what is under way must not be replaced."""
    return any(posting.state in FLYING for posting in existing)


def _write(planning: Planning, planned: Planned) -> None:
    if planned.withdrawn:
        Posting.objects.filter(pk__in=planned.withdrawn).update(state=Posting.State.WITHDRAWN)
    if planned.postings:
        copy_rows(Posting, _POSTING_COLUMNS, planned.postings)
    for posting_id, newer in planned.redirected.items():
        Posting.objects.filter(pk=posting_id).update(depends_on=newer)
    with database.cursor() as cursor:
        cursor.execute(_STAGE_OUTCOMES)
        with cursor.copy("COPY decided FROM STDIN") as copy:
            for row in planned.outcomes:
                copy.write_row(row)
        flow = planning.flow
        cursor.execute(_DECIDE, [flow.pk, flow.mapping_id, flow.stage, planning.at])
        cursor.execute("DROP TABLE decided")  # the role of another business, were it next here, could not use it


def replay(*, flow_id: uuid.UUID, states: tuple[str, ...]) -> int:
    """Ask for all outcomes in these states to be planned again, as mapped now. Returns how many."""
    return RecordOutcome.objects.filter(flow_id=flow_id, state__in=states).update(is_replay_asked=True)


_UTC = ZoneInfo("UTC")
_POSTING_COLUMNS = (
    "id", "key", "flow_id", "record_id", "mapping_id", "purpose", "version", "action", "data_type", "document", "digest", "state",
    "depends_on_id", "external_id", "number", "reference", "occurred_on", "amount", "tax_amount", "currency", "party",
    "ledger_account", "created_at", "external_number", "external_version", "url", "problem", "attempts",
)  # fmt: skip
_LEFT = """
    FROM sync_record record
    LEFT JOIN posting_recordoutcome outcome ON outcome.flow_id = %s AND outcome.record_id = record.id
    WHERE record.connection_id = %s AND record.data_type = %s
        AND (outcome.id IS NULL OR outcome.digest <> record.digest OR outcome.is_replay_asked)
"""
_IS_ANY_LEFT = f"SELECT EXISTS (SELECT {_LEFT})"
_SOURCES = f"""
    SELECT record.id, record.external_id, record.digest, record.body::text, record.is_deleted, record.occurred_on,
        record.amount::text, record.currency, coalesce(outcome.is_replay_asked, false), coalesce(outcome.reason_code, ''),
        coalesce(outcome.reason, ''), coalesce(outcome.owner, ''), coalesce(outcome.next_step, '')
    {_LEFT}
        AND NOT EXISTS (SELECT FROM posting_posting flying WHERE flying.flow_id = outcome.flow_id
            AND flying.record_id = record.id AND flying.state IN ('sending', 'uncertain'))
    ORDER BY record.id LIMIT %s
"""
_STAGE_OUTCOMES = """
    CREATE TEMP TABLE decided (record_id bigint, digest text, state text, reason_code text, reason text,
        owner text, next_step text, occurred_on date, amount numeric, currency text) ON COMMIT DROP
"""
_DECIDE = """
    INSERT INTO posting_recordoutcome (flow_id, mapping_id, stage, updated_at, is_replay_asked, decision, record_id, digest,
        state, reason_code, reason, owner, next_step, occurred_on, amount, currency)
    SELECT %s, %s, %s, %s, false, '', decided.* FROM decided
    ON CONFLICT (flow_id, record_id) DO UPDATE SET digest = excluded.digest, mapping_id = excluded.mapping_id,
        stage = excluded.stage, state = excluded.state, reason_code = excluded.reason_code, reason = excluded.reason,
        owner = excluded.owner, next_step = excluded.next_step, occurred_on = excluded.occurred_on,
        amount = excluded.amount, currency = excluded.currency, updated_at = excluded.updated_at, is_replay_asked = false
"""
