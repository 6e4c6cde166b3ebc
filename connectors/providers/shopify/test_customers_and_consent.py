"""Writing customers, and the ways into a shop and out of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.providers.shopify.manifest import MANIFEST
from connectors.providers.shopify.oauth import ShopifyOAuth, callback_signature
from connectors.providers.shopify.simulated_world import KESTREL, SCOPES, World, refund_of, sale
from connectors.providers.shopify.streams import Customers, Orders
from connectors.providers.shopify.webhooks import TOPICS, WEBHOOKS
from connectors.sdk.errors import ConfigurationError, ReconnectRequired, RecordRejected
from connectors.sdk.records import Address, Customer, Party
from connectors.sdk.streams import Draft, Written


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.http.close()
    made.simulator.close()


# ---------------------------------------------------------------------- customers


def customer_draft(**changes: Any) -> Draft:
    given: dict[str, Any] = {"id": "", "name": "Alice Harrow", "email": "alice@harrow.example"}
    return Draft(key="k-1", reference="TO-1", document=Customer(**{**given, **changes}))


def test_a_repeated_creation_answers_the_customer_it_made(world: World) -> None:
    for draft in (customer_draft(), customer_draft(name="No Address", email="")):
        (first,) = Customers().create(world.client, [draft], key="once")
        (second,) = Customers().create(world.client, [draft], key="again")
        assert isinstance(first, Written) and isinstance(second, Written)
        assert first.external_id == second.external_id
        world.simulator.shop(KESTREL).all("Customer").clear()


def test_a_customer_of_somebody_elses_is_not_taken_over(world: World) -> None:
    world.plant(Customer(id="5", name="Bob Reed", email="alice@harrow.example"))
    (outcome,) = Customers().create(world.client, [customer_draft()], key="once")
    assert isinstance(outcome, RecordRejected)
    assert outcome.code == "duplicate"
    assert outcome.user_message == "Shopify did not accept this customer: email has already been taken."


def test_a_customer_changed_meanwhile_is_not_overwritten(world: World) -> None:
    world.plant(Customer(id="5", name="Alice Harrow", email="alice@harrow.example"))
    (held,) = Customers().fetch(world.client, ["5"]).records
    world.plant(Customer(id="5", name="Alice Harrow", email="alice@new.example"))
    outcome = Customers().update(world.client, "5", customer_draft(phone="+442079460000"), version=held.version)
    assert isinstance(outcome, RecordRejected)
    assert outcome.code == "stale"


def test_an_address_is_written_with_the_customer(world: World) -> None:
    world.plant(Customer(id="5", name="Alice Harrow", address=Address(line1="1 Old Road", city="Bristol")))
    address = Address(line1="12 Quay Street", postal_code="BS1 4XY", country="GB")
    draft = customer_draft(address=address, company="Harrow Interiors")
    outcome = Customers().update(world.client, "5", draft, version="")
    assert isinstance(outcome, Written)
    (after,) = Customers().fetch(world.client, ["5"]).records
    assert isinstance(after.record, Customer)
    assert after.record.company == "Harrow Interiors"
    assert (after.record.address.line1, after.record.address.city) == ("12 Quay Street", "Bristol")


def test_a_customer_with_orders_stays(world: World) -> None:
    world.plant(Customer(id="5", name="Alice Harrow", email="alice@harrow.example"), Customer(id="6", name="Bob Reed"))
    world.plant(sale(1001, customer=Party(id="5", name="Alice Harrow")))
    kept, deleted = Customers().void(world.client, ["5", "6"])
    assert isinstance(kept, RecordRejected) and isinstance(deleted, Written)
    assert [found.external_id for found in Customers().fetch(world.client, ["5", "6"]).records] == ["5"]


# ---------------------------------------------------------------------- consent, tokens and webhooks


def oauth_of(world: World, shop: str = KESTREL) -> ShopifyOAuth:
    return ShopifyOAuth(
        MANIFEST,
        world.simulator.keys,
        environment="production",
        simulator="http://simulator.test",
        settings={"shop": shop},
        http=world.http,
    )


def callback(world: World, **changes: str) -> dict[str, str]:
    params = {
        "code": "c",
        "shop": KESTREL,
        "state": "s",
        "timestamp": str(int(time.time())),
        "host": "aG9zdA",
        **changes,
    }
    return {**params, "hmac": callback_signature(params, world.simulator.keys.client_secret)}


def test_only_a_fresh_callback_for_this_shop_is_believed(world: World) -> None:
    oauth = oauth_of(world)
    oauth.check_callback(callback(world))
    stale = callback(world, timestamp=str(int(time.time()) - 3600))
    for wrong in ({**callback(world), "code": "d"}, callback(world, shop="other.myshopify.com"), stale, {"code": "c"}):
        with pytest.raises(ConfigurationError):
            oauth.check_callback(wrong)


@pytest.mark.parametrize(
    "shop", ["", "evil.example", "shop.myshopify.com.evil.example", "-shop.myshopify.com", "a/b.myshopify.com"]
)
def test_an_address_that_is_no_shop_is_never_called(world: World, shop: str) -> None:
    with pytest.raises(ConfigurationError):
        oauth_of(world, shop).authorize_url(redirect_uri="https://tieout.example/cb", state="s", verifier="v")


def test_a_lost_refresh_may_be_repeated_until_its_successor_was_used(world: World) -> None:
    oauth = oauth_of(world)
    _, first = world.simulator.oauth.grant_for(KESTREL, SCOPES, "alice")
    oauth.refresh(first["refresh_token"])
    second = oauth.refresh(first["refresh_token"])
    assert second.refresh_expires_in == 90 * 86400
    oauth.refresh(second.refresh_token)
    with pytest.raises(ReconnectRequired):
        oauth.refresh(first["refresh_token"])


def test_subscribing_twice_is_subscribing_once(world: World) -> None:
    url = "https://tieout.example/hooks/1"
    subscriptions = world.simulator.shop(KESTREL).all("WebhookSubscription")
    WEBHOOKS.subscribe(world.client, url)
    WEBHOOKS.subscribe(world.client, url)
    assert len(subscriptions) == len(TOPICS)
    WEBHOOKS.unsubscribe(world.client, url)
    WEBHOOKS.unsubscribe(world.client, url)
    assert len(subscriptions) == 0


def test_a_refund_tells_of_itself_and_of_its_order(world: World) -> None:
    WEBHOOKS.subscribe(world.client, "https://tieout.example/hooks/1")
    world.plant(sale(1001))
    world.simulator.plant(KESTREL, [refund_of(sale(1001), 77)], emit=True)
    topics = [entry["headers"]["X-Shopify-Topic"] for entry in world.simulator.outbox.deliveries()]
    assert topics == ["refunds/create", "orders/updated"]


def test_uninstalling_ends_the_access_and_is_told(world: World) -> None:
    WEBHOOKS.subscribe(world.client, "https://tieout.example/hooks/1")
    oauth = oauth_of(world)
    _, answer = world.simulator.oauth.grant_for(KESTREL, SCOPES, "alice")
    oauth.revoke(oauth.token_set(answer))
    (delivery,) = world.simulator.outbox.deliveries()
    headers = {name.lower(): value for name, value in delivery["headers"].items()}
    (event,) = WEBHOOKS.events(headers, delivery["body"].encode())
    assert (event.kind, event.organisation_id) == ("revoked", KESTREL)
    with pytest.raises(ReconnectRequired):
        Orders().fetch(world.client, ["1001"])
    oauth.revoke(oauth.token_set(answer))
