"""The standard records: the accounting data types, defined once for every connector.

Money is `Decimal` in major units next to an ISO 4217 `currency`; calendar days are `date`; instants are aware `datetime`.
Identifiers are the provider's own, as strings. Amounts on a document carry the document's currency.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal

import msgspec

_ZERO = Decimal(0)


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A normalised item. `data_type` names the stream it belongs to; `id` is the provider's identifier.

    Records never refer to themselves, so the garbage collector is spared looking through them.
    """

    data_type: ClassVar[str] = ""

    id: str
    custom: dict[str, Any] = {}


class Address(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    line1: str = ""
    line2: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country: str = ""  # ISO 3166-1 alpha-2


class Party(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A customer or supplier as named on a document; `id` is empty when the provider knows only the name."""

    id: str = ""
    name: str = ""
    email: str = ""
    country: str = ""


class Tax(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One tax on one line. `rate` is a fraction (0.2 for 20 %); `name` is the provider's label."""

    name: str
    rate: Decimal
    amount: Decimal


class SaleLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One line of an order or refund.

    `amount` is after discount and includes tax exactly when the order's `taxes_included` is true.
    """

    kind: Literal["item", "shipping", "tip", "gift_card", "duty", "adjustment", "rounding"] = "item"
    description: str
    quantity: Decimal = Decimal(1)
    amount: Decimal
    discount_amount: Decimal = Decimal(0)
    sku: str = ""
    taxes: tuple[Tax, ...] = ()

    @property
    def tax_amount(self) -> Decimal:
        return sum([tax.amount for tax in self.taxes], _ZERO)


class SalePayment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Money received for an order or given back for a refund. `method` is the provider's name of the payment method.

    `settled_amount` in `settled_currency`: what the payment provider made of it on its own balance, where that is kept in another
    currency.
    """

    id: str
    method: str
    amount: Decimal
    paid_at: dt.datetime
    fee_amount: Decimal = Decimal(0)
    settled_amount: Decimal | None = None
    settled_currency: str = ""


class Order(Record, frozen=True, kw_only=True):
    """A sale at a shop or payment provider. `total` = sum of lines (+ tax when not included)."""

    data_type: ClassVar[str] = "order"

    number: str
    placed_at: dt.datetime
    updated_at: dt.datetime
    currency: str
    total: Decimal
    tax_total: Decimal = Decimal(0)
    discount_total: Decimal = Decimal(0)
    shipping_total: Decimal = Decimal(0)
    taxes_included: bool = False
    status: Literal["open", "paid", "partly_paid", "refunded", "cancelled"] = "open"
    is_test: bool = False
    customer: Party = Party()
    lines: tuple[SaleLine, ...] = ()
    payments: tuple[SalePayment, ...] = ()
    country: str = ""
    channel: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""


class Refund(Record, frozen=True, kw_only=True):
    """Money given back on an order; amounts are positive."""

    data_type: ClassVar[str] = "refund"

    order_id: str
    order_number: str = ""
    refunded_at: dt.datetime
    updated_at: dt.datetime
    currency: str
    total: Decimal
    tax_total: Decimal = Decimal(0)
    taxes_included: bool = False
    is_test: bool = False
    customer: Party = Party()
    lines: tuple[SaleLine, ...] = ()
    payments: tuple[SalePayment, ...] = ()
    reason: str = ""
    country: str = ""


class Payout(Record, frozen=True, kw_only=True):
    """Money a payment provider sends to the bank: `net` = gross - fees - refunds + adjustments.

    `gross`, `fees` and `refunds` are positive; `adjustments` is signed.
    """

    data_type: ClassVar[str] = "payout"

    number: str = ""
    paid_date: dt.date
    updated_at: dt.datetime
    currency: str
    gross: Decimal
    fees: Decimal
    refunds: Decimal = Decimal(0)
    adjustments: Decimal = Decimal(0)
    net: Decimal
    status: Literal["scheduled", "in_transit", "paid", "failed", "cancelled"] = "paid"
    is_test: bool = False
    bank_reference: str = ""


class BalanceTransaction(Record, frozen=True, kw_only=True):
    """One movement on the payment provider's balance; `net` = amount - fee, both signed as the provider signs them."""

    data_type: ClassVar[str] = "balance_transaction"

    kind: str
    occurred_at: dt.datetime
    currency: str
    amount: Decimal
    fee: Decimal
    net: Decimal
    payout_id: str = ""
    source_id: str = ""


class Customer(Record, frozen=True, kw_only=True):
    """Somebody who buys. In ledgers: a contact.

    `emptied` is never read from a provider: in a change to be written it names the fields that are to be empty from then on.
    """

    data_type: ClassVar[str] = "customer"

    name: str
    updated_at: dt.datetime | None = None
    email: str = ""
    phone: str = ""
    company: str = ""
    tax_number: str = ""
    currency: str = ""
    address: Address = Address()
    is_archived: bool = False
    emptied: tuple[str, ...] = ()


class Deal(Record, frozen=True, kw_only=True):
    """An opportunity in a CRM; `is_won` once the customer said yes."""

    data_type: ClassVar[str] = "deal"

    number: str
    updated_at: dt.datetime
    closed_at: dt.datetime | None = None
    currency: str
    total: Decimal
    is_won: bool = False
    customer: Party = Party()
    lines: tuple[SaleLine, ...] = ()


class Company(Record, frozen=True, kw_only=True):
    """The organisation itself. `books_closed_until`: nothing may be dated on or before it."""

    data_type: ClassVar[str] = "company"

    name: str
    base_currency: str
    country: str = ""
    time_zone: str = ""
    books_closed_until: dt.date | None = None


class LedgerAccount(Record, frozen=True, kw_only=True):
    """A line of the chart of accounts. `code` is what documents refer to."""

    data_type: ClassVar[str] = "ledger_account"

    code: str
    name: str
    kind: Literal["bank", "asset", "liability", "equity", "income", "expense", "receivable", "payable"]
    currency: str = ""
    is_archived: bool = False
    can_receive_payments: bool = False


class TaxRate(Record, frozen=True, kw_only=True):
    """A tax code of the ledger; `rate` is a fraction. `is_for_sales` where the ledger takes it on income."""

    data_type: ClassVar[str] = "tax_rate"

    code: str
    name: str
    rate: Decimal
    is_archived: bool = False
    is_for_sales: bool = True


class DocumentLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A line of an invoice or credit note; `amount` includes tax exactly when the document's `tax_mode` is `inclusive`."""

    description: str
    quantity: Decimal = Decimal(1)
    amount: Decimal
    ledger_account: str
    tax_rate: str = ""  # the ledger's tax code; empty: no tax
    tax_amount: Decimal = Decimal(0)
    sku: str = ""


class Document(Record, frozen=True, kw_only=True):
    """Shared by invoices and credit notes. `total` includes tax. `reference` is searchable at the provider.

    `exchange_rate`, here and below: what to write an entry in a foreign currency at, as the ledger quotes its rates. Left out it is the
    ledger's own of that day; it is never read.
    """

    number: str = ""
    reference: str = ""
    date: dt.date
    due_date: dt.date | None = None
    updated_at: dt.datetime | None = None
    currency: str
    customer: Party
    tax_mode: Literal["inclusive", "exclusive", "none"] = "exclusive"
    lines: tuple[DocumentLine, ...] = ()
    total: Decimal
    tax_total: Decimal = Decimal(0)
    status: Literal["draft", "open", "paid", "void"] = "open"
    memo: str = ""
    exchange_rate: Decimal | None = None


class Invoice(Document, frozen=True, kw_only=True):
    data_type: ClassVar[str] = "invoice"


class CreditNote(Document, frozen=True, kw_only=True):
    """`refund_ledger_account`: where the money left from, when it was paid back at once. `base_amount`: see `CustomerPayment`."""

    data_type: ClassVar[str] = "credit_note"

    refund_ledger_account: str = ""
    base_amount: Decimal | None = None


class CustomerPayment(Record, frozen=True, kw_only=True):
    """Money received against an invoice, or paid back against a credit note (`settles` says which).

    `base_amount`: what came in or went out in the ledger's own currency, where a payment provider converted it. It is written at the
    rate that makes it so, unless an `exchange_rate` is given; it is never read.
    """

    data_type: ClassVar[str] = "customer_payment"

    date: dt.date
    updated_at: dt.datetime | None = None
    currency: str
    amount: Decimal
    ledger_account: str
    base_amount: Decimal | None = None
    settles: Literal["invoice", "credit_note"] = "invoice"
    document_id: str = ""
    document_number: str = ""
    customer: Party = Party()
    reference: str = ""
    status: Literal["open", "void"] = "open"
    exchange_rate: Decimal | None = None


class BankTransfer(Record, frozen=True, kw_only=True):
    """Money moved between two of the tenant's own accounts, such as a payout from clearing to the bank."""

    data_type: ClassVar[str] = "bank_transfer"

    date: dt.date
    updated_at: dt.datetime | None = None
    currency: str
    amount: Decimal
    from_ledger_account: str
    to_ledger_account: str
    reference: str = ""
    status: Literal["open", "void"] = "open"
    exchange_rate: Decimal | None = None


class Expense(Record, frozen=True, kw_only=True):
    """Money spent from an account, such as a payment provider's fees from clearing."""

    data_type: ClassVar[str] = "expense"

    date: dt.date
    updated_at: dt.datetime | None = None
    currency: str
    amount: Decimal
    paid_from_ledger_account: str
    ledger_account: str
    supplier: Party = Party()
    description: str = ""
    reference: str = ""
    tax_rate: str = ""
    status: Literal["open", "void"] = "open"
    exchange_rate: Decimal | None = None


RECORD_TYPES: dict[str, type[Record]] = {
    cls.data_type: cls
    for cls in (
        Order,
        Refund,
        Payout,
        BalanceTransaction,
        Customer,
        Deal,
        Company,
        LedgerAccount,
        TaxRate,
        Invoice,
        CreditNote,
        CustomerPayment,
        BankTransfer,
        Expense,
    )
}

#: What people call each data type when no provider's own label is at hand: singular, plural.
DATA_TYPE_NAMES: dict[str, tuple[str, str]] = {
    "order": ("order", "orders"),
    "refund": ("refund", "refunds"),
    "payout": ("payout", "payouts"),
    "balance_transaction": ("balance transaction", "balance transactions"),
    "customer": ("customer", "customers"),
    "deal": ("deal", "deals"),
    "company": ("company", "companies"),
    "ledger_account": ("ledger account", "ledger accounts"),
    "tax_rate": ("tax rate", "tax rates"),
    "invoice": ("invoice", "invoices"),
    "credit_note": ("credit note", "credit notes"),
    "customer_payment": ("customer payment", "customer payments"),
    "bank_transfer": ("bank transfer", "bank transfers"),
    "expense": ("expense", "expenses"),
}


def encode(record: msgspec.Struct | Sequence[Any]) -> bytes:
    """Canonical JSON of a record, or of several and what belongs to them: amounts as strings, fields in order, so equal records
    give equal bytes."""
    return _ENCODER.encode(record)


def decode(data_type: str, body: bytes | str) -> Record:
    """The inverse of `encode`. Raises `msgspec.ValidationError` on a body of another type."""
    return _DECODERS[data_type].decode(body)


_ENCODER = msgspec.json.Encoder(decimal_format="string", order="deterministic")
_DECODERS = {name: msgspec.json.Decoder(cls) for name, cls in RECORD_TYPES.items()}
