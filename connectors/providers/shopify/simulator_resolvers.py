"""How the trimmed schema finds its values: root fields, mutations, connections, and plain fields of bodies."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from graphql import GraphQLInterfaceType, GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema

from connectors.providers.shopify import simulator_schema
from connectors.providers.shopify.simulator_call import Call, count
from connectors.providers.shopify.simulator_lists import inner, listed, matching
from connectors.providers.shopify.simulator_mutations import MUTATIONS
from connectors.providers.shopify.simulator_schema import is_connection
from connectors.providers.shopify.simulator_shop import payments_account
from connectors.testing.store import Body

Resolver = Callable[..., Any]

#: Fields whose value is not simply kept in the body.
WORKED_OUT = {
    ("Order", "refunds"),
    ("Order", "customer"),
    ("Refund", "order"),
    ("Customer", "displayName"),
    ("Customer", "defaultEmailAddress"),
    ("Customer", "defaultPhoneNumber"),
    ("Customer", "numberOfOrders"),
    ("MailingAddress", "name"),
}


@cache
def executable() -> GraphQLSchema:
    """The schema with its resolvers."""
    schema = simulator_schema.schema()
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                field.resolve = _resolver(type_.name, name, is_connection(field))
    node = schema.type_map["Node"]
    assert isinstance(node, GraphQLInterfaceType)
    node.resolve_type = lambda body, info, abstract: str(body["id"]).split("/")[3]
    return schema


def _resolver(type_: str, name: str, is_list: bool) -> Resolver:
    if type_ == "QueryRoot":
        return _root(name)
    if type_ == "Mutation":
        return _mutation(name)
    if (type_, name) == ("ShopifyPaymentsAccount", "payouts"):
        return _payouts
    if is_list:
        return lambda body, info, **arguments: inner(body[name], arguments)
    if (type_, name) in WORKED_OUT or name == "legacyResourceId":
        return lambda body, info, **arguments: info.context.shop.field(type_, name, body)
    return lambda body, info, **arguments: body.get(name)


def _root(name: str) -> Resolver:
    def resolver(source: None, info: GraphQLResolveInfo[Call], **arguments: Any) -> Any:
        call: Call = info.context
        call.require(name)
        return ROOTS[name](call, **arguments)

    return resolver


def _mutation(name: str) -> Resolver:
    def resolver(source: None, info: GraphQLResolveInfo[Call], **arguments: Any) -> Any:
        call: Call = info.context
        call.require(name)
        return MUTATIONS[name](call, **arguments)

    return resolver


def _payouts(account: Body, info: GraphQLResolveInfo[Call], **arguments: Any) -> Body:
    info.context.require("payouts")
    return listed(info.context.visible("ShopifyPaymentsPayout"), {"sortKey": "ISSUED_AT", **arguments})


def _bulk(call: Call, id: str) -> Body | None:
    operation = call.shop.get("BulkOperation", id)
    return call.bulk_status(operation) if operation else None


def _current_bulk(call: Call, type: str = "QUERY") -> Body | None:
    operations = call.shop.all("BulkOperation").values()
    return call.bulk_status(operations[-1]) if operations and type == "QUERY" else None


def _subscriptions(call: Call, uri: str | None = None, topics: list[str] | None = None, **arguments: Any) -> Body:
    wanted = uri or arguments.pop("callbackUrl", None)
    found = [
        body
        for body in call.visible("WebhookSubscription")
        if (wanted is None or body["uri"] == wanted) and (not topics or body["topic"] in topics)
    ]
    return listed(found, arguments)


def _counted(type_: str) -> Resolver:
    def resolver(call: Call, query: str | None = None, limit: int | None = None) -> Body:
        return count(matching(call.visible(type_), query), limit)

    return resolver


ROOTS: dict[str, Resolver] = {
    "bulkOperation": _bulk,
    "currentBulkOperation": _current_bulk,
    "customer": lambda call, id: call.node(id),
    "customers": lambda call, **arguments: listed(call.visible("Customer"), arguments),
    "customersCount": _counted("Customer"),
    "node": lambda call, id: call.node(id),
    "nodes": lambda call, ids: [call.node(id) for id in ids],
    "order": lambda call, id: call.node(id),
    "orders": lambda call, **arguments: listed(call.visible("Order"), arguments),
    "ordersCount": _counted("Order"),
    "refund": lambda call, id: call.node(id),
    "shop": lambda call: call.shop.body,
    "shopifyPaymentsAccount": lambda call: payments_account(call.shop.body),
    "webhookSubscriptions": _subscriptions,
}
