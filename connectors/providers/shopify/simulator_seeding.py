"""Standard records as a shop's own objects, as if staff or Shopify itself had entered them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from connectors.providers.shopify.simulator_shop import Shop, bag, gid, money, stamp, tail, worth
from connectors.sdk.records import Customer, Order, Payout, Refund, SaleLine, SalePayment, Tax
from connectors.testing.routing import Refused
from connectors.testing.store import Body

ZERO = Decimal(0)

_FINANCIAL = {
    "open": "PENDING",
    "paid": "PAID",
    "partly_paid": "PARTIALLY_PAID",
    "refunded": "REFUNDED",
    "cancelled": "VOIDED",
}
_PAYOUT = {
    "scheduled": "SCHEDULED",
    "in_transit": "IN_TRANSIT",
    "paid": "PAID",
    "failed": "FAILED",
    "cancelled": "CANCELED",
}


class Seeder:
    """Writes into one shop."""

    def __init__(self, shop: Shop, now: dt.datetime) -> None:
        self.shop = shop
        self.now = now

    # ------------------------------------------------------------------ orders

    def order(self, record: Order) -> Body:
        """Raises `Refused` when the lines do not add up to the total."""
        if record.currency != self.shop.currency:
            raise Refused(400, f"This shop sells in {self.shop.currency}, not {record.currency}.")
        lines = record.lines or (SaleLine(description="Custom sale", amount=record.total),)
        tax = sum((line.tax_amount for line in lines), ZERO)
        total = sum((line.amount for line in lines), ZERO) + (ZERO if record.taxes_included else tax)
        if total != record.total:
            raise Refused(400, f"The lines of {record.number} add up to {total}, not to {record.total}.")
        known = self.shop.get("Order", gid("Order", record.id)) if record.id else None
        body = {
            **self._order_head(record, known),
            **self._order_totals(record, lines, tax or record.tax_total),
            **self._order_lines(lines),
            "transactions": [self._transaction(paid, "SALE", record.is_test) for paid in record.payments],
            "refundIds": known["refundIds"] if known else [],
        }
        self._count_refunds(body)
        return self.shop.put("Order", body)

    def _order_head(self, record: Order, known: Body | None) -> Body:
        number = int("".join(re.findall(r"\d", record.number)) or 0)
        cancelled_at = stamp(record.updated_at) if record.status == "cancelled" else None
        billing = self._place(record.customer.name, record.customer.country)
        return {
            "id": known["id"] if known else self._id("Order", record.id),
            "name": record.number,
            "number": number,
            "createdAt": stamp(record.placed_at),
            "processedAt": stamp(record.placed_at),
            "updatedAt": stamp(record.updated_at),
            "closedAt": None,
            "cancelledAt": cancelled_at,
            "cancelReason": "OTHER" if cancelled_at else None,
            "test": record.is_test,
            "currencyCode": record.currency,
            "presentmentCurrencyCode": record.currency,
            "taxesIncluded": record.taxes_included,
            "taxExempt": False,
            "dutiesIncluded": False,
            "edited": False,
            "email": record.customer.email or None,
            "phone": None,
            "poNumber": None,
            "displayFinancialStatus": _FINANCIAL[record.status],
            "sourceName": record.channel or "web",
            "tags": sorted(record.tags),
            "note": record.note or None,
            "customerId": self._customer_of(record),
            "billingAddress": billing,
            "shippingAddress": self._place(record.customer.name, record.country) if record.country else None,
            "paymentGatewayNames": sorted({paid.method for paid in record.payments}),
        }

    def _place(self, name: str, country: str) -> Body | None:
        if not (name or country):
            return None
        first, _, last = name.rpartition(" ")
        return {
            "id": self.shop.new_id("MailingAddress"),
            "name": name,
            "firstName": first or None,
            "lastName": last or None,
            "countryCodeV2": country or None,
        }

    def _customer_of(self, record: Order) -> str | None:
        """A buyer with an id or an e-mail is a customer; one with a name only bought as a guest."""
        party = record.customer
        if not (party.id or party.email):
            return None
        known = self.shop.get("Customer", gid("Customer", party.id)) if party.id else None
        known = known or self.shop.customer_with(party.email)
        if known is None:
            buyer = Customer(id=party.id, name=party.name, email=party.email, updated_at=record.placed_at)
            known = self.customer(buyer)
        return str(known["id"])

    def _order_totals(self, record: Order, lines: Sequence[SaleLine], tax: Decimal) -> Body:
        def total(*kinds: str) -> Decimal:
            return sum((line.amount for line in lines if line.kind in kinds), ZERO)

        discount = record.discount_total or sum((line.discount_amount for line in lines), ZERO)
        received = sum((paid.amount for paid in record.payments), ZERO)
        rounding = total("rounding")
        price = record.total - rounding
        set_ = self._bag
        return {
            "subtotalPriceSet": set_(total("item", "gift_card")),
            "totalPriceSet": set_(price),
            "currentTotalPriceSet": set_(price),
            "originalTotalPriceSet": set_(price),
            "totalTaxSet": set_(tax),
            "totalDiscountsSet": set_(discount),
            "totalShippingPriceSet": set_(record.shipping_total or total("shipping")),
            "totalTipReceivedSet": set_(total("tip")),
            "totalReceivedSet": set_(received),
            "totalRefundedSet": set_(ZERO),
            "totalOutstandingSet": set_(record.total - received),
            "totalCashRoundingAdjustment": {"paymentSet": set_(rounding), "refundSet": set_(ZERO)},
        }

    def _order_lines(self, lines: Sequence[SaleLine]) -> Body:
        items = [self._line_item(line) for line in lines if line.kind in ("item", "gift_card")]
        duties = [line for line in lines if line.kind == "duty"]
        fees = [line for line in lines if line.kind == "adjustment" or (line.kind == "duty" and not items)]
        if items:
            items[0]["duties"] = [self._charge("Duty", line) for line in duties]
        return {
            "lineItems": items,
            "shippingLines": [self._shipping_line(line) for line in lines if line.kind == "shipping"],
            "additionalFees": [{**self._charge("AdditionalFee", line), "name": line.description} for line in fees],
            "taxLines": [tax for line in lines for tax in self._taxes(line.taxes)],
        }

    def _line_item(self, line: SaleLine) -> Body:
        original = line.amount + line.discount_amount
        quantity = max(1, int(line.quantity))
        return {
            "id": self.shop.new_id("LineItem"),
            "name": line.description,
            "title": line.description,
            "variantTitle": None,
            "vendor": None,
            "sku": line.sku or None,
            "quantity": quantity,
            "currentQuantity": quantity,
            "isGiftCard": line.kind == "gift_card",
            "requiresShipping": line.kind == "item",
            "taxable": bool(line.taxes),
            "originalUnitPriceSet": self._bag((original / quantity).quantize(Decimal("0.01"))),
            "originalTotalSet": self._bag(original),
            "discountedTotalSet": self._bag(line.amount),
            "totalDiscountSet": self._bag(line.discount_amount),
            "discountAllocations": self._discounts(line),
            "taxLines": self._taxes(line.taxes),
            "duties": [],
        }

    def _shipping_line(self, line: SaleLine) -> Body:
        return {
            "id": self.shop.new_id("ShippingLine"),
            "title": line.description,
            "code": line.description,
            "source": "shopify",
            "custom": False,
            "isRemoved": False,
            "originalPriceSet": self._bag(line.amount + line.discount_amount),
            "discountedPriceSet": self._bag(line.amount),
            "discountAllocations": self._discounts(line),
            "taxLines": self._taxes(line.taxes),
        }

    def _charge(self, type_: str, line: SaleLine) -> Body:
        return {
            "id": self.shop.new_id(type_),
            "price": self._bag(line.amount),
            "taxLines": self._taxes(line.taxes),
        }

    def _discounts(self, line: SaleLine) -> list[Body]:
        return [{"allocatedAmountSet": self._bag(line.discount_amount)}] if line.discount_amount else []

    def _taxes(self, taxes: Sequence[Tax]) -> list[Body]:
        """A rate is a `Float` in Shopify's schema."""
        return [
            {
                "title": tax.name,
                "rate": float(tax.rate),
                "ratePercentage": float(tax.rate * 100),
                "priceSet": self._bag(tax.amount),
                "channelLiable": False,
                "source": "Shopify",
            }
            for tax in taxes
        ]

    def _transaction(self, paid: SalePayment, kind: str, is_test: bool) -> Body:
        fee = money(paid.fee_amount, self.shop.currency)
        nothing = money(ZERO, self.shop.currency)
        fees = [{"id": self.shop.new_id("TransactionFee"), "amount": fee, "taxAmount": nothing, "rate": "0.0"}]
        return {
            "id": self._id("OrderTransaction", paid.id),
            "kind": kind,
            "status": "SUCCESS",
            "gateway": paid.method,
            "formattedGateway": paid.method,
            "amountSet": self._bag(paid.amount),
            "amountRoundingSet": None,
            "createdAt": stamp(paid.paid_at),
            "processedAt": stamp(paid.paid_at),
            "paymentId": None,
            "test": is_test,
            "fees": [{**fees[0], "type": "processing_fee", "rateName": "domestic"}] if paid.fee_amount else [],
        }

    # ------------------------------------------------------------------ refunds

    def refund(self, record: Refund) -> Body:
        """Raises `Refused` when its order is unknown."""
        order = self.shop.get("Order", gid("Order", record.order_id))
        if order is None:
            raise Refused(404, f"There is no order {record.order_id} to refund.")
        id = self._id("Refund", record.id)
        refunded = sum((paid.amount for paid in record.payments), ZERO)
        body = {
            "id": id,
            "orderId": order["id"],
            "createdAt": stamp(record.refunded_at),
            "processedAt": stamp(record.refunded_at),
            "updatedAt": stamp(record.updated_at),
            "note": record.reason or None,
            "totalRefundedSet": self._bag(refunded),
            "transactions": [self._transaction(paid, "REFUND", bool(order["test"])) for paid in record.payments],
            **self._refund_lines(order, record),
        }
        self.shop.put("Refund", body)
        self._note_refund(order, body)
        return body

    def _note_refund(self, order: Body, refund: Body) -> None:
        """A refund changes its order."""
        if refund["id"] not in order["refundIds"]:
            order["refundIds"] = [*order["refundIds"], refund["id"]]
        order["updatedAt"] = max(order["updatedAt"], refund["updatedAt"])
        self._count_refunds(order)
        self.shop.put("Order", order)

    def _count_refunds(self, order: Body) -> None:
        """The order's refunded total and the payment status that follows from it."""
        refunds = [self.shop.get("Refund", id) for id in order["refundIds"]]
        total = sum((worth(found["totalRefundedSet"]) for found in refunds if found), ZERO)
        if total:
            is_all = total >= worth(order["totalReceivedSet"])
            order["displayFinancialStatus"] = "REFUNDED" if is_all else "PARTIALLY_REFUNDED"
        order["totalRefundedSet"] = self._bag(total)

    def _refund_lines(self, order: Body, record: Refund) -> Body:
        others = [line for line in record.lines if line.kind not in ("item", "gift_card", "shipping", "duty")]
        duties = [line for line in record.lines if line.kind == "duty"]
        return {
            "refundLineItems": [
                self._refund_item(order, line) for line in record.lines if line.kind in ("item", "gift_card")
            ],
            "refundShippingLines": [
                self._refund_shipping(order, line) for line in record.lines if line.kind == "shipping"
            ],
            "duties": [{"amountSet": self._bag(line.amount), "originalDuty": None} for line in duties],
            "orderAdjustments": [self._adjustment(line, record.taxes_included) for line in others],
        }

    def _refund_item(self, order: Body, line: SaleLine) -> Body:
        known = [item for item in order["lineItems"] if item["name"] == line.description]
        return {
            "id": self.shop.new_id("RefundLineItem"),
            "quantity": max(1, int(line.quantity)),
            "lineItem": known[0] if known else self._line_item(line),
            "priceSet": self._bag(line.amount),
            "subtotalSet": self._bag(line.amount),
            "totalTaxSet": self._bag(line.tax_amount),
            "restockType": "NO_RESTOCK",
        }

    def _refund_shipping(self, order: Body, line: SaleLine) -> Body:
        known = [found for found in order["shippingLines"] if found["title"] == line.description]
        return {
            "id": self.shop.new_id("RefundShippingLine"),
            "shippingLine": known[0] if known else self._shipping_line(line),
            "subtotalAmountSet": self._bag(line.amount),
            "taxAmountSet": self._bag(line.tax_amount),
        }

    def _adjustment(self, line: SaleLine, taxes_included: bool) -> Body:
        net = line.amount - (line.tax_amount if taxes_included else ZERO)
        return {
            "id": self.shop.new_id("OrderAdjustment"),
            "reason": "REFUND_DISCREPANCY",
            "amountSet": self._bag(-net),
            "taxAmountSet": self._bag(-line.tax_amount),
        }

    # ------------------------------------------------------------------ payouts and customers

    def payout(self, record: Payout) -> Body:
        currency = record.currency
        start = dt.datetime.combine(record.paid_date, dt.time(), dt.UTC)
        is_same_day = record.updated_at.astimezone(dt.UTC).date() == record.paid_date
        nothing = money(ZERO, currency)
        names = ("refundsFee", "adjustmentsFee", "reservedFundsGross", "reservedFundsFee", "retriedPayoutsGross")
        rest = ("retriedPayoutsFee", "advanceGross", "advanceFees", "usdcRebateCreditAmount")
        body = {
            "id": self._id("ShopifyPaymentsPayout", record.id),
            "issuedAt": stamp(record.updated_at if is_same_day else start),
            "status": _PAYOUT[record.status],
            "transactionType": "DEPOSIT" if record.net >= 0 else "WITHDRAWAL",
            "externalTraceId": record.bank_reference or None,
            "net": money(record.net, currency),
            "summary": {
                **dict.fromkeys((*names, *rest), nothing),
                "chargesGross": money(record.gross, currency),
                "chargesFee": money(record.fees, currency),
                "refundsFeeGross": money(-record.refunds, currency),
                "adjustmentsGross": money(record.adjustments, currency),
            },
        }
        return self.shop.put("ShopifyPaymentsPayout", body)

    def customer(self, record: Customer) -> Body:
        first, _, last = record.name.rpartition(" ")
        changed_at = stamp(record.updated_at or self.now)
        known = self.shop.get("Customer", gid("Customer", record.id)) if record.id else None
        body = {
            **new_customer(known["id"] if known else self._id("Customer", record.id), changed_at),
            **({"tags": known["tags"], "createdAt": known["createdAt"]} if known else {}),
            "firstName": first or (last or None),
            "lastName": last if first else None,
            "email": record.email or None,
            "phone": record.phone or None,
            "defaultAddress": self._address(record),
        }
        return self.shop.put("Customer", body)

    def _address(self, record: Customer) -> Body | None:
        address = record.address
        given: dict[str, Any] = {
            "address1": address.line1,
            "address2": address.line2,
            "city": address.city,
            "zip": address.postal_code,
            "province": address.region,
            "provinceCode": address.region,
            "countryCodeV2": address.country,
            "country": address.country,
            "company": record.company,
        }
        if not any(given.values()):
            return None
        return {"id": self.shop.new_id("MailingAddress"), **{name: value or None for name, value in given.items()}}

    def _id(self, type_: str, given: str) -> str:
        return gid(type_, tail(given)) if given else self.shop.new_id(type_)

    def _bag(self, amount: Decimal) -> Body:
        return bag(amount, self.shop.currency)


def new_customer(id: str, at: str) -> Body:
    return {
        "id": id,
        "createdAt": at,
        "updatedAt": at,
        "firstName": None,
        "lastName": None,
        "email": None,
        "phone": None,
        "note": None,
        "locale": "en",
        "state": "DISABLED",
        "tags": [],
        "taxExempt": False,
        "verifiedEmail": True,
        "defaultAddress": None,
    }
