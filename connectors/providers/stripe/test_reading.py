"""One object, error or delivery of Stripe's at a time."""

from __future__ import annotations

import datetime as dt
import json
import time
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from connectors.providers.stripe import money, reading, settling
from connectors.providers.stripe.client import StripeClient, StripeOAuth
from connectors.providers.stripe.manifest import MANIFEST
from connectors.providers.stripe.planting import DAY, FIXTURES, fixture
from connectors.providers.stripe.webhooks import WEBHOOKS, sign
from connectors.sdk.errors import (
    ConfigurationError,
    ConnectorError,
    OutcomeUnknown,
    RateLimited,
    ReconnectRequired,
    RecordRejected,
    UnexpectedResponse,
)
from connectors.sdk.oauth import TokenSet
from connectors.sdk.records import (
    Order,
    Payout,
    Refund,
)
from connectors.testing.contract import Bench


def test_money_follows_the_decimals_of_the_currency() -> None:
    assert money.from_minor(1999, "GBP") == Decimal("19.99")
    assert str(money.from_minor(1990, "usd")) == "19.90"
    assert money.from_minor(5000, "JPY") == Decimal(5000)
    assert money.from_minor(1250, "KWD") == Decimal("1.250")
    assert money.to_minor(Decimal("1.25"), "KWD") == 1250


@pytest.mark.parametrize("amount", [Decimal("19.99"), "1999", None, True])
def test_money_that_is_no_whole_number_is_not_guessed_at(amount: object) -> None:
    with pytest.raises(ValueError):
        money.from_minor(amount, "GBP")


def test_money_finer_than_a_penny_is_refused() -> None:
    with pytest.raises(ValueError):
        money.to_minor(Decimal("0.001"), "GBP")


def test_payment_is_a_sale_with_its_fee() -> None:
    found = reading.order(fixture("order")).record
    assert isinstance(found, Order)
    assert (found.number, found.total, found.status) == ("1042", Decimal("49.99"), "paid")
    assert found.payments[0].fee_amount == Decimal("0.95")
    assert (found.customer.id, found.customer.name, found.country) == ("cus_1", "Ada Byron", "GB")
    assert found.placed_at == dt.datetime.fromtimestamp(fixture("order")["created"], dt.UTC)
    assert not found.is_test


def test_payment_settled_in_another_currency_leaves_its_fee_to_the_payout() -> None:
    found = reading.order(fixture("order_in_yen_settled_in_pounds")).record
    assert isinstance(found, Order)
    assert (found.currency, found.total, found.number) == ("JPY", Decimal(5000), "ch_2")
    assert found.payments[0].fee_amount == 0
    assert found.custom["settlement_currency"] == "GBP"
    assert found.custom["settlement_amount"] == "26.38"
    assert found.custom["settlement_fee"] == "0.60"


@pytest.mark.parametrize("name", ["order_failed", "order_not_captured"])
def test_payment_without_money_is_open(name: str) -> None:
    found = reading.order(fixture(name)).record
    assert isinstance(found, Order)
    assert (found.status, found.payments, found.total) == ("open", (), Decimal("49.99"))


def test_authorisation_let_go_is_cancelled() -> None:
    body = fixture("order_not_captured") | {"refunded": True, "amount_refunded": 4999}
    found = reading.order(body).record
    assert isinstance(found, Order) and found.status == "cancelled"


def test_payment_fully_given_back_is_refunded() -> None:
    found = reading.order(fixture("order") | {"amount_refunded": 4999, "refunded": True}).record
    assert isinstance(found, Order)
    assert (found.status, found.total) == ("refunded", Decimal("49.99"))


def test_version_ignores_what_is_no_change() -> None:
    body = fixture("order")
    restless = body | {"receipt_url": "https://pay.stripe.com/receipts/payment/other"}
    collapsed = body | {"customer": "cus_1", "balance_transaction": "txn_1"}
    assert reading.version_of(body) == reading.version_of(restless) == reading.version_of(collapsed)
    assert reading.version_of(body) != reading.version_of(body | {"description": "Other"})


def test_refund_names_the_order_and_a_failed_one_never_happened() -> None:
    found = reading.refund(fixture("refund"))
    assert isinstance(found.record, Refund) and not found.is_deleted
    assert (found.record.order_id, found.record.order_number) == ("ch_1", "1042")
    assert found.record.reason == "Requested by customer"
    assert reading.refund(fixture("refund_failed")).is_deleted


def test_manual_payout_is_one_sum_and_its_own_fee() -> None:
    body = fixture("payout_manual")
    found = settling.payout(body, settling.whole(body)).record
    assert isinstance(found, Payout)
    assert (found.gross, found.fees, found.net) == (Decimal("36.91"), Decimal("0.37"), Decimal("36.54"))


def test_payout_being_added_up_is_not_booked_yet() -> None:
    body = fixture("payout_being_added_up")
    assert not settling.is_settled(body)
    found = settling.payout(body, settling.whole(body)).record
    assert isinstance(found, Payout) and found.status == "scheduled"


def test_payout_sums_every_kind_of_movement() -> None:
    kinds = {"charge": (5000, 95), "refund": (-1250, 0), "refund_failure": (300, 0), "stripe_fee": (-200, 0)}
    moved = [{"type": kind, "amount": amount, "fee": fee} for kind, (amount, fee) in kinds.items()]
    moved += [{"type": "adjustment", "amount": -1000, "fee": 1500}, {"type": "payout", "amount": -1255, "fee": 0}]
    found = settling.makeup(moved, "GBP")
    assert (found.gross, found.fees, found.refunds) == (Decimal("50.00"), Decimal("17.95"), Decimal("9.50"))
    assert (found.adjustments, found.net) == (Decimal("-10.00"), Decimal("12.55"))


def test_deleted_customer_is_a_state() -> None:
    found = reading.customer(fixture("customer_deleted"))
    assert found.is_deleted and found.external_id == "cus_2"


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"code": "rate_limit"}, RateLimited),
        (429, {"code": "lock_timeout"}, RateLimited),
        (401, {}, ReconnectRequired),
        (403, {"code": "account_invalid"}, ReconnectRequired),
        (403, {}, ConfigurationError),
        (409, {"code": "idempotency_key_in_use"}, OutcomeUnknown),
        (404, {"code": "resource_missing"}, RecordRejected),
        (404, {"message": "Unrecognized request URL"}, UnexpectedResponse),
        (402, {"type": "card_error", "message": "Your card was declined."}, RecordRejected),
    ],
)
def test_errors_say_who_has_to_act(
    bench: Bench, status: int, error: dict[str, str], expected: type[ConnectorError]
) -> None:
    refusal = bench.client.read_error(httpx.Response(status, json={"error": error}))
    assert type(refusal) is expected
    assert refusal.user_message.endswith(".")


def test_the_clock_is_the_later_of_ours_and_stripes(bench: Bench) -> None:
    assert isinstance(bench.client, StripeClient)
    bench.pass_time(40 * DAY)
    assert bench.client.now < time.time() + DAY
    bench.client.get("/v1/account")
    assert bench.client.now > time.time() + 39 * DAY


def test_a_sandbox_never_reaches_real_books(bench: Bench) -> None:
    oauth = StripeOAuth(MANIFEST, bench.simulator.keys, environment="production", http=bench.http)
    answer = {"stripe_user_id": "acct_kestrel", "livemode": False}
    with pytest.raises(ConfigurationError, match="sandbox"):
        oauth.organisations(TokenSet(access_token="sk_test", expires_in=3600, answer=answer), {})


def test_consent_link_names_no_permissions(bench: Bench) -> None:
    link = bench.oauth().authorize_url(redirect_uri="https://tieout.example/back", state="s", verifier="v")
    assert set(httpx.URL(link).params) == {"client_id", "redirect_uri", "state"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("charge_succeeded", ("order", "ch_1", "changed")),
        ("charge_refunded", ("order", "ch_1", "changed")),
        ("refund_failed", ("refund", "re_1", "changed")),
        ("payout_reconciliation_completed", ("payout", "po_1", "changed")),
        ("customer_updated", ("customer", "cus_1", "changed")),
        ("customer_deleted", ("customer", "cus_1", "deleted")),
        ("account_updated", ("company", "acct_kestrel", "changed")),
        ("account_application_deauthorized", ("company", "acct_kestrel", "revoked")),
    ],
)
def test_webhook_says_what_changed(name: str, expected: tuple[str, str, str]) -> None:
    (event,) = WEBHOOKS.events({}, (FIXTURES / f"webhook_{name}.json").read_bytes())
    assert (event.data_type, event.external_id, event.kind) == expected
    assert event.organisation_id == "acct_kestrel"
    assert event.event_id and event.occurred_at is not None and event.occurred_at.tzinfo


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("webhook_*.json")), ids=lambda file: file.stem)
def test_every_webhook_is_somebodys(file: Path) -> None:
    (event,) = WEBHOOKS.events({}, file.read_bytes())
    assert event.organisation_id == "acct_kestrel" and event.external_id


def test_webhook_of_our_own_account_is_nobodys() -> None:
    body = fixture("webhook_charge_succeeded")
    del body["account"]
    assert WEBHOOKS.events({}, json.dumps(body, default=str).encode()) == []


def test_webhook_we_do_not_follow_is_left_out() -> None:
    body = fixture("webhook_charge_succeeded") | {"type": "invoice.paid", "data": {"object": {"object": "invoice"}}}
    assert WEBHOOKS.events({}, json.dumps(body, default=str).encode()) == []


@pytest.mark.parametrize(("age", "is_believed"), [(0, True), (290, True), (310, False), (-310, False)])
def test_webhook_is_believed_for_five_minutes(age: int, is_believed: bool) -> None:
    stamp, body = int(time.time()) - age, b'{"object":"event"}'
    header = f"t={stamp},v1={'0' * 64},v1={sign(body, 'whsec', stamp)},v0=none"
    assert WEBHOOKS.is_genuine({"stripe-signature": header}, body, ["whsec"]) is is_believed


def test_disconnecting_at_stripe_is_told(bench: Bench) -> None:
    with bench.simulator.lock:
        _, _ = bench.simulator.oauth.grant_for("acct_kestrel", (), "person-1")
    bench.http.post("http://simulator.test/_sim/disconnect", json={"organisation": "acct_kestrel"})
    told = bench.simulator.outbox.deliveries()[-1]
    (event,) = WEBHOOKS.events({}, told["body"].encode())
    assert (event.kind, event.organisation_id) == ("revoked", "acct_kestrel")
