"""Shopify's objects as standard records. Connections arrive here as plain lists; orders and refunds, which are many, as text."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, TypeVar

import msgspec

from connectors.providers.shopify.amounts import (
    ZERO,
    Unreadable,
    amount,
    discounts,
    moment,
    money,
    shared_out,
    taxes,
)
from connectors.providers.shopify.nodes import (
    LINE,
    Adjustment,
    Charge,
    Head,
    Item,
    OrderNode,
    RefundedDuty,
    RefundedItem,
    RefundedShipping,
    RefundNode,
    Shipping,
    Transaction,
)
from connectors.sdk.client import TypedDecoder, parse_json
from connectors.sdk.currencies import minor_unit
from connectors.sdk.records import (
    Address,
    Company,
    Customer,
    Order,
    Party,
    Payout,
    Record,
    Refund,
    SaleLine,
    SalePayment,
    encode,
)
from connectors.sdk.streams import RejectedRow, SourceRecord

Raw = dict[str, Any]
N = TypeVar("N", OrderNode, RefundNode)
OrderStatus = Literal["open", "paid", "partly_paid", "refunded", "cancelled"]
PayoutStatus = Literal["scheduled", "in_transit", "paid", "failed", "cancelled"]

_ORDER_STATUS: dict[str, OrderStatus] = {
    "PAID": "paid",
    "PARTIALLY_REFUNDED": "paid",
    "PARTIALLY_PAID": "partly_paid",
    "REFUNDED": "refunded",
    "VOIDED": "cancelled",
}
_RECEIVED, _GIVEN_BACK = frozenset({"SALE", "CAPTURE"}), frozenset({"REFUND"})
_PAYOUT_STATUS: dict[str, PayoutStatus] = {
    "SCHEDULED": "scheduled",
    "IN_TRANSIT": "in_transit",
    "PAID": "paid",
    "FAILED": "failed",
    "CANCELED": "cancelled",
}
_UNREADABLE = (Unreadable, KeyError, TypeError, ValueError, ArithmeticError, AttributeError)
_ENCODER = msgspec.json.Encoder(order="deterministic", decimal_format="string")


def source(raw: Raw, reader: Callable[[Raw], Record], stamp_field: str = "updatedAt") -> SourceRecord | RejectedRow:
    """One object as read, or why it could not be read. The version is the time of change and a digest of the content."""
    external_id = number_of(str(raw.get("id", "")))
    try:
        record = reader(raw)
        updated_at = moment(raw[stamp_field])
    except _UNREADABLE as error:
        return RejectedRow(external_id=external_id, reason=_reason(error), raw=raw)
    version = _version(raw[stamp_field], _ENCODER.encode(raw))
    return SourceRecord(external_id=external_id, version=version, record=record, raw=raw, updated_at=updated_at)


def text_source(
    row: str, reader: Callable[[Raw], Record], stamp_field: str = "updatedAt"
) -> SourceRecord | RejectedRow:
    """The same for the text of an object."""
    try:
        raw = parse_json(row)
    except ValueError as error:
        return _rejected(row, error)
    return source(raw, reader, stamp_field)


def node_source(row: str, shape: TypedDecoder[N], reader: Callable[[N], Order | Refund]) -> SourceRecord | RejectedRow:
    """The same for the text of an order or a refund, which is kept as it came."""
    try:
        node = shape.decode(row)
        record = reader(node)
    except _UNREADABLE as error:
        return _rejected(row, error)
    body = encode(record)
    return SourceRecord(
        external_id=record.id,
        version=_version(node.updated_at, body),
        record=record,
        raw=row,
        updated_at=record.updated_at,
        encoded=body,
    )


def _rejected(row: str, error: Exception) -> RejectedRow:
    try:
        return RejectedRow(
            external_id=number_of(str(LINE.decode(row).id or "")), reason=_reason(error), raw=parse_json(row)
        )
    except ValueError:
        return RejectedRow(external_id="", reason=_reason(error), raw=row)


def _version(stamp: str, content: bytes) -> str:
    return f"{stamp}.{hashlib.sha256(content).hexdigest()[:12]}"


def _reason(error: Exception) -> str:
    if isinstance(error, Unreadable):
        return str(error)
    return f"Shopify sent this in a shape we do not know ({type(error).__name__}: {error})."


def number_of(gid: str) -> str:
    """The last part of `gid://shopify/Order/123`."""
    return gid.rpartition("/")[2].partition("?")[0]


def read_order(node: OrderNode) -> Order:
    rounding = money(node.total_cash_rounding_adjustment.payment_set)
    total = money(node.total_price_set) + rounding
    return Order(
        id=number_of(node.id),
        number=node.name,
        placed_at=moment(node.processed_at),
        updated_at=moment(node.updated_at),
        currency=_currency(node.currency_code),
        total=total,
        tax_total=money(node.total_tax_set),
        discount_total=money(node.total_discounts_set),
        shipping_total=money(node.total_shipping_price_set),
        taxes_included=bool(node.taxes_included),
        status="cancelled" if node.cancelled_at else _ORDER_STATUS.get(node.display_financial_status or "", "open"),
        is_test=bool(node.test),
        customer=_party(node),
        lines=_order_lines(node, total, rounding),
        payments=_payments(node.transactions, _RECEIVED),
        country=_country(node),
        channel=node.source_name or "",
        tags=tuple(node.tags),
        note=node.note or "",
    )


def _order_lines(node: OrderNode, total: Decimal, rounding: Decimal) -> tuple[SaleLine, ...]:
    included = bool(node.taxes_included)
    lines = [_item(item) for item in node.line_items]
    lines += [_shipping(line) for line in node.shipping_lines]
    if not node.duties_included:
        lines += [_charge("duty", "Duties", duty) for item in node.line_items for duty in item.duties]
    lines += [_charge("adjustment", fee.name, fee) for fee in node.additional_fees]
    if rounding:
        lines.append(SaleLine(kind="rounding", description="Cash rounding", amount=rounding))
    lines = _with_tip(lines, money(node.total_tip_received_set), total, included)
    return (*lines, *_difference(lines, total, included, node.name, minor_unit(node.currency_code)))


def _item(item: Item) -> SaleLine:
    discount = discounts(item.discount_allocations)
    return SaleLine(
        kind="gift_card" if item.is_gift_card else "item",
        description=item.name,
        quantity=_quantity(item.quantity),
        amount=money(item.original_total_set) - discount,
        discount_amount=discount,
        sku=item.sku or "",
        taxes=taxes(item.tax_lines),
    )


def _quantity(value: Any) -> Decimal:
    return Decimal(value) if type(value) is int else Decimal(str(value))


def _shipping(line: Shipping) -> SaleLine:
    discount = discounts(line.discount_allocations)
    return SaleLine(
        kind="shipping",
        description=line.title,
        amount=money(line.original_price_set) - discount,
        discount_amount=discount,
        taxes=taxes(line.tax_lines),
    )


def _charge(kind: Literal["duty", "adjustment"], name: str, charge: Charge) -> SaleLine:
    return SaleLine(kind=kind, description=name, amount=money(charge.price), taxes=taxes(charge.tax_lines))


def _with_tip(lines: list[SaleLine], tip: Decimal, total: Decimal, taxes_included: bool) -> list[SaleLine]:
    """Shopify tells the tips as a total; where it lists one among the items, too, that item is the tip."""
    if not tip:
        return lines
    if sum_of(lines, taxes_included) != total:
        return [*lines, SaleLine(kind="tip", description="Tip", amount=tip)]
    return [
        msgspec.structs.replace(line, kind="tip")
        if line.kind == "item" and line.amount == tip and not line.sku
        else line
        for line in lines
    ]


def _difference(
    lines: list[SaleLine], total: Decimal, taxes_included: bool, name: str, unit: Decimal
) -> tuple[SaleLine, ...]:
    """Converting each line into the shop's currency may lose the smallest unit of it a line; a larger gap makes the order unreadable."""
    gap = total - sum_of(lines, taxes_included)
    if not gap:
        return ()
    if abs(gap) > unit * max(1, len(lines)):
        raise Unreadable(f"The lines of {name} add up to {total - gap}, but Shopify's total is {total}.")
    return (SaleLine(kind="rounding", description="Rounding", amount=gap),)


def sum_of(lines: list[SaleLine], taxes_included: bool) -> Decimal:
    """What lines come to for the customer."""
    if taxes_included:
        return sum([line.amount for line in lines], ZERO)
    return sum([line.amount + line.tax_amount for line in lines], ZERO)


def read_refund(node: RefundNode) -> Refund:
    """What was taken back: items, shipping, duties, and Shopify's adjustments, which are negative when money is given."""
    order = node.order
    included = bool(order.taxes_included)
    lines = [_refunded_item(item) for item in node.refund_line_items]
    lines += [_refunded_shipping(line) for line in node.refund_shipping_lines]
    lines += [_refunded_duty(duty) for duty in node.duties or ()]
    lines += [_adjustment(adjustment, included) for adjustment in node.order_adjustments]
    return Refund(
        id=number_of(node.id),
        order_id=number_of(order.id),
        order_number=order.name,
        refunded_at=moment(node.processed_at),
        updated_at=moment(node.updated_at),
        currency=_currency(order.currency_code),
        total=sum_of(lines, included),
        tax_total=sum((line.tax_amount for line in lines), ZERO),
        taxes_included=included,
        is_test=bool(order.test),
        customer=_party(order),
        lines=tuple(lines),
        payments=_payments(node.transactions, _GIVEN_BACK),
        reason=node.note or "",
        country=_country(order),
    )


def _refunded_item(refunded: RefundedItem) -> SaleLine:
    item = refunded.line_item
    return SaleLine(
        kind="gift_card" if item.is_gift_card else "item",
        description=item.name,
        quantity=_quantity(refunded.quantity),
        amount=money(refunded.subtotal_set),
        sku=item.sku or "",
        taxes=shared_out(money(refunded.total_tax_set), taxes(item.tax_lines)),
    )


def _refunded_shipping(refunded: RefundedShipping) -> SaleLine:
    return SaleLine(
        kind="shipping",
        description=refunded.shipping_line.title,
        amount=money(refunded.subtotal_amount_set),
        taxes=shared_out(money(refunded.tax_amount_set), taxes(refunded.shipping_line.tax_lines)),
    )


def _refunded_duty(duty: RefundedDuty) -> SaleLine:
    return SaleLine(kind="duty", description="Duties", amount=money(duty.amount_set))


def _adjustment(adjustment: Adjustment, taxes_included: bool) -> SaleLine:
    tax = -money(adjustment.tax_amount_set)
    reason = (adjustment.reason or "Refund discrepancy").replace("_", " ").capitalize()
    return SaleLine(
        kind="adjustment",
        description=reason,
        amount=-money(adjustment.amount_set) + (tax if taxes_included else ZERO),
        taxes=shared_out(tax, ()),
    )


def _payments(transactions: Sequence[Transaction], kinds: frozenset[str]) -> tuple[SalePayment, ...]:
    """Money that really moved, cash rounding included."""
    return tuple(
        [
            SalePayment(
                id=number_of(paid.id),
                method=paid.formatted_gateway or paid.gateway or "",
                amount=money(paid.amount_set) + money(paid.amount_rounding_set),
                paid_at=moment(paid.processed_at),
                fee_amount=sum((amount(fee.amount.amount) for fee in paid.fees), ZERO),
            )
            for paid in transactions
            if paid.status == "SUCCESS" and paid.kind in kinds
        ]
    )


def _party(node: Head) -> Party:
    """The customer, or a guest by the name on the address."""
    customer, billing = node.customer, node.billing_address
    name = customer.display_name if customer is not None else ""
    return Party(
        id=number_of(customer.id) if customer is not None else "",
        name=name or _guest(node),
        email=node.email or "",
        country=(billing.country_code_v2 if billing is not None else "") or "",
    )


def _guest(node: Head) -> str:
    for place in (node.billing_address, node.shipping_address):
        if place is not None and place.name:
            return place.name
    return node.email or ""


def _country(node: Head) -> str:
    """Where the goods went, else who paid: what decides on tax."""
    for place in (node.shipping_address, node.billing_address):
        if place is not None and place.country_code_v2:
            return place.country_code_v2
    return ""


def _currency(code: str) -> str:
    if not code:
        raise Unreadable("Shopify named no currency.")
    return code


def read_payout(raw: Raw) -> Payout:
    """Reserves, advances and retried payouts are what is left between the parts and the net."""
    summary = {name: amount(value["amount"]) for name, value in raw["summary"].items()}
    gross, refunds = summary["chargesGross"], abs(summary["refundsFeeGross"])
    fees = sum((value for name, value in summary.items() if name.endswith(("Fee", "Fees"))), ZERO)
    net = amount(raw["net"]["amount"])
    if raw["transactionType"] == "WITHDRAWAL":
        net = -abs(net)
    issued_at = moment(raw["issuedAt"])
    return Payout(
        id=number_of(raw["id"]),
        number=str(raw["legacyResourceId"]),
        paid_date=issued_at.astimezone(dt.UTC).date(),
        updated_at=issued_at,
        currency=_currency(raw["net"]["currencyCode"]),
        gross=gross,
        fees=fees,
        refunds=refunds,
        adjustments=net - gross + fees + refunds,
        net=net,
        status=_PAYOUT_STATUS[raw["status"]],
        bank_reference=raw["externalTraceId"] or "",
    )


def read_customer(raw: Raw) -> Customer:
    address = raw["defaultAddress"] or {}
    return Customer(
        id=number_of(raw["id"]),
        name=raw["displayName"],
        updated_at=moment(raw["updatedAt"]),
        email=(raw["defaultEmailAddress"] or {}).get("emailAddress") or "",
        phone=(raw["defaultPhoneNumber"] or {}).get("phoneNumber") or "",
        company=address.get("company") or "",
        address=Address(
            line1=address.get("address1") or "",
            line2=address.get("address2") or "",
            city=address.get("city") or "",
            region=address.get("provinceCode") or address.get("province") or "",
            postal_code=address.get("zip") or "",
            country=address.get("countryCodeV2") or "",
        ),
    )


def read_company(raw: Mapping[str, Any]) -> Company:
    return Company(
        id=raw["myshopifyDomain"],
        name=raw["name"],
        base_currency=_currency(raw["currencyCode"]),
        country=(raw["shopAddress"] or {}).get("countryCodeV2") or "",
        time_zone=raw["ianaTimezone"],
    )
