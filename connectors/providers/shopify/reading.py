"""Shopify's objects as standard records. Connections arrive here as plain lists."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

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
)
from connectors.sdk.streams import RejectedRow, SourceRecord

Raw = dict[str, Any]
OrderStatus = Literal["open", "paid", "partly_paid", "refunded", "cancelled"]
PayoutStatus = Literal["scheduled", "in_transit", "paid", "failed", "cancelled"]

CENT = Decimal("0.01")
_ORDER_STATUS: dict[str, OrderStatus] = {
    "PAID": "paid",
    "PARTIALLY_REFUNDED": "paid",
    "PARTIALLY_PAID": "partly_paid",
    "REFUNDED": "refunded",
    "VOIDED": "cancelled",
}
_PAYOUT_STATUS: dict[str, PayoutStatus] = {
    "SCHEDULED": "scheduled",
    "IN_TRANSIT": "in_transit",
    "PAID": "paid",
    "FAILED": "failed",
    "CANCELED": "cancelled",
}
_ENCODER = msgspec.json.Encoder(order="deterministic", decimal_format="string")


def source(raw: Raw, reader: Callable[[Raw], Record], stamp_field: str = "updatedAt") -> SourceRecord | RejectedRow:
    """One row as read, or why it could not be read. The version is the time of change and a digest of the content."""
    external_id = number_of(str(raw.get("id", "")))
    try:
        record = reader(raw)
        updated_at = moment(raw[stamp_field])
    except Unreadable as error:
        return RejectedRow(external_id=external_id, reason=str(error), raw=raw)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        reason = f"Shopify sent this in a shape we do not know ({type(error).__name__}: {error})."
        return RejectedRow(external_id=external_id, reason=reason, raw=raw)
    version = f"{raw[stamp_field]}.{hashlib.sha256(_ENCODER.encode(raw)).hexdigest()[:12]}"
    return SourceRecord(external_id=external_id, version=version, record=record, raw=raw, updated_at=updated_at)


def number_of(gid: str) -> str:
    """The last part of `gid://shopify/Order/123`."""
    return gid.rpartition("/")[2].partition("?")[0]


def read_order(raw: Raw) -> Order:
    rounding = money(raw["totalCashRoundingAdjustment"]["paymentSet"])
    total = money(raw["totalPriceSet"]) + rounding
    return Order(
        id=number_of(raw["id"]),
        number=raw["name"],
        placed_at=moment(raw["processedAt"]),
        updated_at=moment(raw["updatedAt"]),
        currency=_currency(raw["currencyCode"]),
        total=total,
        tax_total=money(raw["totalTaxSet"]),
        discount_total=money(raw["totalDiscountsSet"]),
        shipping_total=money(raw["totalShippingPriceSet"]),
        taxes_included=bool(raw["taxesIncluded"]),
        status="cancelled" if raw["cancelledAt"] else _ORDER_STATUS.get(raw["displayFinancialStatus"] or "", "open"),
        is_test=bool(raw["test"]),
        customer=_party(raw),
        lines=_order_lines(raw, total, rounding),
        payments=_payments(raw["transactions"], {"SALE", "CAPTURE"}),
        country=_country(raw),
        channel=raw["sourceName"] or "",
        tags=tuple(raw["tags"]),
        note=raw["note"] or "",
    )


def _order_lines(raw: Raw, total: Decimal, rounding: Decimal) -> tuple[SaleLine, ...]:
    lines = [_item(node) for node in raw["lineItems"]]
    lines += [_shipping(node) for node in raw["shippingLines"]]
    if not raw["dutiesIncluded"]:
        lines += [_charge("duty", "Duties", duty) for node in raw["lineItems"] for duty in node["duties"]]
    lines += [_charge("adjustment", fee["name"], fee) for fee in raw["additionalFees"]]
    if rounding:
        lines.append(SaleLine(kind="rounding", description="Cash rounding", amount=rounding))
    lines = _with_tip(lines, money(raw["totalTipReceivedSet"]), total, raw["taxesIncluded"])
    return (*lines, *_difference(lines, total, raw["taxesIncluded"], raw["name"]))


def _item(node: Raw) -> SaleLine:
    discount = discounts(node)
    return SaleLine(
        kind="gift_card" if node["isGiftCard"] else "item",
        description=node["name"],
        quantity=Decimal(str(node["quantity"])),
        amount=money(node["originalTotalSet"]) - discount,
        discount_amount=discount,
        sku=node["sku"] or "",
        taxes=taxes(node),
    )


def _shipping(node: Raw) -> SaleLine:
    discount = discounts(node)
    return SaleLine(
        kind="shipping",
        description=node["title"],
        amount=money(node["originalPriceSet"]) - discount,
        discount_amount=discount,
        taxes=taxes(node),
    )


def _charge(kind: Literal["duty", "adjustment"], name: str, node: Raw) -> SaleLine:
    return SaleLine(kind=kind, description=name, amount=money(node["price"]), taxes=taxes(node))


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


def _difference(lines: list[SaleLine], total: Decimal, taxes_included: bool, name: str) -> tuple[SaleLine, ...]:
    """Converting each line into the shop's currency may lose a cent a line; a larger gap makes the order unreadable."""
    gap = total - sum_of(lines, taxes_included)
    if not gap:
        return ()
    if abs(gap) > CENT * max(1, len(lines)):
        raise Unreadable(f"The lines of {name} add up to {total - gap}, but Shopify's total is {total}.")
    return (SaleLine(kind="rounding", description="Rounding", amount=gap),)


def sum_of(lines: list[SaleLine], taxes_included: bool) -> Decimal:
    """What lines come to for the customer."""
    if taxes_included:
        return sum([line.amount for line in lines], ZERO)
    return sum([line.amount + line.tax_amount for line in lines], ZERO)


def read_refund(raw: Raw) -> Refund:
    """What was taken back: items, shipping, duties, and Shopify's adjustments, which are negative when money is given."""
    order = raw["order"]
    included = bool(order["taxesIncluded"])
    lines = [_refunded_item(node) for node in raw["refundLineItems"]]
    lines += [_refunded_shipping(node) for node in raw["refundShippingLines"]]
    lines += [_refunded_duty(node) for node in raw["duties"] or ()]
    lines += [_adjustment(node, included) for node in raw["orderAdjustments"]]
    return Refund(
        id=number_of(raw["id"]),
        order_id=number_of(order["id"]),
        order_number=order["name"],
        refunded_at=moment(raw["processedAt"]),
        updated_at=moment(raw["updatedAt"]),
        currency=_currency(order["currencyCode"]),
        total=sum_of(lines, included),
        tax_total=sum((line.tax_amount for line in lines), ZERO),
        taxes_included=included,
        is_test=bool(order["test"]),
        customer=_party(order),
        lines=tuple(lines),
        payments=_payments(raw["transactions"], {"REFUND"}),
        reason=raw["note"] or "",
        country=_country(order),
    )


def _refunded_item(node: Raw) -> SaleLine:
    item = node["lineItem"]
    return SaleLine(
        kind="gift_card" if item["isGiftCard"] else "item",
        description=item["name"],
        quantity=Decimal(str(node["quantity"])),
        amount=money(node["subtotalSet"]),
        sku=item["sku"] or "",
        taxes=shared_out(money(node["totalTaxSet"]), taxes(item)),
    )


def _refunded_shipping(node: Raw) -> SaleLine:
    return SaleLine(
        kind="shipping",
        description=node["shippingLine"]["title"],
        amount=money(node["subtotalAmountSet"]),
        taxes=shared_out(money(node["taxAmountSet"]), taxes(node["shippingLine"])),
    )


def _refunded_duty(node: Raw) -> SaleLine:
    return SaleLine(kind="duty", description="Duties", amount=money(node["amountSet"]))


def _adjustment(node: Raw, taxes_included: bool) -> SaleLine:
    tax = -money(node["taxAmountSet"])
    reason = str(node["reason"] or "Refund discrepancy").replace("_", " ").capitalize()
    return SaleLine(
        kind="adjustment",
        description=reason,
        amount=-money(node["amountSet"]) + (tax if taxes_included else ZERO),
        taxes=shared_out(tax, ()),
    )


def _payments(transactions: list[Raw], kinds: set[str]) -> tuple[SalePayment, ...]:
    """Money that really moved, cash rounding included."""
    return tuple(
        SalePayment(
            id=number_of(paid["id"]),
            method=paid["formattedGateway"] or paid["gateway"] or "",
            amount=money(paid["amountSet"]) + money(paid["amountRoundingSet"]),
            paid_at=moment(paid["processedAt"]),
            fee_amount=sum((amount(fee["amount"]) for fee in paid["fees"]), ZERO),
        )
        for paid in transactions
        if paid["status"] == "SUCCESS" and paid["kind"] in kinds
    )


def _party(raw: Raw) -> Party:
    """The customer, or a guest by the name on the address."""
    customer, billing = raw["customer"] or {}, raw["billingAddress"] or {}
    guest = billing.get("name") or (raw["shippingAddress"] or {}).get("name") or raw["email"] or ""
    return Party(
        id=number_of(customer.get("id", "")),
        name=customer.get("displayName") or guest,
        email=raw["email"] or "",
        country=billing.get("countryCodeV2") or "",
    )


def _country(raw: Raw) -> str:
    """Where the goods went, else who paid: what decides on tax."""
    for place in (raw["shippingAddress"], raw["billingAddress"]):
        if place and place["countryCodeV2"]:
            return str(place["countryCodeV2"])
    return ""


def _currency(code: str) -> str:
    if not code:
        raise Unreadable("Shopify named no currency.")
    return code


def read_payout(raw: Raw) -> Payout:
    """Reserves, advances and retried payouts are what is left between the parts and the net."""
    summary = {name: amount(value) for name, value in raw["summary"].items()}
    gross, refunds = summary["chargesGross"], abs(summary["refundsFeeGross"])
    fees = sum((value for name, value in summary.items() if name.endswith(("Fee", "Fees"))), ZERO)
    net = amount(raw["net"])
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
