"""The append-only record of every document that came to be, changed or went: the arbiter."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Literal

from connectors.sdk.records import (
    BankTransfer,
    CustomerPayment,
    Document,
    Expense,
    Invoice,
    Party,
    Record,
)
from connectors.testing.store import Store

Author = Literal["connector", "staff", "provider"]
Action = Literal["create", "update", "void", "delete"]
ZERO = Decimal(0)
#: The accounts a document books on without naming them.
RECEIVABLE, TAX, EXCHANGE = "accounts receivable", "sales tax", "exchange gain or loss"
#: A document that an entry settles: its data type, its id, and how much of it.
Settlement = tuple[str, str, Decimal]
InBase = Callable[[str, Decimal, Decimal | None], Decimal]
AUTHORS: tuple[str, ...] = ("connector", "staff", "provider")


class Ledger:
    """Lines are only ever added."""

    def __init__(self, store: Store) -> None:
        self._lines = store["_ledger"]
        self._store = store

    def append(
        self,
        *,
        at: dt.datetime,
        organisation: str,
        by: Author,
        action: Action,
        record: Record,
        settles: Iterable[Settlement] = (),
        tax: Decimal = ZERO,
    ) -> None:
        seq = self._store.next_id("_ledger")
        line = {
            "seq": seq,
            "at": at.isoformat(),
            "organisation": organisation,
            "by": by,
            "action": action,
            **summary(record),
            "movements": {account: str(amount) for account, amount in movements(record, tax).items()},
            "rate": str(getattr(record, "exchange_rate", None) or ""),
            "settles": [[data_type, id, str(amount)] for data_type, id, amount in settles],
        }
        self._lines.put(str(seq), line)

    def after(self, seq: int) -> list[dict[str, Any]]:
        return [line for line in self._lines.values() if line["seq"] > seq]

    def standing(self, organisation: str) -> list[dict[str, Any]]:
        """The last line of every document that is neither void nor deleted."""
        last: dict[tuple[str, str], dict[str, Any]] = {}
        for line in self._lines.values():
            if line["organisation"] == organisation:
                last[line["data_type"], line["id"]] = line
        return [line for line in last.values() if line["action"] not in ("void", "delete")]

    def moved(
        self, organisation: str, *, until: dt.date, in_base: InBase, since: dt.date = dt.date.min
    ) -> dict[str, Decimal]:
        """What the documents of some days book on each account, in the base currency: `in_base` converts from a currency, at the
        rate a document names. What a payment takes off the receivables is what stood there, so the difference to what came in at
        its own rate is a gain or loss."""
        standing = self.standing(organisation)
        cleared = _cleared(standing, in_base)
        sums: dict[str, Decimal] = {}
        for line in standing:
            if not line["movements"] or not since <= dt.date.fromisoformat(line["date"]) <= until:
                continue
            for name, amount in _booked(line, in_base, cleared.get(line["seq"])).items():
                sums[name] = sums.get(name, ZERO) + amount
        return sums

    def trial_balance(self, organisation: str) -> dict[str, dict[str, Decimal]]:
        """What stands on each account, by currency: debits positive, credits negative. Accounts that came to nothing are left out."""
        balances: dict[str, dict[str, Decimal]] = {}
        for line in self.standing(organisation):
            balance = balances.setdefault(line["currency"], {})
            for account, amount in line["movements"].items():
                balance[account] = balance.get(account, ZERO) + Decimal(amount)
        return {
            currency: {account: amount for account, amount in sorted(balance.items()) if amount}
            for currency, balance in balances.items()
            if any(balance.values())
        }


def _booked(line: dict[str, Any], in_base: InBase, cleared: Decimal | None) -> dict[str, Decimal]:
    """A document in the base currency. What rounding leaves of it goes with its last account."""
    moved, rate = {name: Decimal(text) for name, text in line["movements"].items()}, _rate(line)
    booked = {name: in_base(line["currency"], amount, rate) for name, amount in moved.items()}
    if cleared is not None:
        booked[RECEIVABLE] = cleared.copy_sign(moved[RECEIVABLE])
        booked[EXCHANGE] = -sum(booked.values(), ZERO)
    else:
        booked[list(booked)[-1]] -= sum(booked.values(), ZERO)
    return booked


def _cleared(standing: Iterable[dict[str, Any]], in_base: InBase) -> dict[int, Decimal]:
    """What each payment takes off the receivables, in the base currency: of each document, in turn, so that nothing is left of what
    is paid in full. What settles nothing that still stands counts at the payment's own rate."""
    lines = sorted(standing, key=lambda line: line["seq"])
    documents = {(line["data_type"], line["id"]): line for line in lines if line["movements"]}
    settled: dict[tuple[str, str], Decimal] = {}
    cleared: dict[int, Decimal] = {}
    for line in lines:
        if not line.get("settles") or RECEIVABLE not in line["movements"]:
            continue
        rest, base = abs(Decimal(line["movements"][RECEIVABLE])), ZERO
        for data_type, id, text in line["settles"]:
            document = documents.get((data_type, id))
            if document is None:
                continue
            before, amount = settled.get((data_type, id), ZERO), Decimal(text)
            settled[data_type, id] = before + amount
            rest -= amount
            base += in_base(line["currency"], before + amount, _rate(document))
            base -= in_base(line["currency"], before, _rate(document))
        cleared[line["seq"]] = base + in_base(line["currency"], rest, _rate(line))
    return cleared


def _rate(line: dict[str, Any]) -> Decimal | None:
    return Decimal(line["rate"]) if line.get("rate") else None


def movements(record: Record, tax: Decimal = ZERO) -> dict[str, Decimal]:
    """What a document books, in its own currency. What is a draft or void books nothing, and neither does a contact."""
    if getattr(record, "status", "") in ("draft", "void"):
        return {}
    moved: dict[str, Decimal] = {}
    for account, amount in _bookings(record, tax):
        moved[account] = moved.get(account, ZERO) + amount
    return {account: amount for account, amount in moved.items() if amount}


def _bookings(record: Record, tax: Decimal) -> list[tuple[str, Decimal]]:
    match record:
        case Document():
            sign = Decimal(-1) if isinstance(record, Invoice) else Decimal(1)
            is_inclusive = record.tax_mode == "inclusive"
            nets = [(one.ledger_account, one.amount - one.tax_amount * is_inclusive) for one in record.lines]
            tax = record.total - sum((net for _, net in nets), ZERO)
            against = getattr(record, "refund_ledger_account", "") or RECEIVABLE
            return [
                (against, -sign * record.total),
                (TAX, sign * tax),
                *((account, sign * net) for account, net in nets),
            ]
        case CustomerPayment():
            sign = Decimal(1) if record.settles == "invoice" else Decimal(-1)
            return [(record.ledger_account, sign * record.amount), (RECEIVABLE, -sign * record.amount)]
        case BankTransfer():
            return [(record.to_ledger_account, record.amount), (record.from_ledger_account, -record.amount)]
        case Expense():
            return [
                (record.paid_from_ledger_account, -record.amount),
                (TAX, tax),
                (record.ledger_account, record.amount - tax),
            ]
    return []


def summary(record: Record) -> dict[str, Any]:
    """What a line says of any standard record: amounts as strings, ISO days, absent things empty."""
    amount = _first(record, "total", "amount", "net")
    day = _first(record, "date", "placed_at", "refunded_at", "paid_date", "occurred_at", "closed_at")
    party = _first(record, "customer", "supplier")
    return {
        "data_type": record.data_type,
        "id": record.id,
        "number": _first(record, "number", "code"),
        "reference": _first(record, "reference"),
        "amount": str(amount) if isinstance(amount, Decimal) else "",
        "currency": _first(record, "currency"),
        "date": _day(day),
        "party": party.name if isinstance(party, Party) else _first(record, "name"),
        "ledger_accounts": ledger_accounts(record),
    }


def ledger_accounts(record: Record) -> list[str]:
    """Every ledger account a record touches, in the order of its fields."""
    lines = record.lines if isinstance(record, Document) else ()
    named = [line.ledger_account for line in lines]
    fields = ("ledger_account", "paid_from_ledger_account", "from_ledger_account", "to_ledger_account")
    named += [getattr(record, field, "") for field in (*fields, "refund_ledger_account")]
    return list(dict.fromkeys(account for account in named if account))


def _first(record: Record, *names: str) -> Any:
    for name in names:
        value = getattr(record, name, None)
        if value is not None and value != "":
            return value
    return ""


def _day(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, dt.date) else ""
