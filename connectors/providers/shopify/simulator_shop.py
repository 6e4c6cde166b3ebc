"""One simulated shop: its objects as the schema shapes them, and the lookups that are more than a field."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from connectors.testing.store import Body, Collection, Store

TYPES = ("Order", "Refund", "Customer", "ShopifyPaymentsPayout", "BulkOperation", "WebhookSubscription")
PAYMENTS_COUNTRIES = frozenset(
    [
        "AT",
        "AU",
        "BE",
        "CA",
        "CH",
        "CZ",
        "DE",
        "DK",
        "ES",
        "FI",
        "FR",
        "GB",
        "HK",
        "IE",
        "IT",
        "JP",
        "NL",
        "NO",
        "NZ",
        "PL",
        "PT",
        "RO",
        "SE",
        "SG",
        "US",
    ]
)
FIRST_NUMBER = 5_000_000_000


def gid(type_: str, number: object) -> str:
    return f"gid://shopify/{type_}/{number}"


def tail(id: str) -> str:
    return id.rpartition("/")[2]


def stamp(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def money(amount: Decimal, currency: str) -> Body:
    return {"amount": f"{amount:f}" if amount.as_tuple().exponent else f"{amount:f}.0", "currencyCode": currency}


def bag(amount: Decimal, currency: str) -> Body:
    """Shop and buyer use the same currency here."""
    return {"shopMoney": money(amount, currency), "presentmentMoney": money(amount, currency)}


def worth(value: Body) -> Decimal:
    """The shop's side of a bag."""
    return Decimal(value["shopMoney"]["amount"])


class Shop:
    """A view on the store; collections are named after the shop and the type, ids are Shopify's global ones."""

    def __init__(self, store: Store, domain: str) -> None:
        self.store = store
        self.domain = domain

    @property
    def body(self) -> Body:
        """The `Shop` object."""
        found = self.store["shops"].get(self.domain)
        assert found is not None
        return found

    @property
    def currency(self) -> str:
        return str(self.body["currencyCode"])

    def all(self, type_: str) -> Collection:
        return self.store[f"{self.domain}:{type_}"]

    def get(self, type_: str, id: str) -> Body | None:
        return self.all(type_).get(id)

    def put(self, type_: str, body: Body) -> Body:
        if type_ == "Customer":
            for value in (body["email"], body["phone"]):
                if value:
                    self.all("contacts").put(value, {"id": body["id"]})
        return self.all(type_).put(body["id"], body)

    def customer_with(self, contact: str) -> Body | None:
        """Whose e-mail address or phone number this is."""
        known = self.all("contacts").get(contact)
        customer = self.get("Customer", known["id"]) if known else None
        return customer if customer and contact in (customer["email"], customer["phone"]) else None

    def node(self, id: str) -> tuple[str, Body] | None:
        """Any object by its global id, with its type."""
        type_ = id.split("/")[3] if id.count("/") == 4 else ""
        found = self.get(type_, id) if type_ in TYPES else None
        return (type_, found) if found else None

    def new_id(self, type_: str) -> str:
        return gid(type_, FIRST_NUMBER + self.store.next_id(f"{self.domain}:{type_}"))

    def field(self, type_: str, name: str, body: Body) -> Any:
        """A field's value: most are stored as such, some are worked out or lie elsewhere."""
        match type_, name:
            case "Order", "refunds":
                return [self.get("Refund", id) for id in body["refundIds"]]
            case "Order", "customer":
                return self.get("Customer", body["customerId"] or "")
            case "Refund", "order":
                return self.get("Order", body["orderId"])
            case "Customer", "displayName":
                return display_name(body)
            case "Customer", "defaultEmailAddress":
                return {"emailAddress": body["email"]} if body["email"] else None
            case "Customer", "defaultPhoneNumber":
                return {"phoneNumber": body["phone"]} if body["phone"] else None
            case "Customer", "numberOfOrders":
                orders = self.all("Order").values()
                return str(sum(order["customerId"] == body["id"] for order in orders))
            case _, "legacyResourceId":
                return tail(body["id"])
            case "MailingAddress", "name":
                return full_name(body) or body.get("name") or ""
        return body.get(name)


def full_name(body: Body) -> str:
    return " ".join(part for part in (body.get("firstName"), body.get("lastName")) if part)


def display_name(customer: Body) -> str:
    return full_name(customer) or str(customer["email"] or customer["phone"] or "")


def new_shop(number: int, organisation: Body) -> Body:
    """British and other European shops show prices with tax, American ones without."""
    country = str(organisation.get("country") or "US")
    return {
        "id": gid("Shop", number),
        "name": organisation["name"],
        "myshopifyDomain": organisation["id"],
        "url": f"https://{organisation['id']}",
        "email": f"hello@{organisation['id'].removesuffix('.myshopify.com')}.example",
        "currencyCode": organisation["base_currency"],
        "ianaTimezone": organisation.get("time_zone") or "UTC",
        "taxesIncluded": country not in ("US", "CA"),
        "taxShipping": country not in ("US", "CA"),
        "plan": {"partnerDevelopment": True, "shopifyPlus": False, "publicDisplayName": "Development"},
        "shopAddress": {"id": gid("ShopAddress", number), "countryCodeV2": country, "country": country},
    }


def payments_account(shop: Body) -> Body | None:
    """Shopify Payments exists in some countries only."""
    if shop["shopAddress"]["countryCodeV2"] not in PAYMENTS_COUNTRIES:
        return None
    number = tail(shop["id"])
    return {
        "id": gid("ShopifyPaymentsAccount", number),
        "activated": True,
        "country": shop["shopAddress"]["countryCodeV2"],
        "defaultCurrency": shop["currencyCode"],
    }
