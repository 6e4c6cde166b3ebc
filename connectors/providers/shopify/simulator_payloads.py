"""Webhook bodies: the REST form of a shop's objects, with numbers for ids and text for prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from connectors.providers.shopify.simulator_shop import Shop, full_name, tail
from connectors.testing.store import Body

Payload = dict[str, Any]


def payload(shop: Shop, type_: str, body: Body) -> Payload:
    match type_:
        case "Order":
            return order(shop, body)
        case "Refund":
            return refund(body)
        case "Customer":
            return customer(shop, body)
    return shop_payload(shop)


def deleted(type_: str, body: Body) -> Payload:
    extra = {"admin_graphql_api_id": body["id"], "tax_exemptions": []} if type_ == "Customer" else {}
    return {"id": _number(body["id"]), **extra}


def order(shop: Shop, body: Body) -> Payload:
    buyer = shop.field("Order", "customer", body)
    return {
        "id": _number(body["id"]),
        "admin_graphql_api_id": body["id"],
        "name": body["name"],
        "number": body["number"],
        "order_number": body["number"],
        "created_at": body["createdAt"],
        "processed_at": body["processedAt"],
        "updated_at": body["updatedAt"],
        "cancelled_at": body["cancelledAt"],
        "cancel_reason": body["cancelReason"] and body["cancelReason"].lower(),
        "closed_at": body["closedAt"],
        "currency": body["currencyCode"],
        "presentment_currency": body["presentmentCurrencyCode"],
        "financial_status": body["displayFinancialStatus"].lower(),
        "email": body["email"] or "",
        "note": body["note"],
        "tags": ", ".join(body["tags"]),
        "source_name": body["sourceName"],
        "test": body["test"],
        "taxes_included": body["taxesIncluded"],
        "total_price": _price(body["totalPriceSet"]),
        "total_price_set": _set(body["totalPriceSet"]),
        "subtotal_price": _price(body["subtotalPriceSet"]),
        "total_tax": _price(body["totalTaxSet"]),
        "total_tax_set": _set(body["totalTaxSet"]),
        "total_discounts": _price(body["totalDiscountsSet"]),
        "total_shipping_price_set": _set(body["totalShippingPriceSet"]),
        "total_tip_received": _price(body["totalTipReceivedSet"]),
        "line_items": [_line_item(item) for item in body["lineItems"]],
        "shipping_lines": [_shipping_line(line) for line in body["shippingLines"]],
        "tax_lines": [_tax(line) for line in body["taxLines"]],
        "payment_gateway_names": body["paymentGatewayNames"],
        "refunds": [refund(found) for found in shop.field("Order", "refunds", body)],
        **({"customer": _buyer(shop, buyer)} if buyer else {}),
    }


def refund(body: Body) -> Payload:
    return {
        "id": _number(body["id"]),
        "admin_graphql_api_id": body["id"],
        "order_id": _number(body["orderId"]),
        "created_at": body["createdAt"],
        "processed_at": body["processedAt"],
        "note": body["note"] or "",
        "restock": False,
        "duties": [],
        "order_adjustments": [
            {
                "id": _number(found["id"]),
                "order_id": _number(body["orderId"]),
                "refund_id": _number(body["id"]),
                "amount": _price(found["amountSet"]),
                "tax_amount": _price(found["taxAmountSet"]),
                "kind": "refund_discrepancy",
                "reason": "Refund discrepancy",
            }
            for found in body["orderAdjustments"]
        ],
        "refund_line_items": [
            {
                "id": _number(found["id"]),
                "line_item_id": _number(found["lineItem"]["id"]),
                "quantity": found["quantity"],
                "restock_type": found["restockType"].lower(),
                "subtotal_set": _set(found["subtotalSet"]),
                "total_tax_set": _set(found["totalTaxSet"]),
            }
            for found in body["refundLineItems"]
        ],
        "transactions": [_transaction(found, body["orderId"]) for found in body["transactions"]],
    }


def customer(shop: Shop, body: Body) -> Payload:
    return {
        "id": _number(body["id"]),
        "admin_graphql_api_id": body["id"],
        "created_at": body["createdAt"],
        "updated_at": body["updatedAt"],
        "first_name": body["firstName"] or "",
        "last_name": body["lastName"] or "",
        "email": body["email"] or "",
        "phone": body["phone"],
        "note": body["note"] or "",
        "state": body["state"].lower(),
        "currency": shop.currency,
        "tax_exempt": body["taxExempt"],
        "tax_exemptions": [],
        "verified_email": body["verifiedEmail"],
        "multipass_identifier": None,
        "addresses": [],
        **({"default_address": _address(body)} if body["defaultAddress"] else {}),
    }


def shop_payload(shop: Shop) -> Payload:
    body = shop.body
    return {
        "id": _number(body["id"]),
        "name": body["name"],
        "email": body["email"],
        "domain": None,
        "myshopify_domain": shop.domain,
        "currency": body["currencyCode"],
        "iana_timezone": body["ianaTimezone"],
        "country_code": body["shopAddress"]["countryCodeV2"],
        "taxes_included": body["taxesIncluded"],
    }


def _buyer(shop: Shop, body: Body) -> Payload:
    """Inside an order a customer comes without the list of addresses."""
    return {name: value for name, value in customer(shop, body).items() if name != "addresses"}


def _address(body: Body) -> Payload:
    address = body["defaultAddress"]
    return {
        "id": _number(address["id"]),
        "customer_id": _number(body["id"]),
        "name": full_name(body),
        "company": address.get("company"),
        "address1": address.get("address1") or "",
        "address2": address.get("address2"),
        "city": address.get("city") or "",
        "province_code": address.get("provinceCode") or "",
        "country_code": address.get("countryCodeV2") or "",
        "zip": address.get("zip") or "",
        "default": True,
    }


def _line_item(item: Body) -> Payload:
    return {
        "id": _number(item["id"]),
        "admin_graphql_api_id": item["id"],
        "title": item["title"],
        "name": item["name"],
        "sku": item["sku"],
        "quantity": item["quantity"],
        "price": _price(item["originalUnitPriceSet"]),
        "total_discount": _price(item["totalDiscountSet"]),
        "gift_card": item["isGiftCard"],
        "taxable": item["taxable"],
        "tax_lines": [_tax(line) for line in item["taxLines"]],
    }


def _shipping_line(line: Body) -> Payload:
    return {
        "id": _number(line["id"]),
        "title": line["title"],
        "code": line["code"],
        "price": _price(line["originalPriceSet"]),
        "discounted_price": _price(line["discountedPriceSet"]),
        "tax_lines": [_tax(tax) for tax in line["taxLines"]],
    }


def _transaction(found: Body, order_id: str) -> Payload:
    return {
        "id": _number(found["id"]),
        "admin_graphql_api_id": found["id"],
        "order_id": _number(order_id),
        "kind": found["kind"].lower(),
        "status": found["status"].lower(),
        "gateway": found["gateway"],
        "amount": _price(found["amountSet"]),
        "currency": found["amountSet"]["shopMoney"]["currencyCode"],
        "processed_at": found["processedAt"],
        "test": found["test"],
    }


def _tax(line: Body) -> Payload:
    return {"title": line["title"], "rate": line["rate"], "price": _price(line["priceSet"])}


def _price(bag: Body) -> str:
    """REST writes at least two decimals."""
    amount = Decimal(bag["shopMoney"]["amount"])
    return f"{amount:.2f}" if amount == round(amount, 2) else f"{amount:f}"


def _set(bag: Body) -> Payload:
    return {
        side: {"amount": bag[name]["amount"], "currency_code": bag[name]["currencyCode"]}
        for side, name in (("shop_money", "shopMoney"), ("presentment_money", "presentmentMoney"))
    }


def _number(id: str) -> int:
    """Ids are numbers; one that was seeded as text gets a number made of its letters."""
    text = tail(id)
    return int(text) if text.isdigit() else int.from_bytes(text.encode()[-7:], "big")
