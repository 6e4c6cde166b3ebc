"""Distinct standard records with the amounts that go wrong: a cent, millions, several lines, tax in and out of the price."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from connectors.sdk.records import (
    BankTransfer,
    CreditNote,
    Customer,
    CustomerPayment,
    Deal,
    DocumentLine,
    Expense,
    Invoice,
    LedgerAccount,
    Order,
    Party,
    Payout,
    Record,
    Refund,
    SaleLine,
    SalePayment,
    Tax,
    TaxRate,
)

if TYPE_CHECKING:
    from connectors.testing.contract.bench import Bench

#: Fields a provider is expected to give back exactly as they were given.
COMPARED: dict[str, tuple[str, ...]] = {
    "order": (
        "number",
        "placed_at",
        "currency",
        "total",
        "tax_total",
        "discount_total",
        "shipping_total",
        "taxes_included",
        "lines",
        "payments",
    ),
    "refund": ("order_id", "currency", "total", "tax_total", "lines"),
    "payout": ("paid_date", "currency", "gross", "fees", "refunds", "net", "status"),
    "balance_transaction": ("kind", "currency", "amount", "fee", "net"),
    "customer": ("name", "email", "phone"),
    "deal": ("number", "currency", "total", "is_won"),
    "company": ("name", "base_currency"),
    "ledger_account": ("code", "name", "kind"),
    "tax_rate": ("code", "name", "rate"),
    "invoice": ("reference", "date", "due_date", "currency", "total", "tax_total", "tax_mode", "lines", "customer"),
    "credit_note": ("reference", "date", "currency", "total", "tax_total", "tax_mode", "lines", "customer"),
    "customer_payment": ("date", "currency", "amount", "ledger_account", "settles", "document_id", "reference"),
    "bank_transfer": ("date", "currency", "amount", "from_ledger_account", "to_ledger_account", "reference"),
    "expense": ("date", "currency", "amount", "paid_from_ledger_account", "ledger_account", "reference"),
}

#: What of a nested value is compared: a provider may word the rest in its own way.
NESTED: dict[str, tuple[str, ...]] = {
    "SaleLine": ("kind", "quantity", "amount", "tax_amount"),
    "SalePayment": ("amount",),
    "DocumentLine": ("description", "amount", "ledger_account", "tax_rate"),
    "Party": ("name",),
}

CENT = Decimal("0.01")
CODES = {"invoice": "INV", "credit_note": "CRN", "customer_payment": "PAY", "bank_transfer": "TRF", "expense": "EXP"}


@dataclass(frozen=True, kw_only=True)
class Books:
    """What sample documents refer to."""

    income: str = ""
    expense: str = ""
    bank: str = ""
    other_bank: str = ""
    sales_tax: str = ""
    tax_rate: Decimal = Decimal(0)

    @staticmethod
    def of(bench: Bench, *, sales_tax: str) -> Books:
        """The first fitting ledger accounts and tax code, read through the connector."""
        kept: Books | None = getattr(bench, "books", None)
        if kept is not None:
            return kept
        types = {stream.data_type for stream in bench.parts.streams}
        accounts = _all(bench, "ledger_account") if "ledger_account" in types else []
        rates = _all(bench, "tax_rate") if "tax_rate" in types else []
        banks = _codes(accounts, "bank")
        taxing = [rate for rate in rates if isinstance(rate, TaxRate) and rate.rate > 0 and not rate.is_archived]
        chosen = next((rate for rate in taxing if not sales_tax or rate.code == sales_tax), None)
        books = Books(
            income=next(iter(_codes(accounts, "income")), ""),
            expense=next(iter(_codes(accounts, "expense")), ""),
            bank=next(iter(banks), ""),
            other_bank=next(iter(banks[1:]), ""),
            sales_tax=chosen.code if chosen else "",
            tax_rate=chosen.rate if chosen else Decimal(0),
        )
        bench.books = books  # type: ignore[attr-defined]
        return books


def _all(bench: Bench, data_type: str) -> list[Record]:
    return [found.record for found in bench.read(data_type)]


def _codes(accounts: list[Record], kind: str) -> list[str]:
    """Codes of active accounts, those that may receive payments first."""
    fitting = [
        found for found in accounts if isinstance(found, LedgerAccount) and found.kind == kind and not found.is_archived
    ]
    return [found.code for found in sorted(fitting, key=lambda found: not found.can_receive_payments)]


def sample(bench: Bench, books: Books, data_type: str, position: int) -> Record:
    """The `position`-th record of a data type; what it refers to is put into the simulator first."""
    make: Callable[[Bench, Books, int], Record] = _MAKERS[data_type]
    return make(bench, books, position)


def part_of(value: Any, other: Any) -> bool:
    """Whether `other` says what `value` says, where providers may not differ."""
    if isinstance(value, tuple):
        pairs = zip(value, other, strict=False)
        return len(value) == len(other) and all(part_of(mine, theirs) for mine, theirs in pairs)
    names = NESTED.get(type(value).__name__)
    if names is None:
        return bool(value == other)
    return all(getattr(value, name) == getattr(other, name) for name in names)


def _reference(data_type: str, position: int) -> str:
    return f"C-{CODES[data_type]}-{position:05d}"


def _day(bench: Bench, position: int) -> dt.date:
    return bench.simulator.now().date() - dt.timedelta(days=position % 5)


def _moment(bench: Bench, position: int) -> dt.datetime:
    return bench.simulator.now().replace(microsecond=0) - dt.timedelta(minutes=position + 1)


def _customer(bench: Bench, books: Books, position: int) -> Customer:
    return Customer(
        id="",
        name=f"Alder & Finch {position:04d} Ltd",
        email=f"accounts{position}@alder-finch.example",
        phone=f"+4420794600{position % 100:02d}",
    )


def _sale_lines(position: int) -> tuple[SaleLine, ...]:
    match position % 3:
        case 0:
            return (SaleLine(description="Gift wrap", amount=CENT),)
        case 1:
            return (
                SaleLine(description="Oak shelf", quantity=Decimal(2), amount=Decimal("199.98")),
                SaleLine(description="Wall plug", amount=Decimal("3.10")),
                SaleLine(kind="shipping", description="Courier", amount=Decimal("4.95")),
            )
    tax = Tax(name="VAT", rate=Decimal("0.2"), amount=Decimal("24.00"))
    return (SaleLine(description="Desk lamp", amount=Decimal("120.00"), taxes=(tax,)),)


def _order(bench: Bench, books: Books, position: int) -> Order:
    lines = _sale_lines(position)
    tax = sum((line.tax_amount for line in lines), Decimal(0))
    total = sum((line.amount for line in lines), Decimal(0)) + tax
    placed_at = _moment(bench, position)
    return Order(
        id="",
        number=f"C{1001 + position}",
        placed_at=placed_at,
        updated_at=bench.simulator.now(),
        currency=bench.currency,
        total=total,
        tax_total=tax,
        shipping_total=sum((line.amount for line in lines if line.kind == "shipping"), Decimal(0)),
        status="paid",
        lines=lines,
        payments=(SalePayment(id=f"pay-{position}", method="card", amount=total, paid_at=placed_at),),
    )


def _refund(bench: Bench, books: Books, position: int) -> Refund:
    order = _order(bench, books, 9000 + position)
    (order_id,) = bench.simulator.plant(bench.organisation, [order])
    now = bench.simulator.now().replace(microsecond=0)
    return Refund(
        id="",
        order_id=order_id,
        order_number=order.number,
        refunded_at=now,
        updated_at=now,
        currency=order.currency,
        total=order.total,
        tax_total=order.tax_total,
        lines=order.lines,
        payments=(SalePayment(id=f"back-{position}", method="card", amount=order.total, paid_at=now),),
    )


def _payout(bench: Bench, books: Books, position: int) -> Payout:
    gross, fees = Decimal("1234567.89") + position, Decimal("17.01")
    return Payout(
        id="",
        paid_date=_day(bench, position),
        updated_at=bench.simulator.now(),
        currency=bench.currency,
        gross=gross,
        fees=fees,
        net=gross - fees,
    )


def _deal(bench: Bench, books: Books, position: int) -> Deal:
    now = bench.simulator.now()
    total = Decimal("0.01") + position
    return Deal(id="", number=f"D-{position}", updated_at=now, currency=bench.currency, total=total, is_won=True)


def _ledger_account(bench: Bench, books: Books, position: int) -> LedgerAccount:
    return LedgerAccount(id="", code=f"{7700 + position}", name=f"Contract sales {position}", kind="income")


def _document_lines(books: Books, position: int) -> tuple[str, tuple[DocumentLine, ...]]:
    """A tax mode and lines; taxed amounts are round, so that no provider has anything to round."""

    def line(description: str, amount: str, *, tax: Decimal = Decimal(0)) -> DocumentLine:
        code = books.sales_tax if tax else ""
        return DocumentLine(
            description=description,
            amount=Decimal(amount),
            ledger_account=books.income,
            tax_rate=code,
            tax_amount=tax,
        )

    untaxed = "none" if not books.sales_tax else "exclusive"
    match position % 4:
        case 0:
            return untaxed, (line("Rounding test", "0.01"),)
        case 1:
            return untaxed, tuple(line(f"Part {n}", amount) for n, amount in enumerate(("0.10", "0.20", "33.33")))
        case 2:
            gross = (100 * (1 + books.tax_rate)).quantize(CENT)
            return "inclusive" if books.sales_tax else "none", (
                line("Price with tax", str(gross), tax=gross - Decimal(100)),
            )
    tax = (300 * books.tax_rate).quantize(CENT)
    return untaxed, (line("Millions", "1234567.89"), line("Price without tax", "300.00", tax=tax))


def _document(bench: Bench, books: Books, data_type: str, position: int) -> dict[str, Any]:
    tax_mode, lines = _document_lines(books, position)
    tax = sum((line.tax_amount for line in lines), Decimal(0))
    total = sum((line.amount for line in lines), Decimal(0)) + (tax if tax_mode == "exclusive" else 0)
    return {
        "id": "",
        "reference": _reference(data_type, position),
        "date": _day(bench, position),
        "currency": bench.currency,
        "customer": Party(name="Alder & Finch Ltd"),
        "tax_mode": tax_mode,
        "lines": lines,
        "total": total,
        "tax_total": tax,
    }


def _invoice(bench: Bench, books: Books, position: int) -> Invoice:
    body = _document(bench, books, "invoice", position)
    return Invoice(**body, due_date=body["date"] + dt.timedelta(days=14))


def _credit_note(bench: Bench, books: Books, position: int) -> CreditNote:
    return CreditNote(**_document(bench, books, "credit_note", position))


def _customer_payment(bench: Bench, books: Books, position: int) -> CustomerPayment:
    invoice = _invoice(bench, books, 90_000 + position)
    (invoice_id,) = bench.simulator.plant(bench.organisation, [invoice])
    return CustomerPayment(
        id="",
        date=bench.simulator.now().date(),
        currency=bench.currency,
        amount=invoice.total,
        ledger_account=books.bank,
        document_id=invoice_id,
        customer=invoice.customer,
        reference=_reference("customer_payment", position),
    )


def _bank_transfer(bench: Bench, books: Books, position: int) -> BankTransfer:
    return BankTransfer(
        id="",
        date=_day(bench, position),
        currency=bench.currency,
        amount=Decimal("1234567.89") if position % 2 else CENT,
        from_ledger_account=books.bank,
        to_ledger_account=books.other_bank,
        reference=_reference("bank_transfer", position),
    )


def _expense(bench: Bench, books: Books, position: int) -> Expense:
    return Expense(
        id="",
        date=_day(bench, position),
        currency=bench.currency,
        amount=Decimal("98765.43") if position % 2 else CENT,
        paid_from_ledger_account=books.bank,
        ledger_account=books.expense,
        supplier=Party(name="Card Processor Ltd"),
        description="Processing fees",
        reference=_reference("expense", position),
    )


_MAKERS: dict[str, Callable[[Bench, Books, int], Record]] = {
    "order": _order,
    "refund": _refund,
    "payout": _payout,
    "deal": _deal,
    "customer": _customer,
    "ledger_account": _ledger_account,
    "invoice": _invoice,
    "credit_note": _credit_note,
    "customer_payment": _customer_payment,
    "bank_transfer": _bank_transfer,
    "expense": _expense,
}
