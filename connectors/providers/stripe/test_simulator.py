"""The simulator against Stripe's specification and Stripe's own SDK."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
import stripe
from werkzeug.serving import make_server

from connectors.providers.stripe import simulator_bodies
from connectors.providers.stripe.client import StripeClient
from connectors.providers.stripe.planting import FIXTURES, MOMENT, fixture, order, payout, plant, refund_of
from connectors.providers.stripe.simulator import StripeSimulator
from connectors.sdk.records import (
    Customer,
    Order,
    Party,
    Refund,
)
from connectors.testing.contract import Bench
from connectors.testing.outbox import as_delivery


def conforms(body: Any, name: str) -> None:
    definitions = json.loads((FIXTURES / "specification.json").read_text())["definitions"]
    jsonschema.Draft202012Validator(definitions[name]).validate(json.loads(json.dumps(body, default=str)))


def test_simulator_answers_as_the_specification_says(bench: Bench) -> None:
    plant(bench, order(1), refund_of("ch_1", "9.99"), Customer(id="cus_1", name="Ada Byron"), payout("9.00", "1.00"))
    plant(bench, order(2, status="open"), order(3, total="5000", currency="JPY", customer=Party(id="cus_1")))
    client = bench.client
    assert isinstance(client, StripeClient)
    for plural in ("charges", "refunds", "payouts", "balance_transactions", "customers", "events"):
        listed = client.get(f"/v1/{plural}", [("limit", "100")])
        conforms({**listed, "data": []}, "list")
        assert listed["data"]
        for body in listed["data"]:
            conforms({**body, "exchange_rate": 1.0} if "exchange_rate" in body else body, plural[:-1])
            assert client.get(f"/v1/{plural}/{body['id']}") == body
    conforms(client.get("/v1/account"), "account")


def test_simulator_refuses_as_the_specification_says(bench: Bench) -> None:
    plant(bench, order(1))
    token = {"Authorization": f"Bearer {bench.token.current()}"}
    paths = [
        "charges/ch_none",
        "charges?limit=101",
        "charges?starting_after=ch_none",
        "charges?created[gt]=x",
        "nothing",
    ]
    paths += ["charges?expand[]=data.amount", "customers/search?query=nonsense"]
    for path in paths:
        answer = bench.http.get(f"http://simulator.test/v1/{path}", headers=token)
        assert answer.status_code in (400, 404)
        conforms(answer.json(), "error")
    stranger = bench.http.get("http://simulator.test/v1/charges", headers={"Authorization": "Bearer sk_wrong"})
    assert stranger.status_code == 401
    conforms(stranger.json(), "error")


def test_fixtures_are_as_the_specification_says() -> None:
    names = {"order": "charge", "company": "account"}
    for name in ("order", "refund", "payout", "balance_transaction", "customer", "company", "webhook_charge_succeeded"):
        conforms(fixture(name), "event" if name.startswith("webhook") else names.get(name, name))


def test_simulator_slows_down_the_26th_call_in_a_second(bench: Bench) -> None:
    token = {"Authorization": f"Bearer {bench.token.current()}"}
    answers = [bench.http.get("http://simulator.test/v1/charges", headers=token) for _ in range(26)]
    assert [answer.status_code for answer in answers] == [200] * 25 + [429]
    assert answers[-1].headers["Stripe-Rate-Limited-Reason"] == "endpoint-rate"
    assert answers[-1].json()["error"]["code"] == "rate_limit"


def test_simulator_keeps_accounts_apart(bench: Bench) -> None:
    plant(bench, order(1))
    client = bench.client
    assert isinstance(client, StripeClient)
    client.get("/v1/charges/ch_1")
    with bench.simulator.lock:
        _, other = bench.simulator.oauth.grant_for("acct_harbor", (), "person-2")
    strange = {"Authorization": f"Bearer {other['access_token']}"}
    assert bench.http.get("http://simulator.test/v1/charges/ch_1", headers=strange).status_code == 404
    assert bench.http.get("http://simulator.test/v1/charges", headers=strange).json()["data"] == []


@pytest.mark.parametrize(
    ("units", "currency", "fee"), [(10_000, "GBP", 170), (10_000, "USD", 320), (4999, "GBP", 95), (10, "GBP", 10)]
)
def test_simulator_charges_stripes_prices(units: int, currency: str, fee: int) -> None:
    assert simulator_bodies.price(units, currency) == fee


def test_simulator_exchanges_what_is_charged_in_another_currency(bench: Bench) -> None:
    plant(bench, order(1, total="100.00", currency="EUR"))
    (found,) = bench.read("order")
    assert isinstance(found.record, Order)
    assert found.record.custom["exchange_rate"] == "0.850394"
    assert found.record.custom["settlement_amount"] == "85.04"
    (payment,) = found.record.payments
    assert (payment.settled_amount, payment.settled_currency) == (Decimal("85.04"), "GBP")


def test_what_is_paid_back_in_another_currency_tells_what_left_the_balance(bench: Bench) -> None:
    plant(bench, order(1, total="100.00", currency="EUR"))
    plant(bench, refund_of("ch_1", "30.00"))
    (found,) = bench.read("refund")
    assert isinstance(found.record, Refund)
    (payment,) = found.record.payments
    assert (payment.amount, payment.settled_amount, payment.settled_currency) == (
        Decimal("30.00"),
        Decimal("25.51"),
        "GBP",
    )


@pytest.fixture
def served() -> Iterator[tuple[StripeSimulator, stripe.StripeClient]]:
    """The simulator on a loopback port, and Stripe's own SDK pointed at it."""
    simulator = StripeSimulator()
    simulator.outbox.behave({"paused": True})
    server = make_server("127.0.0.1", 0, simulator, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with simulator.lock:
        _, answer = simulator.oauth.grant_for("acct_kestrel", (), "person-1")
    address = f"http://127.0.0.1:{server.server_port}"
    http_client = stripe.RequestsClient()
    yield (
        simulator,
        stripe.StripeClient(answer["access_token"], base_addresses={"api": address}, http_client=http_client),
    )
    http_client.close()  # type: ignore[no-untyped-call]  # of the SDK
    server.shutdown()
    thread.join()
    server.server_close()
    simulator.close()


Served = tuple[StripeSimulator, stripe.StripeClient]


def test_sdk_pages_expands_and_filters(served: Served) -> None:
    simulator, sdk = served
    records = [order(number, at=MOMENT + dt.timedelta(seconds=number)) for number in range(25)]
    simulator.plant("acct_kestrel", records)
    listed = sdk.v1.charges.list({"limit": 10, "expand": ["data.balance_transaction"]})
    everything = list(listed.auto_paging_iter())
    assert [charge.id for charge in everything] == [f"ch_{number}" for number in range(24, -1, -1)]
    movement = everything[0].balance_transaction
    assert isinstance(movement, stripe.BalanceTransaction) and movement.net == 4999 - 95
    before = sdk.v1.charges.list({"limit": 3, "ending_before": "ch_10"})
    assert [charge.id for charge in before.data] == ["ch_13", "ch_12", "ch_11"]
    late = sdk.v1.charges.list({"created": {"gte": int(MOMENT.timestamp()) + 23}})
    assert [charge.id for charge in late.data] == ["ch_24", "ch_23"]
    told = sdk.v1.events.list({"types": ["charge.succeeded"], "limit": 2})
    assert [event.type for event in told.data] == ["charge.succeeded"] * 2


def test_sdk_writes_and_is_refused_in_stripes_own_errors(served: Served) -> None:
    _, sdk = served
    options: Any = {"idempotency_key": "k-1"}
    params: Any = {"name": "Ada Byron", "address": {"country": "GB"}, "metadata": {"ref": "1"}}
    first = sdk.v1.customers.create(params, options)
    assert sdk.v1.customers.create(params, options).id == first.id
    with pytest.raises(stripe.IdempotencyError):
        sdk.v1.customers.create({"name": "Bob"}, options)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        sdk.v1.charges.retrieve("ch_none")
    assert caught.value.code == "resource_missing"
    with pytest.raises(stripe.CardError):
        sdk.v1.charges.create({"amount": 500, "currency": "gbp", "source": "tok_chargeDeclined"})
    assert sdk.v1.customers.delete(first.id).deleted


def test_sdk_refunds_in_parts_and_no_more_than_was_paid(served: Served) -> None:
    simulator, sdk = served
    charge = sdk.v1.charges.create({"amount": 5000, "currency": "gbp", "source": "tok_visa"})
    part = sdk.v1.refunds.create({"charge": charge.id, "amount": 1250, "expand": ["balance_transaction"]})
    movement = part.balance_transaction
    assert isinstance(movement, stripe.BalanceTransaction) and movement.amount == -1250
    with pytest.raises(stripe.InvalidRequestError):
        sdk.v1.refunds.create({"charge": charge.id, "amount": 3751})
    sdk.v1.refunds.create({"charge": charge.id})
    whole = sdk.v1.charges.retrieve(charge.id, {"expand": ["refunds"]})
    assert whole.refunded and whole.refunds is not None and len(whole.refunds.data) == 2
    assert [line["by"] for line in simulator.ledger.after(0)] == ["connector"] * 3


def test_sdk_pays_out_by_hand_what_is_available(served: Served) -> None:
    simulator, sdk = served
    simulator.plant("acct_kestrel", [order(1, total="100.00", at=simulator.now() - dt.timedelta(days=3))])
    paid = sdk.v1.payouts.create({"amount": 9000, "currency": "gbp"})
    assert (paid.automatic, paid.status) == (False, "in_transit")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        sdk.v1.payouts.create({"amount": 831, "currency": "gbp"})
    assert caught.value.code == "balance_insufficient"
    with pytest.raises(stripe.InvalidRequestError, match="automatic"):
        sdk.v1.balance_transactions.list({"payout": paid.id})
    balance = sdk.v1.balance.retrieve()
    assert [(part.amount, part.currency) for part in balance.available] == [(9830, "gbp")]
    assert [(part.amount, part.currency) for part in balance.pending] == [(-9000, "gbp")]


def test_sdk_rewords_a_payment(served: Served) -> None:
    simulator, sdk = served
    simulator.plant("acct_kestrel", [order(1)])
    changed = sdk.v1.charges.update("ch_1", {"description": "Bicycle", "metadata": {"order_number": ""}})
    assert (changed.description, changed.metadata.to_dict()) == ("Bicycle", {})
    with pytest.raises(stripe.InvalidRequestError):
        sdk.raw_request("post", "/v1/charges/ch_1", amount=1)


def test_sdk_believes_the_simulators_webhooks(served: Served) -> None:
    simulator, _ = served
    simulator.plant("acct_kestrel", [order(1)], emit=True)
    sent = simulator.outbox.deliveries()[0]
    header = simulator.webhook_headers(as_delivery(sent))["Stripe-Signature"]
    secret = simulator.keys.webhook_secrets[0]
    event = stripe.Webhook.construct_event(sent["body"], header, secret)
    assert (event.type, event.account) == ("charge.succeeded", "acct_kestrel")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(sent["body"], header, "another-secret")
