"""Shopify's webhooks: signed with our client secret, subscribed per shop, repeated for four hours.

The signature covers the body and no header, so whose event it is and what it is about is what somebody says. It is enough to have a record
read anew in that shop, and for nothing else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.providers.shopify.client import ShopifyClient
from connectors.providers.shopify.queries import MUTATION_COST
from connectors.providers.shopify.reading import number_of
from connectors.sdk.client import Client, parse_json
from connectors.sdk.errors import UnexpectedResponse
from connectors.sdk.webhooks import WebhookEvent, Webhooks, signed_base64

#: topic -> (data type, kind of change)
TOPICS: dict[str, tuple[str, str]] = {
    "orders/create": ("order", "changed"),
    "orders/updated": ("order", "changed"),
    "orders/paid": ("order", "changed"),
    "orders/cancelled": ("order", "changed"),
    "orders/delete": ("order", "deleted"),
    "refunds/create": ("refund", "changed"),
    "customers/create": ("customer", "changed"),
    "customers/update": ("customer", "changed"),
    "customers/delete": ("customer", "deleted"),
    "app/uninstalled": ("company", "revoked"),
}
_LIST = "query($uri: String!) { webhookSubscriptions(first: 100, uri: $uri) { nodes { id topic } } }"
_LIST_COST = 102
_ALREADY = "already been taken"


class ShopifyWebhooks(Webhooks):
    data_types = frozenset(data_type for data_type, kind in TOPICS.values() if kind != "revoked")

    def is_genuine(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> bool:
        return signed_base64(body, secrets, headers.get("x-shopify-hmac-sha256", ""))

    def events(self, headers: Mapping[str, str], body: bytes) -> list[WebhookEvent]:
        payload = parse_json(body)
        followed = TOPICS.get(headers.get("x-shopify-topic", ""))
        if followed is None:
            return []
        if not isinstance(payload, dict) or "id" not in payload:
            raise ValueError("a Shopify webhook names the object it is about")
        shop = headers.get("x-shopify-shop-domain", "")
        data_type, kind = followed
        if kind == "revoked" and payload.get("myshopify_domain") != shop:
            # The signature covers the body only, and this ends a connection rather than having something read.
            raise ValueError("an uninstalled app is that of the shop the body names")
        gid = str(payload.get("admin_graphql_api_id") or payload["id"])
        return [
            WebhookEvent(
                event_id=headers.get("x-shopify-webhook-id", ""),
                organisation_id=shop,
                data_type=data_type,
                external_id=shop if kind == "revoked" else number_of(gid),
                kind=kind,
                occurred_at=_occurred_at(headers.get("x-shopify-triggered-at", "")),
            )
        ]

    def subscribe(self, client: Client, url: str) -> int:
        shop = _shop(client)
        known = {node["topic"] for node in _subscriptions(shop, url)}
        missing = [topic for topic in map(_enum, TOPICS) if topic not in known]
        if not missing:
            return 0
        created = " ".join(
            f"t{place}: webhookSubscriptionCreate(topic: {topic}, webhookSubscription: {{uri: $uri, format: JSON}}) "
            "{ userErrors { field message } }"
            for place, topic in enumerate(missing)
        )
        _change(shop, f"mutation($uri: String!) {{ {created} }}", {"uri": url}, len(missing))
        return len(missing)

    def unsubscribe(self, client: Client, url: str) -> None:
        shop = _shop(client)
        known = [node["id"] for node in _subscriptions(shop, url)]
        if not known:
            return
        names = ", ".join(f"$i{place}: ID!" for place in range(len(known)))
        deleted = " ".join(
            f"t{place}: webhookSubscriptionDelete(id: $i{place}) {{ userErrors {{ field message }} }}"
            for place in range(len(known))
        )
        variables = {f"i{place}": id for place, id in enumerate(known)}
        _change(shop, f"mutation({names}) {{ {deleted} }}", variables, len(known))


def _shop(client: Client) -> ShopifyClient:
    assert isinstance(client, ShopifyClient)
    return client


def _subscriptions(client: ShopifyClient, url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.graphql(_LIST, {"uri": url}, cost=_LIST_COST)["webhookSubscriptions"]["nodes"]
    return found


def _change(client: ShopifyClient, mutation: str, variables: Mapping[str, Any], count: int) -> None:
    """Refusals other than "it is so already" are raised."""
    answer = client.graphql(mutation, variables, cost=count * MUTATION_COST)
    refusals = [error["message"] for result in answer.values() for error in result["userErrors"]]
    wrong = [message for message in refusals if _ALREADY not in message and "does not exist" not in message]
    if wrong:
        raise UnexpectedResponse("Shopify did not accept our webhook address.", detail="; ".join(wrong)[:300])


def _enum(topic: str) -> str:
    return topic.replace("/", "_").upper()


def _occurred_at(text: str) -> dt.datetime | None:
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


WEBHOOKS = ShopifyWebhooks()
