"""The columns every list, proof and pairing works on, taken out of a standard record once, when it is read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from functools import singledispatch
from zoneinfo import ZoneInfo

import msgspec

from connectors.sdk import records
from connectors.sdk.records import Record


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """`occurred_on` is a day in the tenant's zone; `amount` is signed as the ledger effect of the document is."""

    occurred_on: dt.date | None = None
    number: str = ""
    reference: str = ""
    amount: Decimal | None = None
    tax_amount: Decimal | None = None
    currency: str = ""
    party: str = ""
    ledger_account: str = ""


@singledispatch
def columns_of(record: Record, zone: ZoneInfo) -> Columns:
    """Settings-like records (ledger accounts, tax rates, the company) have no day and no amount."""
    return Columns(number=getattr(record, "code", ""), party=getattr(record, "name", ""))


@columns_of.register
def _(record: records.Order, zone: ZoneInfo) -> Columns:
    return Columns(
        occurred_on=day(record.placed_at, zone),
        number=record.number,
        reference=record.number,
        amount=record.total,
        tax_amount=record.tax_total,
        currency=record.currency,
        party=record.customer.name,
    )


@columns_of.register
def _(record: records.Refund, zone: ZoneInfo) -> Columns:
    return Columns(
        occurred_on=day(record.refunded_at, zone),
        number=record.id,
        reference=record.order_number,
        amount=record.total,
        tax_amount=record.tax_total,
        currency=record.currency,
        party=record.customer.name,
    )


@columns_of.register
def _(record: records.Payout, zone: ZoneInfo) -> Columns:
    return Columns(
        occurred_on=record.paid_date,
        number=record.number or record.id,
        reference=record.bank_reference or record.id,
        amount=record.net,
        tax_amount=Decimal(0),
        currency=record.currency,
    )


@columns_of.register
def _(record: records.BalanceTransaction, zone: ZoneInfo) -> Columns:
    return Columns(
        occurred_on=day(record.occurred_at, zone),
        number=record.id,
        reference=record.source_id,
        amount=record.net,
        currency=record.currency,
        ledger_account=record.kind,
    )


@columns_of.register
def _(record: records.Customer, zone: ZoneInfo) -> Columns:
    return Columns(number=record.id, reference=record.email, currency=record.currency, party=record.name)


@columns_of.register
def _(record: records.Deal, zone: ZoneInfo) -> Columns:
    return Columns(
        occurred_on=day(record.closed_at or record.updated_at, zone),
        number=record.number,
        reference=record.number,
        amount=record.total,
        currency=record.currency,
        party=record.customer.name,
    )


@columns_of.register
def _(record: records.Document, zone: ZoneInfo) -> Columns:
    return Columns(
        occurred_on=record.date,
        number=record.number,
        reference=record.reference,
        amount=record.total,
        tax_amount=record.tax_total,
        currency=record.currency,
        party=record.customer.name,
        ledger_account=joined([line.ledger_account for line in record.lines]),
    )


@columns_of.register
def _(record: records.CustomerPayment, zone: ZoneInfo) -> Columns:
    return Columns(
        occurred_on=record.date,
        number=record.document_number,
        reference=record.reference,
        amount=record.amount,
        tax_amount=Decimal(0),
        currency=record.currency,
        party=record.customer.name,
        ledger_account=record.ledger_account,
    )


@columns_of.register
def _(record: records.BankTransfer, zone: ZoneInfo) -> Columns:
    return Columns(
        occurred_on=record.date,
        reference=record.reference,
        amount=record.amount,
        tax_amount=Decimal(0),
        currency=record.currency,
        ledger_account=joined((record.from_ledger_account, record.to_ledger_account)),
    )


@columns_of.register
def _(record: records.Expense, zone: ZoneInfo) -> Columns:
    return Columns(
        occurred_on=record.date,
        reference=record.reference,
        amount=record.amount,
        tax_amount=Decimal(0),
        currency=record.currency,
        party=record.supplier.name,
        ledger_account=joined((record.paid_from_ledger_account, record.ledger_account)),
    )


def day(instant: dt.datetime, zone: ZoneInfo) -> dt.date:
    """The calendar day of an instant where the tenant keeps its books."""
    return instant.astimezone(zone).date()


def joined(codes: Iterable[str]) -> str:
    """Distinct ledger accounts in a stable order, so that two documents on the same accounts compare equal."""
    return " ".join(sorted({code for code in codes if code}))[:255]
