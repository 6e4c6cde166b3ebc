"""The entry against an entry: what undoes a document's effect where the document itself can no longer be touched."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from functools import singledispatch
from typing import Any

import msgspec

from connectors.sdk.records import (
    BankTransfer,
    CreditNote,
    CustomerPayment,
    Document,
    DocumentLine,
    Expense,
    Invoice,
    Record,
)


class NoOpposite(Exception):
    """Nothing we can write undoes this kind of document."""


@singledispatch
def opposite(document: Record, date: dt.date) -> Record:
    """A document of the same amounts on the same ledger accounts, the other way round. Raises `NoOpposite`."""
    raise NoOpposite(document.data_type)


@opposite.register
def _(document: Invoice, date: dt.date) -> Record:
    return CreditNote(**_turned(document, date))


@opposite.register
def _(document: CreditNote, date: dt.date) -> Record:
    return Invoice(**_turned(document, date), due_date=date)


@opposite.register
def _(document: CustomerPayment, date: dt.date) -> Record:
    settles = "invoice" if document.settles == "credit_note" else "credit_note"
    return msgspec.structs.replace(
        document, date=date, settles=settles, document_id="", document_number="", reference=against(document.reference)
    )


@opposite.register
def _(document: BankTransfer, date: dt.date) -> Record:
    return msgspec.structs.replace(
        document,
        date=date,
        from_ledger_account=document.to_ledger_account,
        to_ledger_account=document.from_ledger_account,
        reference=against(document.reference),
    )


@opposite.register
def _(document: Expense, date: dt.date) -> Record:
    """Money that came back."""
    return msgspec.structs.replace(document, date=date, amount=-document.amount, reference=against(document.reference))


def money_back(
    payment: CustomerPayment, settled: Document, date: dt.date, *, settles_on_document: bool
) -> Sequence[Record]:
    """What undoes a payment whose document stays, each part after the one before it. No ledger lets an entry name the
    customer's balance and a bank account at once, so it takes a detour over the account of what was paid: the money goes back
    with a credit note, and a new invoice says that it is owed again. For money paid back to a customer it is the other way round.
    """
    account = settled.lines[0].ledger_account
    first: type[Document] = CreditNote if payment.settles == "invoice" else Invoice
    second: type[Document] = Invoice if first is CreditNote else CreditNote
    common: dict[str, Any] = {
        "id": "",
        "reference": against(payment.reference),
        "date": date,
        "currency": payment.currency,
        "customer": settled.customer,
        "tax_mode": "none",
        "total": payment.amount,
    }
    back, owed = (
        _on_account(kind, account, f"Takes back the payment of {payment.date}: {words}", common)
        for kind, words in ((first, "the money"), (second, "what is owed again"))
    )
    if settles_on_document and isinstance(back, CreditNote):
        return [msgspec.structs.replace(back, refund_ledger_account=payment.ledger_account), owed]
    return [back, opposite(payment, date), owed]


def _on_account(kind: type[Document], account: str, words: str, common: dict[str, Any]) -> Document:
    line = DocumentLine(description=words, amount=common["total"], ledger_account=account)
    due = {"due_date": common["date"]} if kind is Invoice else {}
    return kind(**common, **due, lines=(line,), tax_total=Decimal(0))


def repayment_of(document: CreditNote, date: dt.date) -> CustomerPayment:
    """What pays the invoice against a credit note that had been paid back at once."""
    return CustomerPayment(
        id="",
        date=date,
        currency=document.currency,
        amount=document.total,
        ledger_account=document.refund_ledger_account,
        customer=document.customer,
        reference=against(document.reference),
    )


def against(reference: str) -> str:
    return f"Reverses {reference}".strip()


def _turned(document: Document, date: dt.date) -> dict[str, Any]:
    """Without a number: the ledger gives it the next of its own."""
    return {
        "id": "",
        "reference": against(document.number or document.reference),
        "date": date,
        "currency": document.currency,
        "customer": document.customer,
        "tax_mode": document.tax_mode,
        "lines": document.lines,
        "total": document.total,
        "tax_total": document.tax_total,
        "memo": f"Takes back {document.data_type.replace('_', ' ')} {document.number} of {document.date}".strip(),
    }
