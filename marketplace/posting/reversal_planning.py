"""The plan of a reversal: every entry read from the ledger as it stands now and judged. Nothing is sent.

A payment and the document it settles are judged together: either both can go, or both stay. What lies in a closed period is
not touched; where it can be, an entry against it is planned for the first open day.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.db.models import Q, QuerySet

from connectors.registry import connector
from connectors.sdk.client import Client
from connectors.sdk.errors import ConnectorError
from connectors.sdk.records import Company, Party, Record, decode, encode
from connectors.sdk.streams import SourceRecord, Standing, WritableStream
from marketplace.core.clock import now
from marketplace.core.formatting import day_text
from marketplace.core.progress import tell_progress
from marketplace.core.work import check_lease, holding_lease
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.mapping.journal import OutOfBalance, journal_of, receivable_name
from marketplace.mapping.plan import Ledger, PlannedDocument
from marketplace.mapping.queries import ledger_of
from marketplace.posting.batches import UnableToPost
from marketplace.posting.models import Posting, RecordOutcome, Reversal, ReversalLine
from marketplace.posting.planning import FLYING
from marketplace.posting.trial_balances import (
    Reading,
    day_of_report,
    in_base,
    payment_in_base,
    read_report,
    with_before,
)
from tenants.context import tenant

#: What settles something goes before what it settles.
PHASES = ("customer_payment", "bank_transfer", "expense", "credit_note", "invoice", "customer")
READ_AT_ONCE = 200
OPEN = (ReversalLine.State.DUE, ReversalLine.State.SENDING, ReversalLine.State.UNCERTAIN)
ACTIVE = (ReversalLine.Action.VOID, ReversalLine.Action.ENTRY)
RETRY_IN = dt.timedelta(minutes=1)

Action = ReversalLine.Action
Owner = RecordOutcome.Owner
Entries = Mapping[tuple[str, str], SourceRecord]


@dataclass(frozen=True)
class Judgement:
    """What becomes of one entry, and why."""

    action: str
    code: str = ""
    reason: str = ""
    owner: str = ""
    next_step: str = ""
    fingerprint: str = ""
    movements: Mapping[str, Decimal] = field(default_factory=dict)
    settled_by: frozenset[str] = frozenset()
    entry_date: dt.date | None = None
    exchange_rate: Decimal | None = None
    base_movements: Mapping[str, Decimal] = field(default_factory=dict)

    def kept(self, code: str, reason: str, next_step: str, owner: str = Owner.BOOKKEEPER) -> Judgement:
        return replace(
            self, action=Action.KEEP, code=code, reason=reason, next_step=next_step, owner=owner, entry_date=None
        )

    @property
    def is_active(self) -> bool:
        return self.action in ACTIVE


# --- which entries ----------------------------------------------------------------------------------------------------


def selected(flow_id: uuid.UUID, selection: Mapping[str, Any], zone: ZoneInfo) -> QuerySet[Posting]:
    """Everything the ledger has, or may have, of the records a selection is about: `posting` (one entry), `batch` (one request),
    `rest` (what an earlier reversal left),
    or a period, `by` the day it was "written" or the day it is "dated"."""
    ours = Posting.objects.filter(flow_id=flow_id, reverses=None)
    chosen = ours.filter(state=Posting.State.POSTED)
    if "posting" in selection:
        chosen = chosen.filter(pk=selection["posting"])
    elif "batch" in selection:
        chosen = chosen.filter(batch_id=selection["batch"])
    elif "rest" in selection:
        left = ReversalLine.objects.filter(reversal=selection["rest"], state=ReversalLine.State.HELD)
        chosen = chosen.filter(pk__in=left.values("posting"))
    else:
        first, last = (dt.date.fromisoformat(selection[name]) for name in ("first", "last"))
        chosen = chosen.filter(_within(selection["by"], first, last, zone))
    in_ledger = (Posting.State.POSTED, Posting.State.LINKED, *FLYING)
    return ours.filter(record_id__in=chosen.values("record_id"), state__in=in_ledger)


def _within(by: str, first: dt.date, last: dt.date, zone: ZoneInfo) -> Q:
    if by == "dated":
        return Q(occurred_on__gte=first, occurred_on__lte=last)
    begins, ends = (dt.datetime.combine(day, dt.time(), zone) for day in (first, last + dt.timedelta(days=1)))
    return Q(posted_at__gte=begins, posted_at__lt=ends)


# --- reading the ledger -----------------------------------------------------------------------------------------------


def read_entries(
    client: Client, slug: str, wanted: Iterable[tuple[str, str]], tell: Callable[[int], None] = lambda done: None
) -> Entries:
    """These entries (data type, id) as the ledger has them now; what it does not have is absent. `tell` hears how many were read."""
    by_type: dict[str, list[str]] = defaultdict(list)
    for data_type, external_id in wanted:
        by_type[data_type].append(external_id)
    found: dict[tuple[str, str], SourceRecord] = {}
    done = 0
    for data_type, ids in by_type.items():
        stream = connector(slug).stream(data_type)
        for start in range(0, len(ids), READ_AT_ONCE):
            check_lease()
            page = stream.fetch(client, ids[start : start + READ_AT_ONCE])
            found |= {(data_type, record.external_id): record for record in page.records}
            done += len(ids[start : start + READ_AT_ONCE])
            tell(done)
    return found


def is_gone(stream: WritableStream, found: SourceRecord | None) -> bool:
    """Void, or deleted. Where the ledger keeps deleted entries in its lists, one that is absent proves nothing."""
    if found is None:
        return stream.deletes != "flag"
    return stream.standing(found).is_void


def fingerprint_of(record: Record) -> str:
    """What an entry says: other than its status, which changes when what settles it is taken away."""
    plain: dict[str, Any] = {"status": "open", "updated_at": None, "custom": {}, "memo": ""}
    party = next((name for name in ("customer", "supplier") if hasattr(record, name)), "")
    same = {name: value for name, value in plain.items() if hasattr(record, name)}
    if party:
        same[party] = Party(id=getattr(record, party).id)
    return hashlib.blake2b(encode(msgspec.structs.replace(record, **same)), digest_size=16).hexdigest()


# --- judging ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assessor:
    """Judges entries against the ledger as it was read."""

    ledger_name: str
    slug: str
    ledger: Ledger
    entries: Entries
    closed_until: dt.date | None
    taken: frozenset[int]  # postings another reversal is taking back

    def judge(self, postings: Sequence[Posting]) -> dict[int, Judgement]:
        """All entries of one record."""
        judged = {posting.pk: self._alone(posting) for posting in postings}
        payments = [posting for posting in postings if posting.data_type == "customer_payment"]
        for document in (posting for posting in postings if posting.data_type in _DOCUMENTS):
            own = [payment for payment in payments if payment.depends_on_id == document.pk]
            self._together(document, own, judged)
        for payment in payments:
            if payment.depends_on_id not in judged:
                judged[payment.pk] = self._by_itself(payment, judged[payment.pk])
        return judged

    def _alone(self, posting: Posting) -> Judgement:
        unjudged = Judgement(Action.VOID)
        by_hand = f"Void it in {self.ledger_name} if it must go."
        if posting.pk in self.taken:
            return unjudged.kept("in_another_plan", "Another reversal is taking it back.", "Wait for it to end.", "")
        if posting.state in FLYING:
            return unjudged.kept("being_sent", "It is being sent at this moment.", "Plan again in a minute.", "")
        if posting.data_type == "customer":
            reason = "A contact books nothing, and other documents may name it."
            return unjudged.kept("contact", reason, f"Archive it in {self.ledger_name} if nobody needs it.")
        found = self.entries.get((posting.data_type, posting.external_id))
        if posting.state == Posting.State.LINKED:
            reason = "Staff entered it; it was linked when the flow went live."
            return replace(unjudged, movements=self._books(found)).kept("staffs_own", reason, by_hand)
        if is_gone(self._stream(posting), found):
            return replace(
                unjudged, action=Action.NOTHING, reason=f"It is void or deleted in {self.ledger_name} already."
            )
        if found is None:
            reason = f"{self.ledger_name} does not show it."
            return unjudged.kept("missing_reference", reason, f"Look for it in {self.ledger_name}.")
        return self._as_it_stands(posting, found, by_hand)

    def _as_it_stands(self, posting: Posting, found: SourceRecord, by_hand: str) -> Judgement:
        standing = self._stream(posting).standing(found)
        movements = self._books(found)
        judged = Judgement(
            Action.VOID,
            fingerprint=fingerprint_of(found.record),
            movements=movements,
            settled_by=standing.settled_by,
            exchange_rate=self._rate(posting),
            base_movements=self._in_base(posting, movements),
        )
        if changes := self._changes(posting, found):
            return judged.kept("changed_in_ledger", f"It was changed in {self.ledger_name} since: {changes}.", by_hand)
        if standing.is_reconciled:
            step = f"Undo the reconciliation in {self.ledger_name}, then plan again."
            return judged.kept("reconciled", "It is reconciled with the bank.", step)
        date = getattr(found.record, "date", None)
        if self.closed_until is None or date is None or date > self.closed_until:
            return judged
        first_open = self.closed_until + dt.timedelta(days=1)
        reason = f"Its period is closed, so an entry against it is made on {day_text(first_open)}."
        return replace(judged, action=Action.ENTRY, code="closed_period", reason=reason, entry_date=first_open)

    def _by_itself(self, payment: Posting, judged: Judgement) -> Judgement:
        """A payment in a closed period whose document stays, or is undone without it."""
        if judged.action != Action.ENTRY or judged.entry_date is None:
            return judged
        if not _account_of_settled(payment):
            reason = (
                f"It is dated {day_text(payment.occurred_on)}, in a closed period, and we did not write what it pays, so we do not "
                "know which ledger account an entry against it would go over."
            )
            step = f"Enter a journal in {self.ledger_name}, or move the closing date back and plan again."
            return judged.kept("closed_period", reason, step)
        if self._settles_at_another_rate(payment):
            return self._with_exchange_difference(judged)
        back, owed = ("credit note", "invoice") if _pays_an_invoice(payment) else ("invoice", "credit note")
        reason = (
            f"Its period is closed, so on {day_text(judged.entry_date)} the money goes back with a paid {back}, "
            f"and an open {owed} takes its place."
        )
        return replace(judged, reason=reason)

    def _with_exchange_difference(self, judged: Judgement) -> Judgement:
        reason = (
            "Its period is closed, and what it pays was booked at another exchange rate: no entry we can make takes the exchange "
            "gain or loss back."
        )
        step = f"Enter a journal in {self.ledger_name}, or move the closing date back and plan again."
        return judged.kept("exchange_difference", reason, step)

    def _together(self, document: Posting, payments: Sequence[Posting], judged: dict[int, Judgement]) -> None:
        """A document goes with all that settles it, or not at all."""
        own = {payment.external_id for payment in payments}
        if judged[document.pk].is_active and judged[document.pk].settled_by - own:
            step = f"Remove that in {self.ledger_name}, then plan again."
            reason = "Something that is not in this plan pays it or uses it up."
            judged[document.pk] = judged[document.pk].kept("settled_by_others", reason, step)
        whole = [document, *payments]
        if judged[document.pk].action == Action.NOTHING or document.state == Posting.State.LINKED:
            for payment in payments:
                judged[payment.pk] = self._by_itself(payment, judged[payment.pk])
        elif kept := next((one for one in whole if _is_kept(judged, one)), None):
            self._keep_together(whole, judged, judged[kept.pk])
        elif any(judged[one.pk].action == Action.ENTRY for one in whole):
            self._enter_against(document, payments, judged)

    def _keep_together(self, whole: Sequence[Posting], judged: dict[int, Judgement], why: Judgement) -> None:
        for one in whole:
            if judged[one.pk].is_active:
                reason = f"What belongs with it stays: {why.reason[:1].lower()}{why.reason[1:]}"
                judged[one.pk] = judged[one.pk].kept("stays_together", reason, why.next_step, why.owner)

    def _enter_against(self, document: Posting, payments: Sequence[Posting], judged: dict[int, Judgement]) -> None:
        """Entries against a document and those of its payments that cannot be taken back."""
        left = [payment for payment in payments if judged[payment.pk].action == Action.ENTRY]
        is_one_entry = settles_on_document(self.slug) and left
        if is_one_entry and (odd := next(filter(self._settles_at_another_rate, left), None)):
            judged[odd.pk] = self._with_exchange_difference(judged[odd.pk])
            self._keep_together([document, *payments], judged, judged[odd.pk])
            return
        if settles_on_document(self.slug) and not is_paid_by(document, left):
            judged |= {payment.pk: self._by_itself(payment, judged[payment.pk]) for payment in left}
        entered = next(judged[one.pk] for one in (document, *left) if judged[one.pk].action == Action.ENTRY)
        judged[document.pk] = replace(
            judged[document.pk],
            action=Action.ENTRY,
            code="closed_period",
            reason=entered.reason,
            entry_date=entered.entry_date,
        )

    def _rate(self, posting: Posting) -> Decimal | None:
        """At which the ledger booked an entry in a foreign currency."""
        standing = self._foreign(posting)
        return standing.exchange_rate if standing is not None else None

    def _foreign(self, posting: Posting) -> Standing | None:
        """How an entry in a foreign currency stands; None for others, and for what was not read."""
        found = self.entries.get((posting.data_type, posting.external_id))
        is_foreign = posting.currency not in ("", self.ledger.base_currency)
        return self._stream(posting).standing(found) if found is not None and is_foreign else None

    def _in_base(self, posting: Posting, movements: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
        """What an entry in a foreign currency books in the base currency; empty where that cannot be told."""
        booked = self._foreign(posting)
        if booked is None or booked.base_rate is None:
            return {}
        if posting.data_type != "customer_payment":
            return in_base(movements, booked.base_rate)
        settled = self._foreign(posting.depends_on) if posting.depends_on is not None else None
        if settled is None or settled.base_rate is None:
            return {}
        return payment_in_base(movements, booked.base_rate, settled.base_rate, receivable=receivable_name(self.ledger))

    def _settles_at_another_rate(self, payment: Posting) -> bool:
        """What is gone, or undone already, no longer has a rate."""
        settled = self._rate(payment.depends_on) if payment.depends_on is not None else None
        return settled is not None and settled != self._rate(payment)

    def _stream(self, posting: Posting) -> WritableStream:
        return connector(self.slug).writable(posting.data_type)

    def _books(self, found: SourceRecord | None) -> Mapping[str, Decimal]:
        return books_of(found.record, self.ledger) if found is not None else {}

    def _changes(self, posting: Posting, found: SourceRecord) -> str:
        """What staff changed, in words; empty when the entry says what we wrote."""
        stream = self._stream(posting)
        if stream.edition(found.version) == stream.edition(posting.external_version):
            return ""
        sent = decode(posting.data_type, msgspec.json.encode(posting.document))
        facts = (
            ("the date", getattr(sent, "date", None), getattr(found.record, "date", None)),
            ("the currency", posting.currency, getattr(found.record, "currency", "")),
            ("the amount", posting.amount, getattr(found.record, "total", getattr(found.record, "amount", None))),
        )
        changed = [name for name, ours, theirs in facts if ours != theirs]
        if not changed and getattr(found.record, "status", "") != "draft":
            ours, theirs = books_of(sent, self.ledger), books_of(found.record, self.ledger)
            changed = ["its ledger accounts"] if ours and theirs and ours != theirs else []
        return ", ".join(changed)


_DOCUMENTS = ("invoice", "credit_note")


def _is_kept(judged: Mapping[int, Judgement], posting: Posting) -> bool:
    return judged[posting.pk].action == Action.KEEP


def settles_on_document(slug: str) -> bool:
    """Whether a ledger pays a credit note back on the credit note itself."""
    return connector(slug).writable("credit_note").settles_on_document


def _account_of_settled(payment: Posting) -> str:
    """The ledger account of the first line of what a payment pays; empty when we did not write that."""
    settled = payment.depends_on
    lines = settled.document.get("lines", []) if settled is not None else []
    return str(lines[0].get("ledger_account", "")) if lines else ""


def _pays_an_invoice(payment: Posting) -> bool:
    return bool(payment.document.get("settles", "invoice") == "invoice")


def is_paid_by(document: Posting, payments: Sequence[Posting]) -> bool:
    """Whether these payments are the whole document, into one account."""
    accounts = {payment.ledger_account for payment in payments}
    return len(accounts) == 1 and sum(payment.amount for payment in payments) == document.amount


def books_of(document: Record, ledger: Ledger) -> dict[str, Decimal]:
    """What a document books on each ledger account, by the account's name: debits positive. Drafts book nothing."""
    if getattr(document, "status", "") in ("draft", "void"):
        return {}
    try:
        journal = journal_of([PlannedDocument(purpose="", document=document)], ledger)
    except OutOfBalance:
        return {}
    return {line.name: line.debit - line.credit for line in journal.lines} if journal else {}


# --- the plan ---------------------------------------------------------------------------------------------------------


def make_plan(*, tenant_id: uuid.UUID, reversal_id: uuid.UUID) -> None:
    """Read the ledger and write down what a reversal would do. Raises `UnableToPost` while the ledger cannot be read."""
    with tenant(tenant_id) as owner:
        reversal = Reversal.objects.select_related("flow", "connection").filter(pk=reversal_id).first()
        if reversal is None or reversal.state != Reversal.State.PLANNING:
            return
        postings = list(
            selected(reversal.flow_id, reversal.selection, ZoneInfo(owner.time_zone))
            .select_related("depends_on")
            .order_by("id")
        )
        ledger = ledger_of(reversal.flow, owner)
    connection = reversal.connection
    if connection.state != Connection.State.CONNECTED:
        raise _unreadable(tenant_id, reversal, "The connection needs reconnecting.")
    try:
        client = client_for(tenant_id, connection)
        wanted = _wanted(postings)
        company = _company(client, connection.connector) if wanted else None
        tell = partial(_tell, tenant_id, reversal_id, len(wanted))
        tell(0)
        entries = read_entries(client, connection.connector, wanted, tell)
    except ConnectorError as error:
        raise _unreadable(tenant_id, reversal, error.user_message) from error
    closed_until = company.books_closed_until if company else None
    today = now().astimezone(ZoneInfo(owner.time_zone)).date()
    as_of = day_of_report(today, (posting.occurred_on for posting in postings), closed_until)
    reading = read_report(client, as_of) if wanted else Reading()
    with holding_lease(tenant_id):
        reversal.trial_balance = with_before({}, reading, as_of)
        assessor = Assessor(
            ledger_name=connector(connection.connector).manifest.name,
            slug=connection.connector,
            ledger=ledger,
            entries=entries,
            closed_until=closed_until,
            taken=_taken(reversal, postings),
        )
        _write_plan(reversal, assessor, postings)


def _tell(tenant_id: uuid.UUID, reversal_id: uuid.UUID, total: int, done: int) -> None:
    tell_progress(tenant_id=tenant_id, kind="reverse", key=str(reversal_id), done=done, total=total)


def _unreadable(tenant_id: uuid.UUID, reversal: Reversal, problem: str) -> UnableToPost:
    with holding_lease(tenant_id):
        Reversal.objects.filter(pk=reversal.pk).update(problem=problem)
    return UnableToPost(problem, RETRY_IN)


def _company(client: Client, slug: str) -> Company | None:
    for page in connector(slug).stream("company").pages(client, None):
        for found in page.records:
            if isinstance(found.record, Company):
                return found.record
    return None


def _wanted(postings: Iterable[Posting]) -> list[tuple[str, str]]:
    return [
        (posting.data_type, posting.external_id)
        for posting in postings
        if posting.external_id and posting.data_type != "customer" and posting.state not in FLYING
    ]


def _taken(reversal: Reversal, postings: Sequence[Posting]) -> frozenset[int]:
    lines = ReversalLine.objects.filter(posting__in=[posting.pk for posting in postings], state__in=OPEN)
    return frozenset(lines.exclude(reversal=reversal).values_list("posting_id", flat=True))


def _write_plan(reversal: Reversal, assessor: Assessor, postings: Sequence[Posting]) -> None:
    by_record: dict[int, list[Posting]] = defaultdict(list)
    for posting in postings:
        by_record[posting.record_id].append(posting)
    judged: dict[int, Judgement] = {}
    for some in by_record.values():
        judged |= assessor.judge(some)
    lines = [_line(reversal, posting, judged[posting.pk]) for posting in postings]
    current = Reversal.objects.select_for_update().get(pk=reversal.pk)
    if current.state != Reversal.State.PLANNING:
        return
    current.lines.all().delete()
    ReversalLine.objects.bulk_create(lines, batch_size=1000)
    current.effect = effect_of((line.posting.currency, line.movements, line.action in ACTIVE) for line in lines)
    current.trial_balance = reversal.trial_balance
    current.closed_until = assessor.closed_until
    current.state, current.planned_at, current.problem = Reversal.State.PLANNED, now(), ""
    current.save()


def _line(reversal: Reversal, posting: Posting, judged: Judgement) -> ReversalLine:
    return ReversalLine(
        reversal=reversal,
        posting=posting,
        phase=PHASES.index(posting.data_type),
        action=judged.action,
        fingerprint=judged.fingerprint,
        code=judged.code,
        reason=judged.reason,
        owner=judged.owner,
        next_step=judged.next_step,
        entry_date=judged.entry_date,
        exchange_rate=judged.exchange_rate,
        movements={account: str(amount) for account, amount in judged.movements.items()},
        base_movements={account: str(amount) for account, amount in judged.base_movements.items()},
    )


def effect_of(entries: Iterable[tuple[str, Mapping[str, str], bool]]) -> list[dict[str, str]]:
    """What entries (their currency, what they book, whether that goes) book on each account, what is taken off, what is left."""
    sums: dict[tuple[str, str], list[Decimal]] = {}
    for currency, movements, goes in entries:
        for account, amount in movements.items():
            row = sums.setdefault((currency, account), [Decimal(0), Decimal(0)])
            row[0] += Decimal(amount)
            row[1] -= Decimal(amount) if goes else 0
    return [
        {"currency": currency, "account": account, "before": str(before), "reversal": str(change), "after": str(before + change)}
        for (currency, account), (before, change) in sorted(sums.items())
        if before or change
    ]  # fmt: skip
