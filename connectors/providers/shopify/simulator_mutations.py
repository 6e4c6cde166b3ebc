"""What a call may change in a shop: customers, webhook subscriptions, bulk operations, and the app itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from connectors.providers.shopify.reading import read_customer
from connectors.providers.shopify.simulator_bulk import InvalidBulkQuery, export_of
from connectors.providers.shopify.simulator_seeding import new_customer
from connectors.providers.shopify.simulator_shop import Shop, stamp
from connectors.sdk.records import Customer
from connectors.testing.store import Body

if TYPE_CHECKING:
    from connectors.providers.shopify.simulator_call import Call

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
PHONE = re.compile(r"\+?[\d\s().-]{7,20}")
MOST_BULK_OPERATIONS = 5
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Error = dict[str, Any]


def error(message: str, *field: str) -> Error:
    return {"field": list(field) or None, "message": message}


# ---------------------------------------------------------------------- customers


def customer_create(call: Call, input: Body) -> Body:
    shop = call.shop
    wrong = customer_errors(shop, input, "")
    if not any(input.get(name) for name in ("firstName", "lastName", "email", "phone")):
        wrong.append(error("A name, phone number, or email address must be present"))
    if wrong:
        return {"customer": None, "userErrors": wrong}
    customer = new_customer(shop.new_id("Customer"), stamp(call.now))
    _apply(call, customer, input)
    if input.get("addresses"):
        customer["defaultAddress"] = _address(shop, {}, input["addresses"][0])
    shop.put("Customer", customer)
    call.note("create", as_record(shop, customer))
    call.tell("customers/create", "Customer", customer)
    return {"customer": customer, "userErrors": []}


def customer_update(call: Call, input: Body) -> Body:
    customer = call.shop.get("Customer", input.get("id") or "")
    if customer is None:
        return {"customer": None, "userErrors": [error("Customer does not exist", "id")]}
    wrong = customer_errors(call.shop, input, customer["id"])
    if wrong:
        return {"customer": None, "userErrors": wrong}
    _apply(call, customer, input)
    _changed(call, customer)
    return {"customer": customer, "userErrors": []}


def customer_delete(call: Call, input: Body) -> Body:
    shop = call.shop
    customer = shop.get("Customer", input["id"])
    answer = {"deletedCustomerId": None, "shop": shop.body}
    if customer is None:
        return {**answer, "userErrors": [error("Customer can't be found", "id")]}
    if any(order["customerId"] == customer["id"] for order in shop.all("Order").values()):
        message = "Customer can’t be deleted because they have associated orders"
        return {**answer, "userErrors": [error(message, "id")]}
    shop.all("Customer").delete(customer["id"])
    call.note("delete", as_record(shop, customer))
    call.tell("customers/delete", "Customer", customer)
    return {**answer, "deletedCustomerId": customer["id"], "userErrors": []}


def customer_address(
    call: Call, customerId: str, address: Body, addressId: str = "", setAsDefault: bool = False
) -> Body:
    """Create, or with `addressId` update, an address; only the default one is kept here."""
    customer = call.shop.get("Customer", customerId)
    if customer is None:
        return {"address": None, "userErrors": [error("Customer does not exist", "customerId")]}
    current = customer["defaultAddress"] or {}
    if addressId and current.get("id") != addressId:
        return {"address": None, "userErrors": [error("Address does not exist", "addressId")]}
    changed = _address(call.shop, current if addressId else {}, address)
    if addressId or setAsDefault or not current:
        customer["defaultAddress"] = changed
    _changed(call, customer)
    return {"address": changed, "userErrors": []}


def customer_errors(shop: Shop, input: Body, own_id: str) -> list[Error]:
    """E-mail addresses and phone numbers are well-formed and belong to one customer only."""
    wrong = []
    for name, pattern in (("email", EMAIL), ("phone", PHONE)):
        value = input.get(name)
        if not value:
            continue
        owner = shop.customer_with(value)
        if not pattern.fullmatch(value):
            wrong.append(error(f"{name.capitalize()} is invalid", name))
        elif owner is not None and owner["id"] != own_id:
            wrong.append(error(f"{name.capitalize()} has already been taken", name))
    return wrong


def as_record(shop: Shop, customer: Body) -> Customer:
    """The customer as the connector would read it."""
    names = ("displayName", "defaultEmailAddress", "defaultPhoneNumber")
    return read_customer({**customer, **{name: shop.field("Customer", name, customer) for name in names}})


def _apply(call: Call, customer: Body, input: Body) -> None:
    for name in ("firstName", "lastName", "email", "phone", "note", "locale", "taxExempt"):
        if name in input:
            customer[name] = input[name] or None if name != "taxExempt" else bool(input[name])
    if "tags" in input:
        customer["tags"] = sorted(set(input["tags"] or []))
    customer["updatedAt"] = stamp(call.now)


def _changed(call: Call, customer: Body) -> None:
    customer["updatedAt"] = stamp(call.now)
    call.shop.put("Customer", customer)
    call.note("update", as_record(call.shop, customer))
    call.tell("customers/update", "Customer", customer)


def _address(shop: Shop, current: Body, input: Body) -> Body:
    given = {name: value for name, value in input.items() if name not in ("id", "countryCode")}
    if "countryCode" in input:
        given |= {"countryCodeV2": input["countryCode"], "country": input["countryCode"]}
    return {"id": current.get("id") or shop.new_id("MailingAddress"), **current, **given}


# ---------------------------------------------------------------------- webhooks


def webhook_create(call: Call, topic: str, webhookSubscription: Body) -> Body:
    """Addresses use TLS; one on this very machine need not."""
    uri = str(webhookSubscription.get("uri") or webhookSubscription.get("callbackUrl") or "")
    parts = urlsplit(uri)
    where = ("webhookSubscription", "callbackUrl")
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        wrong = error(f"Address protocol {parts.scheme or 'none'}:// is not supported", *where)
        return {"webhookSubscription": None, "userErrors": [wrong]}
    if any(found["topic"] == topic and found["uri"] == uri for found in call.shop.all("WebhookSubscription").values()):
        wrong = error("Address for this topic has already been taken", *where)
        return {"webhookSubscription": None, "userErrors": [wrong]}
    subscription = {
        "id": call.shop.new_id("WebhookSubscription"),
        "topic": topic,
        "uri": uri,
        "format": webhookSubscription.get("format") or "JSON",
        "includeFields": webhookSubscription.get("includeFields") or [],
        "createdAt": stamp(call.now),
        "updatedAt": stamp(call.now),
    }
    return {"webhookSubscription": call.shop.put("WebhookSubscription", subscription), "userErrors": []}


def webhook_delete(call: Call, id: str) -> Body:
    if call.shop.get("WebhookSubscription", id) is None:
        wrong = error("Webhook subscription does not exist", "id")
        return {"deletedWebhookSubscriptionId": None, "userErrors": [wrong]}
    call.shop.all("WebhookSubscription").delete(id)
    return {"deletedWebhookSubscriptionId": id, "userErrors": []}


# ---------------------------------------------------------------------- bulk operations and the app


def bulk_run(call: Call, query: str, groupObjects: bool = False) -> Body:
    running = [
        found for found in call.shop.all("BulkOperation").values() if call.bulk_status(found)["completedAt"] is None
    ]
    if len(running) >= MOST_BULK_OPERATIONS:
        wrong = {**error("The maximum number of bulk operations is running.", "query"), "code": "LIMIT_REACHED"}
        return {"bulkOperation": None, "userErrors": [wrong]}
    try:
        export_of(query)
    except InvalidBulkQuery as invalid:
        wrong = {**error(str(invalid), "query"), "code": "INVALID"}
        return {"bulkOperation": None, "userErrors": [wrong]}
    operation = {
        "id": call.shop.new_id("BulkOperation"),
        "type": "QUERY",
        "status": "CREATED",
        "query": query,
        "createdAt": stamp(call.now),
        "submitted_at": call.now,
        "completedAt": None,
        "errorCode": None,
        "objectCount": "0",
        "rootObjectCount": "0",
        "fileSize": None,
        "url": None,
        "partialDataUrl": None,
    }
    return {"bulkOperation": call.shop.put("BulkOperation", operation), "userErrors": []}


def bulk_cancel(call: Call, id: str) -> Body:
    operation = call.shop.get("BulkOperation", id)
    if operation is None:
        return {"bulkOperation": None, "userErrors": [error("Bulk operation does not exist", "id")]}
    if operation["completedAt"] is None:
        operation |= {"status": "CANCELED", "completedAt": stamp(call.now)}
        call.shop.put("BulkOperation", operation)
    return {"bulkOperation": operation, "userErrors": []}


def app_uninstall(call: Call) -> Body:
    call.uninstall()
    return {"app": {"id": "gid://shopify/App/1", "title": "Tieout"}, "userErrors": []}


MUTATIONS: dict[str, Any] = {
    "customerCreate": customer_create,
    "customerUpdate": customer_update,
    "customerDelete": customer_delete,
    "customerAddressCreate": customer_address,
    "customerAddressUpdate": customer_address,
    "webhookSubscriptionCreate": webhook_create,
    "webhookSubscriptionDelete": webhook_delete,
    "bulkOperationRunQuery": bulk_run,
    "bulkOperationCancel": bulk_cancel,
    "appUninstall": app_uninstall,
}
