"""Postings as they are sent: only what a request is made of, read by the hundred and without building a model of each."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from django.db import connection as database
from django.db.models import Q

from connectors.sdk import records
from connectors.sdk.records import decode
from connectors.sdk.streams import Draft
from marketplace.core.clock import now
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow, Stage
from marketplace.posting.planning import writes_drafts

WRITING_STAGES = (Stage.PILOT, Stage.LIVE)


class Ready(NamedTuple):
    """One posting. `needed_*` is what it depends on, which is in the ledger by now and has an identity there. `is_paused`: its flow
    writes nothing now. `is_reversing`: an entry against another, which a person confirmed, whatever its flow does."""

    id: int
    key: str
    flow_id: uuid.UUID
    action: str
    data_type: str
    document: str
    reference: str
    external_id: str
    external_version: str
    attempts: int
    key_round: int
    is_reversing: bool
    is_paused: bool
    needed_type: str | None
    needed_id: str | None
    needed_number: str | None


def ready_postings(connection: Connection, data_type: str, most: int) -> list[Ready]:
    """What may be written now, oldest first: planned, not paused, due, and everything it waits for in the ledger."""
    with database.cursor() as cursor:
        cursor.execute(_READY, {"target": connection.pk, "data_type": data_type, "at": now(), "most": most})
        return list(map(Ready._make, cursor.fetchall()))


def flying_postings(batch_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Ready]]:
    """What the ledger may or may not have of each batch, in the order in which it was sent."""
    found: dict[uuid.UUID, list[Ready]] = {batch_id: [] for batch_id in batch_ids}
    with database.cursor() as cursor:
        cursor.execute(_FLYING, [list(batch_ids)])
        for batch_id, *row in cursor.fetchall():
            found[batch_id].append(Ready._make(row))
    return found


def postings_as_sent(posting_ids: Sequence[int]) -> list[Ready]:
    with database.cursor() as cursor:
        cursor.execute(_NAMED, [list(posting_ids)])
        return list(map(Ready._make, cursor.fetchall()))


def may_be_written(postings: Iterable[Ready]) -> bool:
    """Whether no flow of these was paused, or moved to a step at which nothing is written, since they were read."""
    flows = {posting.flow_id for posting in postings if not posting.is_reversing}
    stopped = Q(is_paused=True) | ~Q(stage__in=WRITING_STAGES)
    return not Flow.objects.filter(stopped, pk__in=flows).exists()


def drafts_of(postings: Iterable[Ready], connection: Connection) -> list[Draft]:
    """The documents as they go out; inside the tenant's context."""
    flows = Flow.objects.filter(target=connection).select_related("target")
    in_draft = {flow.pk: writes_drafts(flow) for flow in flows}
    return [draft_of(posting, as_draft=in_draft[posting.flow_id] and not posting.is_reversing) for posting in postings]


def draft_of(posting: Ready, *, as_draft: bool) -> Draft:
    document = decode(posting.data_type, posting.document)
    if posting.needed_id is not None:
        document = _pointing_at(document, posting)
    return Draft(key=posting.key, reference=posting.reference, document=document, as_draft=as_draft)


def _pointing_at(document: records.Record, posting: Ready) -> records.Record:
    """The document with the ledger's identity of what it depends on."""
    assert posting.needed_id is not None
    if isinstance(document, records.CustomerPayment) and posting.needed_type in ("invoice", "credit_note"):
        return msgspec.structs.replace(
            document, document_id=posting.needed_id, document_number=posting.needed_number or ""
        )
    if isinstance(document, records.Document) and posting.needed_type == "customer":
        return msgspec.structs.replace(
            document, customer=msgspec.structs.replace(document.customer, id=posting.needed_id)
        )
    return document


def _columns(posting: str, needed: str) -> str:
    names = ("id", "key", "flow_id", "action", "data_type", "document::text", "reference", "external_id", "external_version", "attempts", "key_round")  # fmt: skip
    own = ", ".join(f"{posting}.{name}" for name in names)
    return f"""{own}, {posting}.reverses_id IS NOT NULL,
        {posting}.reverses_id IS NULL AND (flow.is_paused OR flow.stage NOT IN ('pilot', 'live')), {needed}.data_type, {needed}.external_id,
        COALESCE(NULLIF({needed}.external_number, ''), {needed}.number)"""


#: Each flow's own postings come in order out of their index, however many wait behind them.
_READY = f"""
    SELECT {_columns("posting", "needed")}
    FROM mapping_flow flow CROSS JOIN LATERAL (
        SELECT planned.* FROM posting_posting planned
        LEFT JOIN posting_posting needed ON needed.id = planned.depends_on_id
        WHERE planned.flow_id = flow.id AND planned.state = 'planned' AND planned.data_type = %(data_type)s
            AND (planned.depends_on_id IS NULL OR needed.state IN ('posted', 'linked'))
            AND (planned.next_attempt_at IS NULL OR planned.next_attempt_at <= %(at)s)
            AND (planned.reverses_id IS NOT NULL OR NOT flow.is_paused AND flow.stage IN ('pilot', 'live'))
        ORDER BY planned.action, planned.id LIMIT %(most)s
    ) posting
    LEFT JOIN posting_posting needed ON needed.id = posting.depends_on_id
    WHERE flow.target_id = %(target)s
    ORDER BY posting.action, posting.id LIMIT %(most)s
"""
_SENT = """
    FROM posting_posting posting JOIN mapping_flow flow ON flow.id = posting.flow_id
    LEFT JOIN posting_posting needed ON needed.id = posting.depends_on_id
"""
_FLYING = f"""
    SELECT posting.batch_id, {_columns("posting", "needed")} {_SENT}
    WHERE posting.batch_id = ANY(%s) AND posting.state IN ('sending', 'uncertain')
    ORDER BY posting.id
"""
_NAMED = f"SELECT {_columns('posting', 'needed')} {_SENT} WHERE posting.id = ANY(%s) ORDER BY posting.id"
