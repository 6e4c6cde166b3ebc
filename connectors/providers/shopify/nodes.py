"""Orders and refunds as Shopify answers them: the fields that are read, by the names of its schema, decoded straight from the text.

What is worked on further (amounts, rates, instants) stays as it came, so that what is wrong with it can be said in words.
"""

from __future__ import annotations

from typing import Any

import msgspec

from connectors.sdk.client import TypedDecoder


class Node(msgspec.Struct, rename="camel", gc=False):
    """One object; whatever else it holds is kept in the raw row only."""


class Amount(Node):
    """MoneyV2: the amount is text."""

    amount: Any


class Money(Node):
    """A MoneyBag by its shop-currency side."""

    shop_money: Amount


class TaxLine(Node):
    title: str
    rate: Any
    price_set: Money | None
    channel_liable: bool | None = None


class Discount(Node):
    allocated_amount_set: Money | None


class Charge(Node):
    """A duty or an additional fee."""

    price: Money | None
    tax_lines: list[TaxLine]
    name: str = ""


class Item(Node):
    name: str
    quantity: Any
    sku: str | None
    is_gift_card: bool | None
    original_total_set: Money | None
    discount_allocations: list[Discount]
    tax_lines: list[TaxLine]
    duties: list[Charge]
    id: str = ""


class Shipping(Node):
    title: str
    original_price_set: Money | None
    discount_allocations: list[Discount]
    tax_lines: list[TaxLine]
    id: str | None = ""


class Buyer(Node):
    id: str = ""
    display_name: str | None = ""


class Address(Node):
    country_code_v2: str | None = msgspec.field(name="countryCodeV2")
    name: str | None = ""
    company: str | None = ""


class Fee(Node):
    amount: Amount


class Transaction(Node):
    id: str
    kind: str
    status: str
    gateway: str | None
    formatted_gateway: str | None
    processed_at: Any
    amount_set: Money | None
    amount_rounding_set: Money | None
    fees: list[Fee]


class Rounding(Node):
    payment_set: Money | None


class Reference(Node):
    id: str


class Head(Node):
    """What a refund tells of its order, too."""

    id: str
    name: str
    currency_code: str
    taxes_included: bool | None
    test: bool | None
    email: str | None
    customer: Buyer | None
    billing_address: Address | None
    shipping_address: Address | None


class OrderNode(Head):
    processed_at: Any
    updated_at: Any
    cancelled_at: Any
    duties_included: bool | None
    display_financial_status: str | None
    source_name: str | None
    tags: list[str]
    note: str | None
    total_price_set: Money | None
    total_tax_set: Money | None
    total_discounts_set: Money | None
    total_shipping_price_set: Money | None
    total_tip_received_set: Money | None
    total_cash_rounding_adjustment: Rounding
    additional_fees: list[Charge]
    transactions: list[Transaction]
    refunds: list[Reference]
    line_items: list[Item]
    shipping_lines: list[Shipping]


class RefundedItem(Node):
    quantity: Any
    subtotal_set: Money | None
    total_tax_set: Money | None
    line_item: SoldItem
    id: str | None = ""


class SoldItem(Node):
    name: str
    sku: str | None
    is_gift_card: bool | None
    tax_lines: list[TaxLine]


class RefundedShipping(Node):
    subtotal_amount_set: Money | None
    tax_amount_set: Money | None
    shipping_line: SoldShipping
    id: str = ""


class SoldShipping(Node):
    title: str
    tax_lines: list[TaxLine]


class RefundedDuty(Node):
    amount_set: Money | None


class Adjustment(Node):
    reason: str | None
    amount_set: Money | None
    tax_amount_set: Money | None
    id: str = ""


class RefundNode(Node):
    id: str
    processed_at: Any
    updated_at: Any
    note: str | None
    duties: list[RefundedDuty] | None
    order: Head
    refund_line_items: list[RefundedItem]
    refund_shipping_lines: list[RefundedShipping]
    order_adjustments: list[Adjustment]
    transactions: list[Transaction]


class WithRefunds(Node):
    """An order, for its refunds alone."""

    refunds: list[Reference]


class Line(Node):
    """A line of a bulk operation's file, for what belongs together. Whatever is wrong with it is said of the object it belongs to."""

    id: Any = ""
    parent_id: Any = msgspec.field(name="__parentId", default="")
    updated_at: Any = ""
    issued_at: Any = ""

    @property
    def stamp(self) -> str:
        """The time of change; empty without one."""
        said = self.updated_at or self.issued_at
        return said if isinstance(said, str) else ""


ORDER = TypedDecoder(OrderNode)
REFUND = TypedDecoder(RefundNode)
WITH_REFUNDS = TypedDecoder(WithRefunds)
LINE = TypedDecoder(Line)
