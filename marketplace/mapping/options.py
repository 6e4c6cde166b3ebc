"""What a mapping's form may offer: the target's lists as last read, and what the source's latest records hold."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from django.db import connection as database

from connectors.sdk.records import Deal, LedgerAccount, Order, Record, Refund, TaxRate, decode
from marketplace.installations.models import Connection
from marketplace.mapping.lists import standard_records
from marketplace.mapping.models import Flow
from marketplace.mapping.templates import TargetField, template
from marketplace.mapping.templates.common import tax_label

LOOKED_AT = 500  # how many of the source's latest records tell which options occur


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """A record of the source as last read."""

    id: int
    external_id: str
    occurred_on: dt.date | None
    is_deleted: bool
    record: Record


@dataclass(frozen=True, kw_only=True)
class Options:
    """Lists of the target, and the source's payment methods and taxes, most frequent first; a tax with its rate."""

    ledger_accounts: tuple[LedgerAccount, ...] = ()
    tax_rates: tuple[TaxRate, ...] = ()
    methods: tuple[str, ...] = ()
    taxes: Mapping[str, Decimal] = field(default_factory=dict)

    def seen(self, target: TargetField) -> tuple[str, ...]:
        """The options of the source that a value map has to answer."""
        return tuple(self.taxes) if target.map_over == "tax" else self.methods

    def choices(self, target: TargetField) -> list[tuple[str, str]]:
        """What the target offers for a field, as (code, words), in the order of the words. Every field is one of a sale."""
        if target.choices == "tax_rate":
            offered = [(rate.code, rate.name) for rate in self.tax_rates if rate.is_for_sales and not rate.is_archived]
        else:
            offered = [(account.code, account_name(account)) for account in self.accounts(target)]
        return sorted(offered, key=lambda choice: choice[1].casefold())

    def accounts(self, target: TargetField) -> list[LedgerAccount]:
        return [
            account
            for account in self.ledger_accounts
            if account.code and not account.is_archived and (not target.kinds or account.kind in target.kinds)
        ]

    def name_of(self, target: TargetField, code: str) -> str:
        """A code in words, also when it is no longer offered."""
        lists: Iterable[LedgerAccount | TaxRate] = (
            self.tax_rates if target.choices == "tax_rate" else self.ledger_accounts
        )
        for found in lists:
            if found.code == code:
                return account_name(found) if isinstance(found, LedgerAccount) else found.name
        return code


def account_name(account: LedgerAccount) -> str:
    """Code and name; a ledger whose codes are internal ids says the name only."""
    is_known_by_code = account.code.isdecimal() and len(account.code) <= 6 and not account.name.startswith(account.code)
    return f"{account.code} {account.name}" if is_known_by_code and account.code != account.id else account.name


def account_names(connection: Connection) -> dict[str, str]:
    """Every account of a ledger by its code."""
    return {account.code: account_name(account) for account in standard_records(connection, LedgerAccount)}


def options_of(flow: Flow) -> Options:
    rows = latest_records(flow.source, template(flow.template).source_type, LOOKED_AT)
    methods, taxes = _seen(row.record for row in rows)
    return Options(
        ledger_accounts=tuple(standard_records(flow.target, LedgerAccount)),
        tax_rates=tuple(standard_records(flow.target, TaxRate)),
        methods=methods,
        taxes=taxes,
    )


def _seen(records: Iterable[Record]) -> tuple[tuple[str, ...], dict[str, Decimal]]:
    methods: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    rates: dict[str, Decimal] = {}
    for record in records:
        if isinstance(record, Order | Refund):
            methods.update(payment.method for payment in record.payments)
        if isinstance(record, Order | Refund | Deal):
            for line in record.lines:
                label = tax_label(line.taxes)
                labels[label] += 1
                rates[label] = sum((tax.rate for tax in line.taxes if tax.amount or tax.rate), Decimal(0))
    return tuple(name for name, _ in methods.most_common()), {name: rates[name] for name, _ in labels.most_common()}


def latest_records(connection: Connection, data_type: str, count: int) -> list[SourceRow]:
    """The newest records of one data type, newest first."""
    with database.cursor() as cursor:
        cursor.execute(_LATEST, [connection.pk, data_type, count])
        return [
            SourceRow(
                id=row[0], external_id=row[1], occurred_on=row[2], is_deleted=row[3], record=decode(data_type, row[4])
            )
            for row in cursor.fetchall()
        ]


def lists_read_at(connection: Connection) -> dt.datetime | None:
    """When the target's ledger accounts were last read completely."""
    with database.cursor() as cursor:
        cursor.execute(_READ_AT, [connection.pk])
        row = cursor.fetchone()
    return row[0] if row else None


# Records and stream states belong to a slice above this one and are read by their tables' names.
_LATEST = """
    SELECT id, external_id, occurred_on, is_deleted, body::text FROM sync_record
    WHERE connection_id = %s AND data_type = %s ORDER BY occurred_on DESC NULLS LAST, id DESC LIMIT %s
"""
_READ_AT = "SELECT read_at FROM sync_streamstate WHERE connection_id = %s AND data_type = 'ledger_account'"
