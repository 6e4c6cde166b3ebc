"""The staff who booked the month by hand: almost everything right, and every kind of mistake people make, planted and counted."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from connectors.sdk.records import (
    BankTransfer,
    CreditNote,
    CustomerPayment,
    DocumentLine,
    Expense,
    Invoice,
    Order,
    Party,
    Payout,
    Record,
    Refund,
    SaleLine,
    SalePayment,
)
from marketplace.demo.month import Month
from marketplace.mapping.templates.common import tax_label

ZERO = Decimal(0)
#: The kinds of mistake, named as the verdict each must get.
MISTAKES = (
    "amount",
    "tax",
    "date",
    "ledger_account",
    "currency",
    "party",
    "timing",
    "missing_in_theirs",
    "duplicate_in_theirs",
    "missing_in_ours",
)


@dataclass(frozen=True, kw_only=True)
class Books:
    """How these staff book: the ledger's codes for each purpose and tax, the contact they use (empty: each buyer)."""

    zone: ZoneInfo
    source: str
    sales: str
    other_sales: str
    shipping: str
    gift_cards: str
    clearing: Mapping[str, str]  # payment method -> ledger account
    payout_clearing: str
    bank: str
    fees: str
    taxes: Mapping[str, str]  # tax label -> tax code
    wrong_currency: str
    contact: str
    repays_on_credit_note: bool


@dataclass
class Entered:
    """What staff entered, in the order they did, and the mistakes among it: (kind, order number)."""

    records: list[Record] = field(default_factory=list)
    planted: list[tuple[str, str]] = field(default_factory=list)


def book_month(month: Month, books: Books, *, mistakes_of_each: int, seed: int) -> Entered:
    """Book every order, refund and payout that belongs in the books, with mistakes on that many orders of each kind."""
    dice = random.Random(seed)
    postable = [order for order in month.orders if _belongs(order)]
    mistakes = _choose(postable, books, mistakes_of_each, dice)
    entered = Entered()
    for order in postable:
        _book_order(order, books, mistakes.get(order.id, ""), entered)
    for position in range(mistakes_of_each):
        _book_phantom(postable[-1 - position], books, position, entered)
    for refund in month.refunds:
        entered.records += _credit_note(refund, books)
    for payout in month.payouts:
        entered.records += _bank_entries(payout, books)
    return entered


def _belongs(order: Order) -> bool:
    return order.status not in ("cancelled", "open") and not order.is_test and order.total > 0


def _choose(orders: Sequence[Order], books: Books, of_each: int, dice: random.Random) -> dict[str, str]:
    """Mistakes on orders where they can show: a wrong tax needs tax, another period needs the month's last days."""
    chosen: dict[str, str] = {}
    last = max(_day(order.placed_at, books) for order in orders)
    for kind in MISTAKES:
        if kind == "missing_in_ours" or (kind == "tax" and not any(order.tax_total for order in orders)):
            continue
        fits = [order for order in orders if order.id not in chosen and _fits(kind, order, last, books)]
        for order in dice.sample(fits, min(of_each, len(fits))):
            chosen[order.id] = kind
    return chosen


def _fits(kind: str, order: Order, last: dt.date, books: Books) -> bool:
    day = _day(order.placed_at, books)
    if kind == "timing":
        return day >= last - dt.timedelta(days=2)
    if kind == "date":
        return day.day <= 20
    if kind == "tax":
        return order.tax_total > 0 and order.taxes_included
    if kind == "currency" and order.currency == books.wrong_currency:
        return False
    return order.status == "paid"


def _book_order(order: Order, books: Books, mistake: str, entered: Entered) -> None:
    invoice = _invoice(order, books)
    payments = [_payment(order, payment, invoice, books) for payment in order.payments]
    if mistake:
        entered.planted.append((mistake, order.number))
    if mistake == "missing_in_theirs":
        return
    wrong = _with_mistake(invoice, mistake, books)
    entered.records.append(wrong)
    if mistake == "duplicate_in_theirs":
        entered.records.append(msgspec.structs.replace(invoice, id=f"{invoice.id}-again", number=f"{invoice.number}-B"))
    if mistake == "currency":
        return
    pays = [msgspec.structs.replace(payment, customer=wrong.customer) for payment in payments]
    if mistake == "timing":
        pays = [msgspec.structs.replace(payment, date=wrong.date) for payment in pays]
    entered.records += pays


def _with_mistake(invoice: Invoice, mistake: str, books: Books) -> Invoice:
    replace = msgspec.structs.replace
    if mistake == "amount":
        first = replace(
            invoice.lines[0], amount=invoice.lines[0].amount + Decimal(9), tax_amount=ZERO, tax_rate=_untaxed(books)
        )
        lines = (first, *invoice.lines[1:])
        return _totalled(replace(invoice, lines=lines))
    if mistake == "tax":
        lines = tuple(replace(line, tax_rate=_untaxed(books), tax_amount=ZERO) for line in invoice.lines)
        return _totalled(replace(invoice, lines=lines))
    if mistake == "date":
        return replace(invoice, date=invoice.date + dt.timedelta(days=3), due_date=invoice.date + dt.timedelta(days=3))
    if mistake == "timing":
        later = (invoice.date.replace(day=1) + dt.timedelta(days=32)).replace(day=2)
        return replace(invoice, date=later, due_date=later)
    if mistake == "ledger_account":
        lines = tuple(
            replace(
                line, ledger_account=books.other_sales if line.ledger_account == books.sales else line.ledger_account
            )
            for line in invoice.lines
        )
        return replace(invoice, lines=lines)
    if mistake == "currency":
        return replace(invoice, currency=books.wrong_currency, customer=Party(name="Sundry foreign sales"))
    if mistake == "party":
        return replace(invoice, customer=Party(name="Walk-in customer"))
    return invoice


def _untaxed(books: Books) -> str:
    return books.taxes["No tax"]


def _totalled(invoice: Invoice) -> Invoice:
    tax = sum((line.tax_amount for line in invoice.lines), ZERO)
    total = sum((line.amount for line in invoice.lines), ZERO) + (tax if invoice.tax_mode == "exclusive" else ZERO)
    return msgspec.structs.replace(invoice, total=total, tax_total=tax)


def _book_phantom(like: Order, books: Books, position: int, entered: Entered) -> None:
    """An invoice for a sale that never happened, under a number the shop never gave."""
    number = f"#9{900 + position}"
    invoice = _invoice(msgspec.structs.replace(like, id=f"phantom{position}", number=number), books)
    entered.records.append(invoice)
    entered.planted.append(("missing_in_ours", number))


def _invoice(order: Order, books: Books) -> Invoice:
    day = _day(order.placed_at, books)
    return Invoice(
        id=f"staff-{order.id}",
        number=f"INV-{order.number.strip('#')}",
        reference=f"{books.source} {order.number}",
        date=day,
        due_date=day,
        currency=order.currency,
        customer=_customer(order.customer, books),
        tax_mode=_tax_mode(order.taxes_included),
        lines=tuple(_line(line, books) for line in order.lines),
        total=order.total,
        tax_total=order.tax_total,
    )


def _tax_mode(taxes_included: bool) -> Literal["inclusive", "exclusive"]:
    return "inclusive" if taxes_included else "exclusive"


def _line(line: SaleLine, books: Books) -> DocumentLine:
    accounts = {"shipping": books.shipping, "gift_card": books.gift_cards}
    return DocumentLine(
        description=line.description,
        quantity=line.quantity,
        amount=line.amount,
        ledger_account=accounts.get(line.kind, books.sales),
        tax_rate=books.taxes[tax_label(line.taxes)],
        tax_amount=line.tax_amount,
    )


def _customer(party: Party, books: Books) -> Party:
    return Party(name=books.contact) if books.contact else Party(name=party.name, email=party.email)


def _payment(order: Order, payment: SalePayment, invoice: Invoice, books: Books) -> CustomerPayment:
    return CustomerPayment(
        id=f"staff-p-{payment.id}",
        date=max(_day(payment.paid_at, books), invoice.date),
        currency=order.currency,
        amount=payment.amount,
        ledger_account=books.clearing[payment.method],
        document_id=invoice.id,
        document_number=invoice.number,
        customer=invoice.customer,
        reference=invoice.reference,
    )


def _credit_note(refund: Refund, books: Books) -> list[Record]:
    account = books.clearing[refund.payments[0].method]
    day = _day(refund.refunded_at, books)
    note = CreditNote(
        id=f"staff-r-{refund.id}",
        number=f"CN-{refund.id}",
        reference=f"{books.source} {refund.order_number}",
        date=day,
        currency=refund.currency,
        customer=_customer(refund.customer, books),
        tax_mode=_tax_mode(refund.taxes_included),
        lines=tuple(_line(line, books) for line in refund.lines),
        total=refund.total,
        tax_total=refund.tax_total,
        refund_ledger_account=account if books.repays_on_credit_note else "",
    )
    if books.repays_on_credit_note:
        return [note]
    repayment = CustomerPayment(
        id=f"staff-rp-{refund.id}",
        date=day,
        currency=refund.currency,
        amount=refund.total,
        ledger_account=account,
        settles="credit_note",
        document_id=note.id,
        document_number=note.number,
        customer=note.customer,
        reference=note.reference,
    )
    return [note, repayment]


def _bank_entries(payout: Payout, books: Books) -> list[Record]:
    transfer = BankTransfer(
        id=f"staff-t-{payout.id}",
        date=payout.paid_date,
        currency=payout.currency,
        amount=payout.net,
        from_ledger_account=books.payout_clearing,
        to_ledger_account=books.bank,
        reference=payout.bank_reference,
    )
    fees = Expense(
        id=f"staff-f-{payout.id}",
        date=payout.paid_date,
        currency=payout.currency,
        amount=payout.fees,
        paid_from_ledger_account=books.payout_clearing,
        ledger_account=books.fees,
        supplier=Party(name=books.source),
        description="Payment fees",
        reference=payout.bank_reference,
        tax_rate=_untaxed(books),
    )
    return [transfer, fees] if payout.fees else [transfer]


def _day(instant: dt.datetime, books: Books) -> dt.date:
    return instant.astimezone(books.zone).date()
