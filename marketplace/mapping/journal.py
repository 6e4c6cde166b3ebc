"""The bookkeeping behind documents: which accounts are debited and credited, always in balance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import singledispatch

from connectors.sdk.records import BankTransfer, CreditNote, CustomerPayment, Document, Expense, Invoice, Record
from marketplace.mapping.options import account_name
from marketplace.mapping.plan import Ledger, PlannedDocument

ZERO = Decimal(0)
CENT = Decimal("0.01")
RECEIVABLE = "Accounts receivable"
TAX = "Sales tax"


class OutOfBalance(ValueError):
    """Debits and credits of a journal differ: the documents do not add up."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a journal; one of the two amounts is zero and neither is negative."""

    name: str
    debit: Decimal = ZERO
    credit: Decimal = ZERO


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The lines of one record's documents, in the documents' currency."""

    currency: str
    lines: tuple[Line, ...]

    @property
    def total(self) -> Decimal:
        return sum((line.debit for line in self.lines), ZERO)


Movement = tuple[str, Decimal]  # account name, debit positive and credit negative


def journal_of(planned: Iterable[PlannedDocument], ledger: Ledger) -> Journal | None:
    """The journal these documents make; None when they book nothing (contacts). Raises `OutOfBalance`."""
    documents = [part.document for part in planned]
    lines = [line for document in documents for line in _lines(_movements(document, _Names(ledger)))]
    if not lines:
        return None
    currency = next((document.currency for document in documents if hasattr(document, "currency")), "")
    return Journal(currency=currency, lines=tuple(lines))


def _lines(movements: list[Movement]) -> list[Line]:
    """One document's lines, one an account: debits first, as bookkeepers write them. Raises `OutOfBalance`."""
    sums: dict[str, Decimal] = {}
    for name, amount in movements:
        sums[name] = sums.get(name, ZERO) + amount
    if sum(sums.values(), ZERO) != 0:
        raise OutOfBalance("The debits and credits of a document differ.")
    debits = [Line(name=name, debit=amount) for name, amount in sums.items() if amount > 0]
    credits = [Line(name=name, credit=-amount) for name, amount in sums.items() if amount < 0]
    return [*debits, *credits]


def receivable_name(ledger: Ledger) -> str:
    """The account of what customers owe."""
    accounts = ledger.ledger_accounts.values()
    return next((account_name(found) for found in accounts if found.kind == "receivable"), RECEIVABLE)


@dataclass(frozen=True)
class _Names:
    """Account names of one ledger."""

    ledger: Ledger

    def of(self, code: str) -> str:
        found = self.ledger.ledger_accounts.get(code)
        return account_name(found) if found else code

    def receivable(self) -> str:
        return receivable_name(self.ledger)

    def tax_within(self, gross: Decimal, code: str) -> Decimal:
        found = self.ledger.tax_rates.get(code)
        return gross - (gross / (1 + found.rate)).quantize(CENT, ROUND_HALF_UP) if found else ZERO

    def tax(self, code: str) -> str:
        found = self.ledger.tax_rates.get(code)
        return f"{TAX} ({found.name})" if found else TAX


@singledispatch
def _movements(document: Record, names: _Names) -> list[Movement]:
    """Contacts and lists book nothing."""
    return []


@_movements.register
def _(document: Invoice, names: _Names) -> list[Movement]:
    return [(names.receivable(), document.total), *_booked(document, names, Decimal(-1))]


@_movements.register
def _(document: CreditNote, names: _Names) -> list[Movement]:
    paid_from = document.refund_ledger_account
    credited = names.of(paid_from) if paid_from else names.receivable()
    return [*_booked(document, names, Decimal(1)), (credited, -document.total)]


def _booked(document: Document, names: _Names, sign: Decimal) -> list[Movement]:
    """Each line without its tax on its account, and the taxes."""
    moved = []
    for line in document.lines:
        net = line.amount - line.tax_amount if document.tax_mode == "inclusive" else line.amount
        moved += [(names.of(line.ledger_account), sign * net), (names.tax(line.tax_rate), sign * line.tax_amount)]
    return [(name, amount) for name, amount in moved if amount]


@_movements.register
def _(document: CustomerPayment, names: _Names) -> list[Movement]:
    sign = Decimal(1) if document.settles == "invoice" else Decimal(-1)
    return [
        (names.of(document.ledger_account), sign * document.amount),
        (names.receivable(), -sign * document.amount),
    ]


@_movements.register
def _(document: BankTransfer, names: _Names) -> list[Movement]:
    return [
        (names.of(document.to_ledger_account), document.amount),
        (names.of(document.from_ledger_account), -document.amount),
    ]


@_movements.register
def _(document: Expense, names: _Names) -> list[Movement]:
    """The amount is what left the account, with its tax, which the ledger works out from the rate."""
    tax = names.tax_within(document.amount, document.tax_rate)
    return [
        (names.of(document.ledger_account), document.amount - tax),
        *([(names.tax(document.tax_rate), tax)] if tax else []),
        (names.of(document.paid_from_ledger_account), -document.amount),
    ]
