"""Shopify in one process: consent per shop, GraphQL over the published schema, points, bulk operations and webhooks."""

from __future__ import annotations

import base64
import hmac
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, execute_sync
from werkzeug import Request, Response

from connectors.providers.shopify.manifest import API_VERSION
from connectors.providers.shopify.oauth import callback_signature
from connectors.providers.shopify.simulator_call import Call
from connectors.providers.shopify.simulator_payloads import deleted, payload
from connectors.providers.shopify.simulator_resolvers import executable
from connectors.providers.shopify.simulator_schema import MAX_COST, Reader, cost, document, operation_of, schema
from connectors.providers.shopify.simulator_seeding import Seeder
from connectors.providers.shopify.simulator_shop import Shop, new_shop, stamp, tail
from connectors.sdk.client import dump_json
from connectors.sdk.records import Company, Customer, Order, Payout, Record, Refund
from connectors.testing import (
    Action,
    Author,
    Delivery,
    Grant,
    OAuthRefusal,
    OAuthRules,
    Refused,
    Simulator,
    json_body,
    json_response,
    route,
)
from connectors.testing.store import Body

CAPACITY = 2000.0
RESTORED_PER_SECOND = 100.0
UNAUTHORISED = "[API] Invalid API key or access token (unrecognized login or wrong password)"
LIMITS_PAGE = "https://shopify.dev/api/usage/rate-limits"


class ShopifySimulator(Simulator):
    """A shop is named by the path `/shops/<shop>/admin/…`, or by the Host header, or is the first one."""

    slug = "shopify"
    name = "Shopify"
    oauth_rules = OAuthRules(
        authorize_path="/shops/<shop>/admin/oauth/authorize",
        token_path="/shops/<shop>/admin/oauth/access_token",
        rotation="first_use",
        access_seconds=3600,
        refresh_seconds=90 * 86400,
        scope_separator=",",
        client_auth="body",
        picks_organisation=False,
    )
    default_organisations: ClassVar[tuple[Body, ...]] = (
        {
            "id": "kestrel-and-co.myshopify.com",
            "name": "Kestrel & Co",
            "base_currency": "GBP",
            "country": "GB",
            "time_zone": "Europe/London",
        },
        {
            "id": "harbor-goods.myshopify.com",
            "name": "Harbor Goods",
            "base_currency": "USD",
            "country": "US",
            "time_zone": "America/New_York",
        },
    )
    webhook_retries = (10, 60, 240, 600, 1200, 2400, 3600, 6000)

    # ------------------------------------------------------------------ shops and consent

    def path_of(self, request: Request) -> str:
        if not request.path.startswith("/admin/"):
            return request.path
        host = request.host.partition(":")[0]
        known = host in self.store["_organisations"]
        return f"/shops/{host if known else self.organisations()[0]['id']}{request.path}"

    def shop(self, domain: str) -> Shop:
        """Raises `Refused` (404) as Shopify does for an address nobody has."""
        if domain not in self.store["shops"]:
            raise Refused(404, "Not Found")
        return Shop(self.store, domain)

    def on_organisation(self, organisation: Body) -> None:
        known = self.store["shops"].get(organisation["id"])
        number = int(tail(known["id"])) if known else 60_000_000 + self.next_id("shops")
        now = stamp(self.now())
        times = {"createdAt": known["createdAt"] if known else now, "updatedAt": now}
        self.store["shops"].put(organisation["id"], {**new_shop(number, organisation), **times})

    def chosen_organisation(self, request: Request) -> str:
        domain = self.path_of(request).split("/")[2]
        return self.shop(domain).domain

    def callback_extras(self, organisation: str) -> dict[str, str]:
        """The callback carries the time of day, also when the simulator's clock was wound."""
        store = organisation.removesuffix(".myshopify.com")
        host = base64.urlsafe_b64encode(f"admin.shopify.com/store/{store}".encode()).rstrip(b"=").decode()
        return {"shop": organisation, "host": host, "timestamp": str(int(time.time()))}

    def signed_callback(self, query: Mapping[str, str]) -> dict[str, str]:
        return {**query, "hmac": callback_signature(query, self.keys.client_secret)}

    def token_endpoint(self, request: Request, **path: str) -> Response:
        """A code needs no `grant_type` here, and a shop answers for its own tokens only."""
        form = dict(json_body(request) if request.is_json else request.form)
        form.setdefault("grant_type", "authorization_code")
        try:
            self.oauth.check_client(form, None)
            grant, answer = self.oauth.tokens(form)
            if grant.organisation != path["shop"]:
                raise OAuthRefusal("invalid_grant")
        except OAuthRefusal as refusal:
            return self.oauth_error(refusal)
        return json_response(self.token_answer(grant, answer), headers={"Cache-Control": "no-store"})

    def oauth_error(self, refusal: OAuthRefusal) -> Response:
        words = {"invalid_grant": "The grant has expired, was used or was revoked."}
        body = {"error": refusal.code, "error_description": words.get(refusal.code, "The request was refused.")}
        return json_response(body, refusal.status)

    def new_token(self, kind: str, organisation: str) -> str:
        return f"{'shpat' if kind == 'access' else 'shprt'}_{secrets.token_hex(16)}"

    def token_answer(self, grant: Grant, answer: dict[str, Any]) -> dict[str, Any]:
        kept = ("access_token", "scope", "expires_in", "refresh_token")
        lifetime = self.oauth_rules.refresh_seconds
        return {**{name: answer[name] for name in kept}, "refresh_token_expires_in": lifetime}

    def token_of(self, request: Request) -> str:
        return request.headers.get("X-Shopify-Access-Token", "")

    def error_response(self, status: int, message: str) -> Response:
        body = {"errors": UNAUTHORISED if status == 401 else message}
        return json_response(body, status, {"X-Shopify-API-Version": API_VERSION})

    def on_disconnected(self, grant: Grant) -> None:
        """Uninstalling ends every token at once, tells of it, and takes the subscriptions along."""
        shop = self.shop(grant.organisation)
        for other in self.oauth.live_grants(grant.organisation):
            self.oauth.end(other.id)
        self.tell(shop, "app/uninstalled", "Shop", shop.body)
        shop.all("WebhookSubscription").clear()

    # ------------------------------------------------------------------ GraphQL

    @route("POST", "/shops/<shop>/admin/api/<version>/graphql.json")
    def graphql(self, request: Request, shop: str, version: str) -> Response:
        grant = self.authorised(request)
        if grant.organisation != self.shop(shop).domain:
            raise Refused(401)
        body = json_body(request)
        if not isinstance(body, dict) or not isinstance(body.get("query"), str):
            raise Refused(400, "Required parameter missing or invalid")
        answer = self.answer_query(self.call(grant, request), body)
        return json_response(answer, headers={"X-Shopify-API-Version": API_VERSION})

    def call(self, grant: Grant, request: Request) -> Call:
        shop = self.shop(grant.organisation)

        def note(action: Action, record: Record) -> None:
            self.append_ledger(organisation=shop.domain, by="connector", action=action, record=record)

        return Call(
            shop=shop,
            now=self.now(),
            scopes=grant.scopes,
            speed=self.speed,
            root_url=request.host_url,
            note=note,
            tell=lambda topic, type_, body: self.tell(shop, topic, type_, body),
            uninstall=lambda: self.on_disconnected(grant),
        )

    def answer_query(self, call: Call, body: Body) -> Body:
        """Checked, priced, paid for, executed; what was not used is given back."""
        parsed, errors = document(body["query"])
        if parsed is None or errors:
            return {"errors": [{**error.formatted, "extensions": {"code": "undefinedField"}} for error in errors]}
        variables = body.get("variables") or {}
        try:
            operation = operation_of(parsed, body.get("operationName"))
        except GraphQLError as error:
            return {"errors": [error.formatted]}
        reader, root = Reader(parsed, variables), schema().get_root_type(operation.operation)
        assert root is not None
        requested = cost(reader, root, operation.selection_set)
        if requested > MAX_COST:
            return _too_expensive(requested)
        bucket = self.bucket(call.shop.domain, capacity=CAPACITY, restore_per_second=RESTORED_PER_SECOND)
        if bucket.take(requested) is not None:
            self.counts["refused_429"] += 1
            return _throttled(requested, bucket.available)
        answer = _executed(call, parsed, operation, variables)
        actual = cost(reader, root, operation.selection_set, answer["data"]) if answer.get("data") else 0
        bucket.give_back(max(0, requested - actual))
        return {**answer, "extensions": _cost(requested, actual, bucket.available)}

    @route("GET", "/files/<name>")
    def file(self, request: Request, name: str) -> Response:
        """A bulk operation's result lies on storage that asks for no token; its name is the secret."""
        found = self.store["files"].get(name)
        if found is None:
            raise Refused(404, "Not Found")
        text = found["text"].encode()
        asked = request.range.range_for_length(len(text)) if request.range else None
        if asked is None:
            return Response(text, content_type="application/jsonl")
        first, end = asked
        part = Response(text[first:end], 206, content_type="application/jsonl")
        part.headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(text)}"
        return part

    # ------------------------------------------------------------------ webhooks

    def tell(self, shop: Shop, topic: str, type_: str, body: Body, **more: Any) -> None:
        """To every subscription of the topic."""
        enum = topic.replace("/", "_").upper()
        wanted = [found for found in shop.all("WebhookSubscription").values() if found["topic"] == enum]
        if not wanted:
            return
        content = deleted(type_, body) if topic.endswith("/delete") else payload(shop, type_, body)
        event = str(uuid.uuid4())
        for subscription in wanted:
            headers = {
                "Content-Type": "application/json",
                "X-Shopify-Topic": topic,
                "X-Shopify-Shop-Domain": shop.domain,
                "X-Shopify-API-Version": API_VERSION,
                "X-Shopify-Webhook-Id": str(uuid.uuid4()),
                "X-Shopify-Event-Id": event,
                "X-Shopify-Triggered-At": self.now().isoformat().replace("+00:00", "Z"),
            }
            delivery = Delivery(
                event_id=headers["X-Shopify-Webhook-Id"],
                body=dump_json(content),
                headers=headers,
                url=subscription["uri"],
            )
            self.emit(shop.domain, delivery)

    def webhook_headers(self, delivery: Delivery) -> dict[str, str]:
        signature = base64.b64encode(hmac.digest(self.keys.client_secret.encode(), delivery.body, "sha256")).decode()
        return {**delivery.headers, "X-Shopify-Hmac-Sha256": signature}

    # ------------------------------------------------------------------ seeding

    def seed(self, organisation: str, records: Sequence[Record], *, by: Author, emit: bool) -> list[str]:
        """Raises `Refused` for a record Shopify could not hold."""
        shop = self.shop(organisation)
        return [self._seed_one(shop, record, by, emit) for record in records]

    def _seed_one(self, shop: Shop, record: Record, by: Author, emit: bool) -> str:
        seeder = Seeder(shop, self.now())
        type_, kind, put = {
            Order: ("Order", "orders", seeder.order),
            Refund: ("Refund", "refunds", seeder.refund),
            Payout: ("ShopifyPaymentsPayout", "", seeder.payout),
            Customer: ("Customer", "customers", seeder.customer),
            Company: ("Shop", "", self._seed_company),
        }.get(type(record), ("", "", None))
        if put is None:
            raise Refused(400, f"A shop holds no {record.data_type}.")
        before = shop.get(type_, f"gid://shopify/{type_}/{record.id}") if record.id else None
        was_cancelled = bool(before and before.get("cancelledAt"))
        body = put(record)  # type: ignore[operator]
        kept = tail(body["id"])
        action: Action = "update" if before else "create"
        if body.get("cancelledAt") and not was_cancelled and before:
            action = "void"
        self._note(shop, by, action, record, kept)
        if emit and kind:
            self._announce(shop, kind, type_, body, action)
        return kept

    def _note(self, shop: Shop, by: Author, action: Action, record: Record, id: str) -> None:
        known = msgspec.structs.replace(record, id=id)
        self.append_ledger(organisation=shop.domain, by=by, action=action, record=known)

    def _announce(self, shop: Shop, kind: str, type_: str, body: Body, action: Action) -> None:
        """The topics Shopify would send; a refund also updates its order."""
        verbs = {"create": "create", "update": "updated" if kind == "orders" else "update", "void": "cancelled"}
        self.tell(shop, f"{kind}/{verbs.get(action, 'update')}", type_, body)
        if kind == "orders" and action == "create" and body["displayFinancialStatus"] == "PAID":
            self.tell(shop, "orders/paid", type_, body)
        if kind == "refunds":
            order = shop.get("Order", body["orderId"])
            if order is not None:
                self.tell(shop, "orders/updated", "Order", order)

    def _seed_company(self, record: Company) -> Body:
        changes = {
            "id": record.id or self.organisations()[0]["id"],
            "name": record.name,
            "base_currency": record.base_currency,
            "country": record.country,
            "time_zone": record.time_zone or "UTC",
        }
        self.open_organisation(changes)
        return {"id": str(changes["id"])}


def _executed(
    call: Call, parsed: DocumentNode, operation: OperationDefinitionNode, variables: Mapping[str, Any]
) -> Body:
    name = operation.name.value if operation.name else None
    result = execute_sync(
        executable(), parsed, context_value=call, variable_values=dict(variables), operation_name=name
    )
    answer: Body = {"data": result.data} if result.data is not None else {}
    if result.errors:
        answer["errors"] = [_formatted(error) for error in result.errors]
    return answer


def _formatted(error: GraphQLError) -> Body:
    formatted: Body = dict(error.formatted)
    if error.path is None:
        formatted["extensions"] = {"code": "INVALID_VARIABLE", "problems": [{"explanation": error.message}]}
    return formatted


def _cost(requested: int, actual: int | None, available: float) -> Body:
    status = {
        "maximumAvailable": CAPACITY,
        "currentlyAvailable": int(available),
        "restoreRate": RESTORED_PER_SECOND,
    }
    return {"cost": {"requestedQueryCost": requested, "actualQueryCost": actual, "throttleStatus": status}}


def _throttled(requested: int, available: float) -> Body:
    extensions = {"code": "THROTTLED", "documentation": LIMITS_PAGE}
    return {
        "errors": [{"message": "Throttled", "extensions": extensions}],
        "extensions": _cost(requested, None, available),
    }


def _too_expensive(requested: int) -> Body:
    message = f"Query cost is {requested}, which exceeds the single query max cost limit ({MAX_COST})."
    extensions = {"code": "MAX_COST_EXCEEDED", "cost": requested, "maxCost": MAX_COST, "documentation": LIMITS_PAGE}
    return {"errors": [{"message": message, "extensions": extensions}]}


SIMULATOR = ShopifySimulator
