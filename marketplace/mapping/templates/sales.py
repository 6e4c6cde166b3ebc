"""Orders -> invoices and payments, and won deals -> invoices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from connectors.sdk.records import CustomerPayment, Deal, Invoice, Order, SalePayment
from marketplace.mapping.mapped import Mapped
from marketplace.mapping.plan import Circumstances, Excluded, Held, PlannedDocument
from marketplace.mapping.steps import as_date
from marketplace.mapping.templates.base import (
    NOTHING,
    TargetField,
    Template,
    of_constant,
    of_expression,
    of_field,
    of_map,
)
from marketplace.mapping.templates.common import (
    base_amount_of,
    check_ledger_accounts,
    check_money_accounts,
    document_lines,
    joined_memo,
    open_date,
    party_of,
    tax_mode_of,
    with_rounding,
)

INCOME = ("income",)
MONEY_IN = ("bank", "asset", "liability")


def sale_fields(document: str, *, date_path: str, number: str, reference: str) -> tuple[TargetField, ...]:
    """The fields invoices and credit notes have in common."""
    return (*_line_fields(document), *_head_fields(document, date_path, number, reference))


def _line_fields(document: str) -> tuple[TargetField, ...]:
    return (
        _account_field(
            document,
            "sales_ledger_account",
            "Sales",
            kinds=INCOME,
            is_required=True,
            is_essential=True,
            hint="Where the items sold are booked.",
        ),
        _account_field(
            document,
            "shipping_ledger_account",
            "Shipping charged",
            kinds=INCOME,
            is_essential=True,
            hint="Empty: booked with sales.",
        ),
        TargetField(
            name="tax_rates",
            label="Tax rate",
            target=(document, "lines.tax_rate"),
            kind="choice",
            choices="tax_rate",
            map_over="tax",
            default=of_map(),
            hint="What each tax of the source is in the ledger.",
        ),
        _account_field(
            document,
            "gift_card_ledger_account",
            "Gift cards sold",
            kinds=("liability",),
            default=NOTHING,
            hint="A gift card is owed, not earned. Empty: booked with sales.",
        ),
        _account_field(
            document,
            "tip_ledger_account",
            "Tips",
            kinds=("income", "liability"),
            default=NOTHING,
            hint="Empty: booked with sales.",
        ),
        _account_field(
            document,
            "rounding_ledger_account",
            "Rounding",
            kinds=("income", "expense", "liability"),
            default=NOTHING,
            hint="Where a cent of rounding goes. Empty: such an order is held.",
        ),
    )


def _account_field(document: str, name: str, label: str, **kwargs: Any) -> TargetField:
    """The ledger account one kind of line is booked on."""
    return TargetField(
        name=name,
        label=label,
        target=(document, "lines.ledger_account"),
        kind="choice",
        choices="ledger_account",
        **kwargs,
    )


def _head_fields(document: str, date_path: str, number: str, reference: str) -> tuple[TargetField, ...]:
    return (
        TargetField(
            name="contact",
            label="Customer on the document",
            target=(document, "customer"),
            default=of_constant(""),
            hint="One name for all sales, such as “Online shop customers”. Empty: each buyer.",
        ),
        TargetField(
            name="date",
            label="Date",
            target=(document, "date"),
            kind="date",
            default=of_field(date_path),
            is_required=True,
        ),
        TargetField(
            name="number", label="Number", target=(document, "number"), default=of_expression(number), is_required=True
        ),
        TargetField(
            name="reference", label="Reference", target=(document, "reference"), default=of_expression(reference)
        ),
        TargetField(name="memo", label="Memo", target=(document, "memo"), default=NOTHING),
    )


PAYMENT_ACCOUNTS = TargetField(
    name="payment_ledger_accounts",
    label="Paid into",
    target=("customer_payment", "ledger_account"),
    kind="choice",
    choices="ledger_account",
    kinds=MONEY_IN,
    map_over="payment_method",
    default=of_map(),
    is_essential=True,
    hint="Where the money of each payment method waits until it reaches the bank: usually a clearing account.",
)
DUE_DATE = TargetField(
    name="due_date", label="Due date", target=("invoice", "due_date"), kind="date", default=of_field("placed_at")
)


def build_sale(order: Order, mapped: Mapped, circumstances: Circumstances) -> list[PlannedDocument]:
    """One invoice with the order's lines, and one payment for each payment received."""
    _refuse_unposted(order, circumstances)
    values = mapped.fields(order, circumstances)
    what = f"Order {order.number}"
    date, note = open_date(values["date"], circumstances, what)
    lines = with_rounding(
        document_lines(order.lines, mapped, values),
        total=order.total,
        taxes_included=order.taxes_included,
        values=values,
        mapped=mapped,
        currency=order.currency,
        what=what,
    )
    check_ledger_accounts([line.ledger_account for line in lines], circumstances)
    customer = party_of(order.customer, values, circumstances)
    invoice = Invoice(
        id="",
        number=values["number"],
        reference=values["reference"],
        date=date,
        due_date=max(date, values["due_date"] or date),
        currency=order.currency,
        customer=customer,
        tax_mode=tax_mode_of(order.taxes_included, lines),
        lines=lines,
        total=order.total,
        tax_total=sum([line.tax_amount for line in lines], Decimal(0)),
        memo=joined_memo(values["memo"], note),
    )
    payments = [
        _payment(order, payment, invoice, mapped, circumstances) for payment in order.payments if payment.amount > 0
    ]
    return [PlannedDocument(purpose="invoice", document=invoice), *payments]


def _refuse_unposted(order: Order, circumstances: Circumstances) -> None:
    if order.is_test:
        raise Excluded("test", "It is a test order.")
    if not circumstances.is_source_of_truth:
        raise Excluded("not_source_of_truth", "Another system is the source of truth for orders.")
    if order.status == "cancelled":
        raise Excluded("cancelled", "It was cancelled.")
    if order.total == 0:
        raise Excluded("zero", "Its total is zero: there is nothing to book.")
    if order.status == "open":
        raise Excluded("unpaid", "It is not paid yet. It is posted as soon as a payment arrives.")


def _payment(
    order: Order, payment: SalePayment, invoice: Invoice, mapped: Mapped, circumstances: Circumstances
) -> PlannedDocument:
    account = mapped.maps["payment_ledger_accounts"][payment.method]
    check_ledger_accounts([account], circumstances)
    what = f"A payment of order {order.number}"
    check_money_accounts([account], order.currency, circumstances, or_base=True, what=what)
    paid_on = as_date(payment.paid_at, circumstances.time_zone) or invoice.date
    date, _ = open_date(max(paid_on, invoice.date), circumstances, what)
    document = CustomerPayment(
        id="",
        date=date,
        currency=order.currency,
        amount=payment.amount,
        base_amount=base_amount_of(payment, account, circumstances),
        ledger_account=account,
        document_number=invoice.number,
        customer=invoice.customer,
        reference=invoice.reference,
    )
    return PlannedDocument(purpose=f"payment:{payment.id}"[:60], document=document, needs="invoice")


def build_deal(deal: Deal, mapped: Mapped, circumstances: Circumstances) -> list[PlannedDocument]:
    """One open invoice for a deal that was won."""
    if not deal.is_won:
        raise Excluded("not_won", "The deal is not won yet.")
    if not circumstances.is_source_of_truth:
        raise Excluded("not_source_of_truth", "Another system is the source of truth for deals.")
    if not deal.lines:
        raise Held(
            "no_lines",
            f"Deal {deal.number} has no lines to invoice.",
            owner="owner",
            next_step="Add the products sold to the deal at the source.",
        )
    values = mapped.fields(deal, circumstances)
    what = f"Deal {deal.number}"
    date, note = open_date(values["date"], circumstances, what)
    lines = with_rounding(
        document_lines(deal.lines, mapped, values),
        total=deal.total,
        taxes_included=False,
        values=values,
        mapped=mapped,
        currency=deal.currency,
        what=what,
    )
    check_ledger_accounts([line.ledger_account for line in lines], circumstances)
    invoice = Invoice(
        id="",
        number=values["number"],
        reference=values["reference"],
        date=date,
        due_date=max(date, values["due_date"] or date),
        currency=deal.currency,
        customer=party_of(deal.customer, values, circumstances),
        tax_mode=tax_mode_of(False, lines),
        lines=lines,
        total=deal.total,
        tax_total=sum([line.tax_amount for line in lines], Decimal(0)),
        memo=joined_memo(values["memo"], note),
    )
    return [PlannedDocument(purpose="invoice", document=invoice)]


ORDERS = Template(
    slug="orders",
    name="Orders → invoices and payments",
    summary="Every paid order becomes an invoice with its payments, on the accounts you choose.",
    source_type="order",
    needs=("invoice", "customer_payment"),
    main_type="invoice",
    fields=(
        *sale_fields("invoice", date_path="placed_at", number="trim(number)", reference="number"),
        PAYMENT_ACCOUNTS,
        DUE_DATE,
    ),
    build=build_sale,
)
DEALS = Template(
    slug="deals",
    name="Won deals → invoices",
    summary="A deal marked as won becomes an open invoice.",
    source_type="deal",
    needs=("invoice",),
    main_type="invoice",
    fields=(
        *sale_fields("invoice", date_path="closed_at", number="trim(number)", reference="number"),
        TargetField(
            name="due_date",
            label="Due date",
            target=("invoice", "due_date"),
            kind="date",
            default=of_field("closed_at", ["add_days", "30"]),
        ),
    ),
    build=build_deal,
)
