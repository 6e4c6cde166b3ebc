"""Our own writes, recognised: the ledger's answer is stored as if it had been read, and becomes the pair's new base.

So the webhook and the sweep that tell of our write find nothing new, however the provider spelled what we sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from zoneinfo import ZoneInfo

import msgspec

from connectors.sdk.records import Customer
from connectors.sdk.streams import SourceRecord, Written
from marketplace.core.clock import now
from marketplace.mapping.contact_values import texts_of
from marketplace.mapping.merging import Answer, Base, Way, confirm
from marketplace.mapping.models import Flow
from marketplace.posting.models import Conflict, LinkedPair, Posting, RecordOutcome
from marketplace.posting.pairs import (
    ask_again,
    fields_kept_full,
    is_two_way,
    linked_pairs,
    lock_pairs,
    mirror_of,
    new_pair,
    note_late,
    pair_ids,
    save_pairs,
    sent_by,
    texts_wanted,
)
from marketplace.sync.checkpoint import accept_page
from marketplace.sync.models import Record
from tenants.context import current_tenant


def lock_pairs_of(posting_ids: Collection[int]) -> list[Posting]:
    """The postings as they were sent, before anything is written to them; their pairs are locked (`pairs.lock_pairs`)."""
    flows = Flow.objects.filter(postings__in=posting_ids).distinct()
    for flow in sorted(filter(is_two_way, flows), key=lambda flow: sorted((str(flow.source_id), str(flow.target_id)))):
        lock_pairs(flow.source_id, flow.target_id)
    found = Posting.objects.filter(pk__in=posting_ids).order_by("id")
    return list(found.select_related("flow__source", "flow__target", "flow__mapping", "record"))


def confirm_pairs(as_sent: Collection[Posting], answered: Mapping[int, Written]) -> None:
    """Write down what the other side made of these postings. Holds the pairs' lock, in the transaction of the answer."""
    by_flow: dict[Flow, list[Posting]] = {}
    for posting in as_sent:
        by_flow.setdefault(posting.flow, []).append(posting)
    for flow, some in by_flow.items():
        if is_two_way(flow):
            _confirm(flow, some, answered)


def _confirm(flow: Flow, postings: list[Posting], answered: Mapping[int, Written]) -> None:
    mirror, zone, at, ids = mirror_of(flow), ZoneInfo(current_tenant().time_zone), now(), pair_ids()
    known = linked_pairs(flow, [posting.record.external_id for posting in postings])
    stored = {
        record.external_id: record
        for record in Record.objects.filter(
            connection=flow.target_id,
            data_type="customer",
            external_id__in=[answered[posting.pk].external_id for posting in postings],
        )
    }
    pairs, echoes, stuck = [], [], []
    for posting in postings:
        written = answered[posting.pk]
        assert written.record is not None
        key = (posting.record.external_id, written.external_id)
        pair = known.get(key) or new_pair(flow, *key, at, next(ids))
        before = stored.get(written.external_id)
        _confirm_pair(flow, mirror, pair, posting, written.record, before, zone)
        pairs.append(pair)
        if _is_left_full(flow, posting, written.record):
            stuck.append(posting.record.external_id)
        if _is_next(before, posting, written):
            echoes.append(written.record)
    save_pairs(pairs)
    if echoes:
        accept_page(
            connection_id=flow.target_id,
            records=echoes,
            rejected=(),
            data_type="customer",
            run_id=None,
            zone=zone,
            at=at,
        )
    _hold_open_conflicts(flow, pairs)
    if stuck:
        ask_again(flow, stuck)


def _is_left_full(flow: Flow, posting: Posting, answer: SourceRecord) -> bool:
    """What could be written is written; what the provider does not let us empty is told once more."""
    assert isinstance(answer.record, Customer)
    own, held = texts_of(msgspec.convert(posting.record.body, Customer)), texts_of(answer.record)
    return any(held[name] and not own[name] for name in fields_kept_full(flow))


def _is_next(before: Record | None, posting: Posting, written: Written) -> bool:
    """Whether the answer is newer than what is stored: something else may have been read while it was under way."""
    return before is None or before.version in (posting.external_version, written.version)


def _confirm_pair(
    flow: Flow,
    mirror: Flow | None,
    pair: LinkedPair,
    posting: Posting,
    answer: SourceRecord,
    before: Record | None,
    zone: ZoneInfo,
) -> None:
    assert isinstance(answer.record, Customer)
    own = msgspec.convert(posting.record.body, Customer)
    base, held = msgspec.convert(pair.base, Base), texts_of(answer.record)
    # What was looked up may hold what people did since: only an answer shows what the other side itself made of our write.
    is_answer = posting.state == Posting.State.SENDING
    is_known_before = is_answer and before is not None and before.version == posting.external_version
    if posting.attempts > 1:
        note_late(base, flow, posting, posting.attempts - 1, now())
    confirm(
        base,
        Answer(
            sent=sent_by(posting),
            held=held,
            there=Way(source=str(flow.source_id), sent=texts_wanted(flow, own, zone), held=held),
            back=Way(source=str(flow.target_id), sent=texts_wanted(mirror, answer.record, zone), held=texts_of(own)),
            before=texts_wanted(mirror, msgspec.convert(before.body, Customer), zone)
            if before is not None and is_known_before
            else None,
        ),
        answer.updated_at or now(),
    )
    pair.base, pair.merged_at = msgspec.to_builtins(base), now()


def note_earlier_attempts(posting: Posting) -> None:
    """The last attempt was refused; the ones before it had no answer and may still arrive. Takes the pair's lock."""
    if posting.attempts < 2 or not is_two_way(posting.flow):
        return
    lock_pairs(posting.flow.source_id, posting.flow.target_id)
    pairs = linked_pairs(posting.flow, [posting.record.external_id])
    pair = pairs.get((posting.record.external_id, posting.external_id))
    if pair is not None:
        base = msgspec.convert(pair.base, Base)
        note_late(base, posting.flow, posting, posting.attempts - 1, now())
        pair.base, pair.merged_at = msgspec.to_builtins(base), now()
        save_pairs([pair])


def _hold_open_conflicts(flow: Flow, pairs: list[LinkedPair]) -> None:
    """What could be written is written; what a person has to decide goes on waiting for it."""
    for conflict in Conflict.objects.filter(pair__in=pairs, flow=flow, state=Conflict.State.OPEN):
        RecordOutcome.objects.filter(flow=flow, record=conflict.record_id).update(
            state=RecordOutcome.State.HELD,
            reason_code="conflict",
            reason=f"Both sides changed the same field: {conflict.field.replace('_', ' ')}.",
            owner=RecordOutcome.Owner.BOOKKEEPER,
            next_step="Choose field by field which value stays.",
        )
