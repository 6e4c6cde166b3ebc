from __future__ import annotations

import datetime as dt
import importlib
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec
import pytest
from graphql import GraphQLObjectType, get_named_type, is_composite_type
from werkzeug.serving import make_server

from connectors.providers.shopify import nodes
from connectors.providers.shopify.reading import read_customer, read_order, read_payout, read_refund
from connectors.providers.shopify.simulator import ShopifySimulator
from connectors.providers.shopify.simulator_schema import schema
from connectors.providers.shopify.webhooks import TOPICS, WEBHOOKS
from connectors.sdk.client import dump_json, parse_json
from connectors.sdk.records import Address, Customer, Order, Party, Record, SaleLine, SalePayment
from connectors.sdk.streams import Draft
from connectors.testing.contract import Bench, ConnectorContract
from connectors.testing.contract.setup import redraft

FOLDER = Path(__file__).parent
KESTREL = "kestrel-and-co.myshopify.com"
#: These ship without types.
jsonschema: Any = importlib.import_module("jsonschema")
shopify: Any = importlib.import_module("shopify")
PLACED = dt.datetime(2026, 10, 3, 9, 15, tzinfo=dt.UTC)


class TestShopify(ConnectorContract):
    slug = "shopify"
    settings = {"shop": KESTREL}
    no_bad_draft = frozenset()

    def sample(self, bench: Bench, data_type: str, position: int) -> Record:
        """Shopify lets a phone number belong to one customer only."""
        record = super().sample(bench, data_type, position)
        if not isinstance(record, Customer):
            return record
        return msgspec.structs.replace(record, phone=f"+44207946{position:04d}")

    def bad_draft(self, draft: Draft) -> Draft:
        """A country Shopify's schema does not know fails the whole call, unless the connector sends the rest apart."""
        return redraft(draft, address=Address(line1="1 Nowhere Road", country="ZY"))


# ---------------------------------------------------------------------- the published shapes


def fixture_of(name: str) -> Any:
    return parse_json((FOLDER / "fixtures" / f"{name}.json").read_bytes())


def test_order_fixture_reads_every_kind_of_line() -> None:
    order = read_order(nodes.ORDER.decode(dump_json(fixture_of("order"))))
    assert [(line.kind, line.amount) for line in order.lines] == [
        ("item", Decimal("91.00")),
        ("gift_card", Decimal("50.00")),
        ("shipping", Decimal("4.95")),
        ("duty", Decimal("3.00")),
        ("adjustment", Decimal("2.00")),
        ("rounding", Decimal("0.03")),
        ("tip", Decimal("7.00")),
    ]
    assert (order.total, order.tax_total, order.discount_total) == (
        Decimal("157.98"),
        Decimal("15.99"),
        Decimal("5.00"),
    )
    assert order.lines[0].discount_amount == Decimal("5.00")
    assert (order.lines[0].taxes[0].name, order.lines[0].taxes[0].rate) == ("VAT", Decimal("0.2"))
    assert (order.payments[0].method, order.payments[0].fee_amount) == ("Shopify Payments", Decimal("2.62"))
    assert (order.customer.name, order.country, order.tags) == ("Alice Harrow", "GB", ("trade",))
    assert order.placed_at == PLACED


def test_refund_fixture_shares_tax_out_and_keeps_the_discrepancy() -> None:
    refund = read_refund(nodes.REFUND.decode(dump_json(fixture_of("refund"))))
    assert [(line.kind, line.amount, line.tax_amount) for line in refund.lines] == [
        ("item", Decimal("45.50"), Decimal("7.58")),
        ("shipping", Decimal("2.45"), Decimal("0.41")),
        ("adjustment", Decimal("-0.50"), Decimal(0)),
    ]
    assert (refund.total, refund.order_number) == (Decimal("47.45"), "#1001")
    assert refund.payments[0].amount == refund.total


def test_payout_fixture_adds_up() -> None:
    payout = read_payout(fixture_of("payout"))
    assert payout.net == payout.gross - payout.fees - payout.refunds + payout.adjustments == Decimal("92.91")
    assert (payout.refunds, payout.adjustments) == (Decimal("47.45"), Decimal("-15.00"))
    assert (payout.paid_date, payout.status) == (dt.date(2026, 10, 7), "paid")


def test_customer_fixture_reads_the_default_address() -> None:
    customer = read_customer(fixture_of("customer"))
    assert (customer.name, customer.company) == ("Alice Harrow", "Harrow Interiors")
    assert (customer.address.city, customer.address.country) == ("Bristol", "GB")


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("order", "Order"),
        ("refund", "Refund"),
        ("payout", "ShopifyPaymentsPayout"),
        ("customer", "Customer"),
        ("company", "Shop"),
    ],
)
def test_fixtures_have_only_fields_of_the_published_schema(name: str, type_: str) -> None:
    assert unknown_fields(fixture_of(name), type_) == []


def unknown_fields(body: dict[str, Any], type_: str) -> list[str]:
    owner = schema().type_map[type_]
    assert isinstance(owner, GraphQLObjectType)
    found = []
    for name, value in body.items():
        if name not in owner.fields:
            found.append(f"{type_}.{name}")
            continue
        inner = get_named_type(owner.fields[name].type)
        if is_composite_type(inner):
            children = value if isinstance(value, list) else [value]
            of = inner.name.removesuffix("Connection")
            found += [wrong for child in children if child for wrong in unknown_fields(child, of)]
    return found


SHAPED_LIKE = {
    "orders/updated": "orders/create",
    "orders/paid": "orders/create",
    "orders/cancelled": "orders/create",
    "customers/update": "customers/create",
}


def published_schema(topic: str) -> Any:
    """The part of Shopify's published payload schemas that the simulator fills."""
    schemas = json.loads((FOLDER / "webhook_schemas.json").read_text())
    return schemas[SHAPED_LIKE.get(topic, topic)]


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_webhook_fixtures_keep_the_published_schema_and_are_understood(topic: str) -> None:
    name = f"webhook_{topic.replace('/', '_')}"
    body = (FOLDER / "fixtures" / f"{name}.json").read_bytes()
    jsonschema.validate(json.loads(body), published_schema(topic))
    headers = {"x-shopify-topic": topic, "x-shopify-shop-domain": KESTREL, "x-shopify-webhook-id": "w-1"}
    (event,) = WEBHOOKS.events(headers, body)
    ids = {"order": "6001001001", "refund": "9001001", "customer": "7001002003", "company": KESTREL}
    assert (event.organisation_id, event.external_id) == (KESTREL, ids[event.data_type])
    assert event.kind == {"delete": "deleted", "uninstalled": "revoked"}.get(topic.split("/")[1], "changed")


def test_what_the_simulator_sends_keeps_the_published_schema() -> None:
    simulator = ShopifySimulator()
    simulator.outbox.behave({"paused": True})
    shop = simulator.shop(KESTREL)
    for topic in TOPICS:
        id, enum = f"gid://shopify/WebhookSubscription/{topic}", topic.replace("/", "_").upper()
        shop.put("WebhookSubscription", {"id": id, "topic": enum, "uri": "https://tieout.example/hooks"})
    home = Address(line1="1 Quay Street", line2="Unit 2", city="Bristol", country="GB")
    buyer = Customer(id="5", name="Bob Reed", email="bob@reed.example", company="Reed Ltd", address=home)
    line = SaleLine(description="Oak shelf", sku="OAK", amount=Decimal("91.00"), discount_amount=Decimal("5.00"))
    paid = SalePayment(id="", method="cash", amount=Decimal("91.00"), paid_at=PLACED)
    order = Order(
        id="",
        number="#1002",
        placed_at=PLACED,
        updated_at=PLACED,
        currency="GBP",
        total=Decimal("91.00"),
        status="paid",
        customer=Party(id="5", name="Bob Reed", email="bob@reed.example", country="GB"),
        lines=(line,),
        payments=(paid,),
    )
    simulator.plant(KESTREL, [buyer])
    simulator.plant(KESTREL, [order], emit=True)
    sent = {entry["headers"]["X-Shopify-Topic"]: json.loads(entry["body"]) for entry in simulator.outbox.deliveries()}
    assert set(sent) == {"orders/create", "orders/paid"}
    for topic, body in sent.items():
        jsonschema.validate(body, published_schema(topic))


# ---------------------------------------------------------------------- the official SDK, unchanged


@pytest.fixture
def server() -> Iterator[tuple[ShopifySimulator, str]]:
    simulator = ShopifySimulator()
    running = make_server("127.0.0.1", 0, simulator, threaded=True)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield simulator, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()
    simulator.close()


def test_official_sdk_works_unchanged(server: tuple[ShopifySimulator, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK calls the shop by its real name; a proxy setting leads that name to the simulator."""
    simulator, url = server
    monkeypatch.setenv("http_proxy", url)
    monkeypatch.setenv("no_proxy", "")
    order = Order(
        id="41",
        number="#1041",
        placed_at=PLACED,
        updated_at=PLACED,
        currency="USD",
        total=Decimal("10.80"),
        tax_total=Decimal("0.80"),
        lines=(SaleLine(description="Mug", amount=Decimal("10.80")),),
    )
    shop = "harbor-goods.myshopify.com"
    simulator.plant(shop, [order])
    _, tokens = simulator.oauth.grant_for(shop, ("read_orders", "read_all_orders"), "alice")
    shopify.Session.setup(protocol="http")
    with shopify.Session.temp(shop, "2026-07", tokens["access_token"]):
        answer = shopify.GraphQL().execute(
            """query recent($first: Int!) {
              shop { name currencyCode }
              orders(first: $first, reverse: true) { edges { cursor node { ...parts } } pageInfo { hasNextPage } }
            }
            fragment parts on Order { id name totalPriceSet { shopMoney { amount currencyCode } } }""",
            {"first": 5},
            "recent",
        )
    body = json.loads(answer)
    assert body["data"]["shop"] == {"name": "Harbor Goods", "currencyCode": "USD"}
    (edge,) = body["data"]["orders"]["edges"]
    assert edge["node"]["name"] == "#1041"
    assert edge["node"]["totalPriceSet"]["shopMoney"] == {"amount": "10.80", "currencyCode": "USD"}
    cost = body["extensions"]["cost"]
    assert cost["requestedQueryCost"] == 1 + 2 + 5 * 3
    assert cost["actualQueryCost"] == 1 + 2 + 3
    shopify.ShopifyResource.clear_session()


def test_official_sdk_accepts_the_signed_callback(server: tuple[ShopifySimulator, str]) -> None:
    simulator, url = server
    shopify.Session.setup(api_key=simulator.keys.client_id, secret=simulator.keys.client_secret)
    session = shopify.Session(KESTREL, "2026-07")
    asked = urlsplit(session.create_permission_url(["read_orders"], "https://tieout.example/callback", "state=1&x"))
    assert asked.hostname == KESTREL
    page = f"{url}/shops/{KESTREL}{asked.path}?{asked.query}"
    form = {**dict(parse_qsl(asked.query)), "decision": "allow"}
    back = httpx.post(page, data=form)
    params = dict(parse_qsl(urlsplit(back.headers["location"]).query))
    assert (params["shop"], params["state"]) == (KESTREL, "state=1&x")
    assert shopify.Session.validate_params(params)
    assert not shopify.Session.validate_params({**params, "shop": "other.myshopify.com"})
