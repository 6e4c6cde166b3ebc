"""Asking for a reversal, confirming its plan, and what it means for the records: the acts of people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.db.models import Count

from connectors.sdk.records import CreditNote, Customer, CustomerPayment, Document, Record, decode, encode
from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.core.formatting import day_text
from marketplace.core.work import request_work
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow
from marketplace.mapping.queries import ledger_of
from marketplace.posting.keys import marked, posting_key
from marketplace.posting.models import Posting, RecordOutcome, Reversal, ReversalLine
from marketplace.posting.opposites import money_back, opposite, repayment_of
from marketplace.posting.planning import FLYING, TAKEN_BACK, UNDER_WAY
from marketplace.posting.reversal_planning import OPEN, effect_of, is_paid_by, selected, settles_on_document
from marketplace.posting.summaries import refresh_summary
from marketplace.posting.trial_balances import Expected, Reading, expected_of, with_after
from marketplace.sync.columns import columns_of
from tenants.choices import Role
from tenants.context import current_tenant
from tenants.models import Tenant, User
from tenants.queries import people_with_role

Action, State = ReversalLine.Action, ReversalLine.State
_UTC = ZoneInfo("UTC")

WHOLLY, IN_PART, LEFT = TAKEN_BACK
#: Entries: taking back more of them at once takes two people, where there are two who may.
LARGE = 100
THE_REST = "What was left of: "


class UnableToReverse(Exception):
    """The reversal cannot be asked for or confirmed; the message says why."""


def ask_for_reversal(*, flow: Flow, selection: Mapping[str, Any], covers: str, reason: str, user: User) -> Reversal:
    """Have a plan made for taking back what a selection is about (see `reversal_planning.selected`). Raises `UnableToReverse`."""
    if not reason.strip():
        raise UnableToReverse("Say why: the reason is kept with the reversal.")
    _require_connected(flow.target)
    owner = current_tenant()
    found = selected(flow.pk, selection, ZoneInfo(owner.time_zone))
    if not found.exists():
        raise UnableToReverse("Nothing this flow has posted fits: there is nothing to take back.")
    reversal = Reversal.objects.create(
        flow=flow,
        connection=flow.target,
        selection=dict(selection),
        covers=covers,
        reason=reason.strip(),
        asked_by=user,
        asked_at=now(),
    )
    _request_plan(reversal)
    _record(user, "planned", reversal, f"Asked what taking back would do: {covers}", {"reason": reversal.reason})
    return reversal


def go_on(*, reversal: Reversal, user: User) -> Reversal:
    """Have what a reversal left planned anew, as the ledger stands now. Raises `UnableToReverse`."""
    if reversal.state != Reversal.State.DONE:
        raise UnableToReverse("It has not ended yet.")
    return ask_for_reversal(
        flow=reversal.flow,
        selection={"rest": str(reversal.pk)},
        covers=f"{THE_REST}{reversal.covers.removeprefix(THE_REST)}",
        reason=reversal.reason,
        user=user,
    )


def _require_connected(connection: Connection) -> None:
    if connection.state != Connection.State.CONNECTED:
        raise UnableToReverse(f"{connection} is not connected at the moment. Reconnect it first.")


def plan_again(*, reversal: Reversal, user: User) -> None:
    """Read the ledger again: the plan is made anew. Raises `UnableToReverse` once it was confirmed."""
    current = _locked(reversal)
    if current.state not in (Reversal.State.PLANNED, Reversal.State.PLANNING):
        raise UnableToReverse("It was confirmed or discarded already. Start a new one for what is left.")
    _require_connected(current.connection)
    current.state, current.problem = Reversal.State.PLANNING, ""
    current.save(update_fields=["state", "problem"])
    _request_plan(current)


def discard_reversal(*, reversal: Reversal, user: User) -> None:
    """Nothing is taken back. Raises `UnableToReverse` once it was confirmed."""
    current = _locked(reversal)
    if current.state not in (Reversal.State.PLANNED, Reversal.State.PLANNING):
        raise UnableToReverse("It was confirmed or discarded already.")
    current.state, current.finished_at = Reversal.State.DISCARDED, now()
    current.save(update_fields=["state", "finished_at"])
    _record(user, "discarded", current, f"Discarded the plan to take back: {current.covers}", {})


def confirm_reversal(*, reversal: Reversal, user: User) -> None:
    """Let the plan be carried out. Every entry of it must stand as it did when it was planned. Raises `UnableToReverse`."""
    current = _locked(reversal)
    if current.state != Reversal.State.PLANNED:
        raise UnableToReverse(f"This plan cannot be confirmed: {current.get_state_display().lower()}.")
    _require_connected(current.connection)
    lines = list(
        current.lines.exclude(action=Action.KEEP)
        .select_related("posting__record", "posting__depends_on")
        .order_by("id")
    )
    if not lines:
        raise UnableToReverse("Nothing in this plan can be taken back.")
    _require_second_person(current, len(lines), user)
    record_ids = {line.posting.record_id for line in lines}
    _check_still_so(current, lines, record_ids)
    _withdraw_unsent(current, record_ids)
    ReversalLine.objects.filter(pk__in=[line.pk for line in lines]).update(state=State.DUE)
    current.lines.filter(action=Action.KEEP).update(state=State.HELD)
    for line in sorted(lines, key=lambda line: -line.phase):  # documents before what settles them
        if line.action == Action.ENTRY:
            _plan_entry(current, line, lines)
    current.state, current.confirmed_by, current.confirmed_at = Reversal.State.RUNNING, user, now()
    current.save(update_fields=["state", "confirmed_by", "confirmed_at"])
    _put_on_hold(current, record_ids)
    request_work(tenant_id=current_tenant().pk, kind="post", key=str(current.connection_id))
    refresh_summary(current_tenant())
    _record(
        user, "confirmed", current, f"Confirmed taking back {len(lines)} entries: {current.covers}", _counts(current)
    )


def others_to_confirm(reversal: Reversal, entries: int, user: User) -> list[str]:
    """Who confirms instead of this person: of a large one, whoever asked for it does not confirm it too, unless nobody else could."""
    if entries <= LARGE or reversal.asked_by_id != user.pk:
        return []
    return [str(person) for person in people_with_role(current_tenant(), Role.ADMIN) if person.pk != user.pk]


def _require_second_person(reversal: Reversal, entries: int, user: User) -> None:
    others = others_to_confirm(reversal, entries, user)
    if others:
        raise UnableToReverse(
            f"You asked for this, and it takes back more than {LARGE} entries: somebody else confirms it. {' or '.join(others)} can."
        )


def _locked(reversal: Reversal) -> Reversal:
    related = Reversal.objects.select_for_update(of=("self",)).select_related("flow__target", "connection")
    return related.get(pk=reversal.pk)


def _request_plan(reversal: Reversal) -> None:
    request_work(tenant_id=current_tenant().pk, kind="reverse", key=str(reversal.pk))


def _check_still_so(reversal: Reversal, lines: Sequence[ReversalLine], record_ids: Collection[int]) -> None:
    """Locked against the planner and the writer, who would otherwise add to what is being taken back."""
    ours = Posting.objects.select_for_update().filter(flow_id=reversal.flow_id, record_id__in=record_ids, reverses=None)
    states = dict(ours.order_by("id").values_list("pk", "state"))
    wanted = {line.posting_id for line in lines}
    moved = sum(states.get(pk) != Posting.State.POSTED for pk in wanted)
    in_flight = sum(state in FLYING for state in states.values())
    elsewhere = ReversalLine.objects.filter(posting__in=wanted, state__in=OPEN).count()
    if moved or in_flight or elsewhere:
        raise UnableToReverse(
            f"{moved + in_flight + elsewhere} entries are no longer as they were planned: sent, changed or taken back meanwhile. "
            "Plan it again."
        )


def _withdraw_unsent(reversal: Reversal, record_ids: Collection[int]) -> None:
    """What was still to be sent for these records would be sent onto entries that go."""
    unsent = Posting.objects.filter(
        flow_id=reversal.flow_id, record_id__in=record_ids, reverses=None, state=Posting.State.PLANNED
    )
    unsent.update(state=Posting.State.WITHDRAWN)


def _put_on_hold(reversal: Reversal, record_ids: Collection[int]) -> None:
    RecordOutcome.objects.filter(flow_id=reversal.flow_id, record_id__in=record_ids).update(
        state=RecordOutcome.State.HELD,
        reason_code=UNDER_WAY,
        reason=f"{reversal.confirmed_by} is having it taken back.",
        owner=RecordOutcome.Owner.TIEOUT,
        next_step="Wait until that is done.",
        is_replay_asked=False,
        updated_at=now(),
    )


# --- entries against entries ------------------------------------------------------------------------------------------


def _plan_entry(reversal: Reversal, line: ReversalLine, lines: Sequence[ReversalLine]) -> None:
    """Plan the postings that undo one entry; the writer sends them as it sends everything."""
    date = line.entry_date
    assert date is not None
    document = _document_of(line.posting)
    settles_itself = settles_on_document(reversal.connection.connector)
    if isinstance(document, CustomerPayment):
        line.entry = _against_payment(line, document, lines, settles_itself=settles_itself)
    else:
        against = opposite(document, date)
        if isinstance(against, CreditNote) and settles_itself:
            against = msgspec.structs.replace(against, refund_ledger_account=_paid_into(line.posting, lines))
        line.entry = _posting_against(line, against, None)
        if isinstance(document, CreditNote) and document.refund_ledger_account:
            line.entry = _posting_against(line, repayment_of(document, date), line.entry)
    line.save(update_fields=["entry"])


def _against_payment(
    line: ReversalLine, payment: CustomerPayment, lines: Sequence[ReversalLine], *, settles_itself: bool
) -> Posting:
    """It pays the entry against its document back; where there is none to pay, it is undone by itself."""
    date, needed = line.entry_date, _entry_against_settled(line.posting, lines)
    assert date is not None
    if needed is not None and needed.document.get("refund_ledger_account"):
        return needed  # the document's own entry pays it back
    if needed is not None and not settles_itself:
        return _posting_against(line, opposite(payment, date), needed)
    assert line.posting.depends_on is not None  # or the plan would have kept it
    settled = _document_of(line.posting.depends_on)
    assert isinstance(settled, Document)
    entry = None
    for part in money_back(payment, settled, date, settles_on_document=settles_itself):
        entry = _posting_against(line, part, entry)
    assert entry is not None
    return entry


def _document_of(posting: Posting) -> Record:
    return decode(posting.data_type, msgspec.json.encode(posting.document))


def _entry_against_settled(payment: Posting, lines: Sequence[ReversalLine]) -> Posting | None:
    """The entry against what a payment pays: planned with it, or made by an earlier reversal."""
    for line in lines:
        if line.posting_id == payment.depends_on_id and line.action == Action.ENTRY:
            return line.entry
    earlier = ReversalLine.objects.filter(
        posting=payment.depends_on_id, action=Action.ENTRY, state=State.DONE, entry__state=Posting.State.POSTED
    )
    found = earlier.select_related("entry").order_by("-pk").first()
    return None if found is None else found.entry


def _paid_into(original: Posting, lines: Sequence[ReversalLine]) -> str:
    """The account all its payments went to, when they cannot be taken back themselves; empty when they are undone one by one."""
    payments = [
        line.posting for line in lines if line.posting.depends_on_id == original.pk and line.action == Action.ENTRY
    ]
    return payments[0].ledger_account if is_paid_by(original, payments) else ""


def made_already(original: Posting, data_type: str) -> Posting | None:
    """The part of this kind that an earlier reversal made against an entry: no entry takes two of one kind."""
    made = Posting.objects.filter(reverses=original, data_type=data_type, state=Posting.State.POSTED)
    return made.order_by("-pk").first()


def at_rate(document: Record, rate: Decimal | None) -> Record:
    """The document, written at an exchange rate; as it is where there is none."""
    if rate is None or isinstance(document, Customer):
        return document
    return msgspec.structs.replace(document, exchange_rate=Decimal(f"{rate.normalize():f}"))


def _posting_against(line: ReversalLine, document: Record, needed: Posting | None) -> Posting:
    """One posting against an entry, at the exchange rate of that: at today's it would leave a difference. What an earlier reversal
    that stopped half way had made of it already is not made again."""
    original, date = line.posting, line.entry_date
    assert date is not None
    document = at_rate(document, line.exchange_rate)
    made = made_already(original, document.data_type)
    if made is not None:
        return made
    version = Posting.objects.filter(reverses=original).count() + 1
    key = posting_key(
        tenant_id=current_tenant().pk,
        flow_id=original.flow_id,
        external_id=original.record.external_id,
        purpose=f"against {original.key}",
        version=version,
    )
    columns, body = columns_of(document, _UTC), encode(document)
    return Posting.objects.create(
        key=key,
        flow_id=original.flow_id,
        record_id=original.record_id,
        mapping_id=original.mapping_id,
        purpose=f"against {original.purpose}"[:60],
        version=version,
        data_type=document.data_type,
        document=msgspec.json.decode(body),
        digest=original.digest,
        state=Posting.State.PLANNED,
        depends_on=needed,
        reverses=original,
        number=columns.number,
        reference=marked(columns.reference, key),
        occurred_on=date,
        amount=columns.amount or 0,
        tax_amount=columns.tax_amount or 0,
        currency=columns.currency,
        party=columns.party,
        ledger_account=columns.ledger_account,
        created_at=now(),
    )


# --- what became of it ------------------------------------------------------------------------------------------------


def mark_taken_back(lines: Sequence[ReversalLine], reversal: Reversal) -> None:
    """These entries were read back and are gone, or undone: inside the transaction of the worker that read them."""
    if not lines:
        return
    at = now()
    words = f"Taken back by {reversal.confirmed_by} on {day_text(at.date())}."
    ids = [line.pk for line in lines]
    ReversalLine.objects.filter(pk__in=ids).update(state=State.DONE, done_at=at)
    Posting.objects.filter(pk__in=[line.posting_id for line in lines]).update(
        state=Posting.State.REVERSED, problem=words
    )


def hold_line(line: ReversalLine, code: str, reason: str, next_step: str) -> None:
    """This entry stays as it is, for a person to look at."""
    ReversalLine.objects.filter(pk=line.pk).update(
        state=State.HELD,
        code=code,
        reason=reason,
        owner=RecordOutcome.Owner.BOOKKEEPER,
        next_step=next_step,
    )


def settle_records(reversal: Reversal, record_ids: Collection[int]) -> None:
    """Records none of whose entries is under way any more: what became of them."""
    by_record: dict[int, list[ReversalLine]] = defaultdict(list)
    lines = reversal.lines.filter(posting__record_id__in=record_ids).select_related("posting").order_by("phase", "id")
    for line in lines:
        by_record[line.posting.record_id].append(line)
    whole = []
    for record_id, some in by_record.items():
        if any(line.state in OPEN for line in some):
            continue
        if all(line.state == State.DONE for line in some):
            whole.append(record_id)
        else:
            _settle_partly(reversal, record_id, some)
    _outcomes(reversal, whole).update(
        state=RecordOutcome.State.HELD,
        reason_code=WHOLLY,
        reason=_words(reversal),
        owner=RecordOutcome.Owner.BOOKKEEPER,
        next_step="Post it again, or leave it out of the books.",
        updated_at=now(),
    )


def _settle_partly(reversal: Reversal, record_id: int, lines: Sequence[ReversalLine]) -> None:
    has_gone = any(line.state == State.DONE for line in lines)
    stays = [line for line in lines if line.state != State.DONE]
    reasons = " ".join(dict.fromkeys(line.reason for line in stays))
    _outcomes(reversal, [record_id]).update(
        state=RecordOutcome.State.HELD,
        reason_code=IN_PART if has_gone else LEFT,
        reason=f"{_words(reversal)} Not all of it could be: {reasons}" if has_gone else f"It stays. {reasons}",
        owner=RecordOutcome.Owner.BOOKKEEPER,
        next_step=stays[0].next_step,
        updated_at=now(),
    )


def _outcomes(reversal: Reversal, record_ids: Collection[int]) -> Any:
    return RecordOutcome.objects.filter(flow_id=reversal.flow_id, record_id__in=record_ids, reason_code=UNDER_WAY)


def _words(reversal: Reversal) -> str:
    return f"Taken back by {reversal.confirmed_by} on {day_text(now().date())}: {reversal.reason.rstrip('.')}."


def finish_reversal(reversal: Reversal, owner: Tenant, reading: Reading) -> None:
    """Close a reversal nothing of which is under way any more, with the ledger's own report where there is one."""
    reversal.state, reversal.finished_at = Reversal.State.DONE, now()
    lines = reversal.lines.values_list("posting__currency", "movements", "state")
    reversal.effect = effect_of((currency, moved, state == State.DONE) for currency, moved, state in lines)
    if "before" in reversal.trial_balance:
        expected = _expected(reversal, owner)
        reversal.trial_balance = with_after(reversal.trial_balance, reading, expected)
    reversal.save(update_fields=["state", "finished_at", "effect", "trial_balance"])
    counts = _counts(reversal)
    summary = f"Took back {counts.get(State.DONE, 0)} entries, {counts.get(State.HELD, 0)} stay: {reversal.covers}"
    _record(None, "done", reversal, summary, counts)


def _expected(reversal: Reversal, owner: Tenant) -> Expected | None:
    """What the entries taken back booked, by the ledger's account, the other way round."""
    ledger = ledger_of(reversal.flow, owner)
    gone = reversal.lines.filter(state=State.DONE)
    booked = gone.values_list("posting__currency", "movements", "base_movements").iterator()
    return expected_of(booked, ledger, reversal.trial_balance["currency"] or ledger.base_currency)


def _counts(reversal: Reversal) -> dict[str, int]:
    rows = reversal.lines.values("state").annotate(count=Count("id")).values_list("state", "count")
    return dict(rows)


def _record(user: User | None, what: str, reversal: Reversal, summary: str, details: Mapping[str, Any]) -> None:
    found = {"flow": reversal.flow.name, "selection": reversal.selection, **details}
    record_act(user=user, action=f"reversal.{what}", subject=reversal, summary=summary, details=found)
