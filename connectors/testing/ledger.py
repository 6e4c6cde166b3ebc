"""The append-only record of every document that came to be, changed or went: the arbiter."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, Literal

from connectors.sdk.records import Document, Party, Record
from connectors.testing.store import Store

Author = Literal["connector", "staff", "provider"]
Action = Literal["create", "update", "void", "delete"]
AUTHORS: tuple[str, ...] = ("connector", "staff", "provider")


class Ledger:
    """Lines are only ever added."""

    def __init__(self, store: Store) -> None:
        self._lines = store["_ledger"]
        self._store = store

    def append(self, *, at: dt.datetime, organisation: str, by: Author, action: Action, record: Record) -> None:
        seq = self._store.next_id("_ledger")
        line = {
            "seq": seq,
            "at": at.isoformat(),
            "organisation": organisation,
            "by": by,
            "action": action,
            **summary(record),
        }
        self._lines.put(str(seq), line)

    def after(self, seq: int) -> list[dict[str, Any]]:
        return [line for line in self._lines.values() if line["seq"] > seq]


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
