"""Webhooks: genuine ones are kept once and acknowledged after that; nothing else leaves a trace."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import uuid
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection as database
from django.test import Client
from pytest_django import Settings

from connectors.registry import connector
from marketplace.core.clock import now
from marketplace.core.models import EventCopy, InboxEvent, WebhookDelivery, WebhookRoute, WorkItem
from marketplace.installations.inbox import body_of as body_of_delivery
from marketplace.installations.registrations import webhook_secrets
from marketplace.installations.rotation import Rotation, reseal_deliveries
from marketplace.installations.vault import UnableToOpen
from marketplace.sync.intake import MAX_BODY_BYTES, NotGenuine, Received, receive_delivery
from tenants.models import Tenant

SECRET = "the secret of the registration"
SHOP = "kestrel.myshopify.com"


def body_of(order_id: int = 1) -> bytes:
    return json.dumps({"id": order_id, "admin_graphql_api_id": f"gid://shopify/Order/{order_id}"}).encode()


def signature(body: bytes, secret: str = SECRET) -> str:
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def headers_of(body: bytes, *, secret: str = SECRET, shop: str = SHOP, event: str = "e1") -> dict[str, str]:
    return {
        "x-shopify-hmac-sha256": signature(body, secret),
        "x-shopify-topic": "orders/updated",
        "x-shopify-shop-domain": shop,
        "x-shopify-webhook-id": event,
    }


def receive(body: bytes, headers: dict[str, str], secrets: tuple[str, ...] = (SECRET,)) -> Received:
    return receive_delivery(
        connector=connector("shopify"),
        environment="simulator",
        headers=headers,
        body=body,
        secrets=secrets,
        source_address="127.0.0.1",
        at=now(),
    )


def belongs_to(*owners: Tenant, shop: str = SHOP) -> None:
    for owner in owners:
        WebhookRoute.objects.create(
            connector="shopify", environment="simulator", organisation_id=shop, tenant=owner, connection_id=uuid.uuid4()
        )


def assert_nothing_kept() -> None:
    assert not WebhookDelivery.objects.exists()
    assert not InboxEvent.objects.exists()
    assert not WorkItem.objects.filter(kind="events").exists()


def test_genuine_delivery_is_kept_and_asks_for_work(tenant: Tenant) -> None:
    belongs_to(tenant)
    body = body_of()
    assert receive(body, headers_of(body)) == Received(True, 1, 1)
    event = InboxEvent.objects.get()
    assert (event.state, event.data_type, event.external_id, event.event_key) == ("routed", "order", "1", "e1")
    assert body_of_delivery(WebhookDelivery.objects.get()) == body
    assert WorkItem.objects.get(kind="events").tenant == tenant


@pytest.mark.parametrize("position", [0, 5, -1])
def test_one_flipped_bit_proves_nothing(tenant: Tenant, position: int) -> None:
    belongs_to(tenant)
    body = bytearray(body_of())
    headers = headers_of(bytes(body))
    body[position] ^= 1
    with pytest.raises(NotGenuine):
        receive(bytes(body), headers)
    assert_nothing_kept()


@pytest.mark.parametrize("secrets", [(), ("",), ("", "")])
def test_no_configuration_accepts_without_a_secret(tenant: Tenant, secrets: tuple[str, ...]) -> None:
    belongs_to(tenant)
    body = body_of()
    with pytest.raises(NotGenuine):
        receive(body, headers_of(body, secret=""), secrets)
    assert_nothing_kept()


@pytest.mark.parametrize("given", ["", "bm9uc2Vuc2U=", "not base64 !"])
def test_missing_or_foreign_signature_proves_nothing(tenant: Tenant, given: str) -> None:
    belongs_to(tenant)
    body = body_of()
    with pytest.raises(NotGenuine):
        receive(body, {**headers_of(body), "x-shopify-hmac-sha256": given})
    assert_nothing_kept()


def test_while_a_secret_is_replaced_both_count(tenant: Tenant) -> None:
    belongs_to(tenant)
    for number, secret in enumerate((SECRET, "the next one")):
        body = body_of(number + 1)
        receive(body, headers_of(body, secret=secret, event=f"e{number}"), (SECRET, "the next one"))
    assert InboxEvent.objects.count() == 2


def test_repeated_delivery_is_acknowledged_and_kept_once(tenant: Tenant) -> None:
    belongs_to(tenant)
    body = body_of()
    receive(body, headers_of(body))
    assert receive(body, headers_of(body)) == Received(False, 0, 0)
    assert EventCopy.objects.count() == 1


def test_same_event_in_another_envelope_is_one_event(tenant: Tenant) -> None:
    belongs_to(tenant)
    for body in (body_of(), body_of() + b" "):
        receive(body, headers_of(body))
    assert (WebhookDelivery.objects.count(), InboxEvent.objects.count(), EventCopy.objects.count()) == (2, 1, 1)


def test_unknown_organisation_is_parked_never_dropped_or_guessed(tenant: Tenant) -> None:
    belongs_to(tenant)
    body = body_of()
    assert receive(body, headers_of(body, shop="stranger.myshopify.com")) == Received(True, 1, 0)
    event = InboxEvent.objects.get()
    assert (event.state, bool(event.reason)) == ("parked", True)
    assert not EventCopy.objects.exists()


def test_operator_sees_what_is_parked_and_unreadable(tenant: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    body, broken = body_of(), b'{"no": "id"}'
    receive(body, headers_of(body, shop="stranger.myshopify.com"))
    receive(broken, headers_of(broken))
    call_command("inbox")
    told = capsys.readouterr().out
    assert "1 shopify simulator stranger.myshopify.com" in told
    assert "Unreadable deliveries, kept sealed: 1" in told and "names the object" in told


def test_unreadable_delivery_is_shown_and_read_again_once_its_reader_is_mended(
    tenant: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    belongs_to(tenant)
    body, broken = body_of(7), b'{"no": "id"}'
    receive(body, headers_of(body))
    receive(broken, headers_of(broken))
    # As a version before this one kept it, whose reader was at fault.
    EventCopy.objects.all().delete()
    InboxEvent.objects.all().delete()
    WorkItem.objects.filter(kind="events").delete()
    mended = WebhookDelivery.objects.filter(unreadable_reason="").get()
    WebhookDelivery.objects.filter(pk=mended.pk).update(unreadable_reason="KeyError('id')")
    call_command("inbox", show=mended.pk)
    told = capsys.readouterr().out
    assert "KeyError('id')" in told and "x-shopify-topic: orders/updated" in told and body.decode() in told
    call_command("inbox", again=True)
    told = capsys.readouterr().out
    assert f"{mended.pk} 1 events, 1 to connections" in told
    assert "Read this time: 1. Still unreadable: 1." in told
    event = InboxEvent.objects.get()
    assert (event.state, event.external_id, event.delivery_id) == ("routed", "7", mended.pk)
    assert WorkItem.objects.filter(kind="events", tenant=tenant).exists()
    call_command("inbox", again=True)
    assert "Read this time: 0. Still unreadable: 1." in capsys.readouterr().out
    assert (EventCopy.objects.count(), WebhookDelivery.objects.exclude(unreadable_reason="").count()) == (1, 1)


def test_old_news_of_a_revoked_consent_keeps_its_age_when_it_is_read_late(tenant: Tenant) -> None:
    belongs_to(tenant)
    body = json.dumps({"id": 1, "myshopify_domain": SHOP}).encode()
    receive(body, {**headers_of(body), "x-shopify-topic": "app/uninstalled"})
    EventCopy.objects.all().delete()
    InboxEvent.objects.all().delete()
    WebhookDelivery.objects.update(unreadable_reason="KeyError('id')")
    call_command("inbox", again=True)
    event = InboxEvent.objects.get()
    assert (event.kind, event.occurred_at) == ("revoked", WebhookDelivery.objects.get().received_at)


def test_parked_events_are_followed_once_their_organisation_is_connected(
    tenant: Tenant, other_tenant: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, shop in ((1, SHOP), (2, SHOP), (3, "stranger.myshopify.com")):
        body = body_of(number)
        receive(body, headers_of(body, shop=shop, event=f"e{number}"))
    belongs_to(tenant, other_tenant)
    call_command("inbox", again=True)
    assert "Parked events followed now: 2." in capsys.readouterr().out
    assert set(EventCopy.objects.values_list("tenant", flat=True)) == {tenant.pk, other_tenant.pk}
    assert EventCopy.objects.count() == 4
    assert InboxEvent.objects.get(state="parked").organisation_id == "stranger.myshopify.com"
    assert WorkItem.objects.filter(kind="events").count() == 2


def test_two_businesses_on_one_organisation_each_get_a_copy(tenant: Tenant, other_tenant: Tenant) -> None:
    belongs_to(tenant, other_tenant)
    body = body_of()
    assert receive(body, headers_of(body)) == Received(True, 1, 2)
    assert set(EventCopy.objects.values_list("tenant", flat=True)) == {tenant.pk, other_tenant.pk}
    assert WorkItem.objects.filter(kind="events").count() == 2


def test_genuine_but_unreadable_is_kept_with_its_reason(tenant: Tenant) -> None:
    belongs_to(tenant)
    body = b'{"no": "id"}'
    assert receive(body, headers_of(body)) == Received(True, 0, 0)
    assert "names the object" in WebhookDelivery.objects.get().unreadable_reason


def test_topic_we_do_not_follow_is_acknowledged_without_an_event(tenant: Tenant) -> None:
    body = body_of()
    received = receive(body, {**headers_of(body), "x-shopify-topic": "themes/publish"})
    assert received == Received(True, 0, 0)


def test_what_came_is_sealed_for_its_place_and_resealed_with_a_new_key(tenant: Tenant, settings: Settings) -> None:
    first, second = body_of(1), body_of(2)
    for body, event in ((first, "e1"), (second, "e2")):
        receive(body, headers_of(body, event=event))
    one, other = WebhookDelivery.objects.order_by("id")
    assert b"Order" not in bytes(one.sealed_body)
    assert (body_of_delivery(one), body_of_delivery(other)) == (first, second)
    other.sealed_body = one.sealed_body
    with pytest.raises(UnableToOpen):
        body_of_delivery(other)
    settings.TIEOUT_KEK, settings.TIEOUT_KEK_OLD = b"n" * 32, (settings.TIEOUT_KEK,)
    WebhookDelivery.objects.filter(pk=other.pk).update(sealed_body=second)  # as it was stored before bodies were sealed
    assert (reseal_deliveries(), reseal_deliveries()) == (Rotation(resealed=2), Rotation())
    settings.TIEOUT_KEK_OLD = ()
    assert [body_of_delivery(found) for found in WebhookDelivery.objects.order_by("id")] == [first, second]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"id": "a\\u0000b"}',
        b'{"id": "' + b"9" * 500 + b'"}',
        b'{"id": 1e999999999}',
        b"\xff\xfe",
        b"",
        b"null",
    ],
    ids=["deep", "NUL", "long", "huge number", "no UTF-8", "empty", "null"],
)
def test_whatever_a_genuine_delivery_holds_it_is_kept(tenant: Tenant, body: bytes) -> None:
    assert receive(body, headers_of(body)).is_new
    assert body_of_delivery(WebhookDelivery.objects.get()) == body


def test_longer_event_ids_than_fit_stay_different(tenant: Tenant) -> None:
    belongs_to(tenant)
    for number in (1, 2):
        body = body_of(number)
        receive(body, headers_of(body, event=f"{'e' * 200}{number}"))
    assert InboxEvent.objects.count() == 2


def test_credentials_in_headers_are_not_kept(tenant: Tenant) -> None:
    body = body_of()
    receive(body, {**headers_of(body), "authorization": "Bearer secret", "cookie": "a=b"})
    assert not {"authorization", "cookie"} & set(WebhookDelivery.objects.get().headers)


@pytest.mark.django_db(transaction=True)
def test_the_same_delivery_many_times_at_once_is_one(tenant: Tenant) -> None:
    belongs_to(tenant)
    body = body_of()
    found: list[Received] = []
    barrier = threading.Barrier(6)

    def deliver() -> None:
        barrier.wait()
        try:
            found.append(receive(body, headers_of(body)))
        finally:
            database.close()

    threads = [threading.Thread(target=deliver) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(received.is_new for received in found) == [False] * 5 + [True]
    assert EventCopy.objects.count() == 1


# --- the endpoint ------------------------------------------------------------------------------------------------


def post(client: Client, body: bytes, path: str = "/webhooks/shopify/simulator/", **headers: str) -> Any:
    return client.post(path, data=body, content_type="application/json", headers=headers)


def endpoint_headers(body: bytes) -> dict[str, str]:
    return headers_of(body, secret=webhook_secrets("shopify", "simulator")[0])


def test_endpoint_answers_200_and_nothing_else_once_it_is_kept(
    tenant: Tenant, client: Client, settings: Settings
) -> None:
    settings.SIMULATORS = {"shopify": "http://127.0.0.1:1"}
    belongs_to(tenant)
    body = body_of()
    response = post(client, body, **endpoint_headers(body))
    assert (response.status_code, response.content, response.cookies.output()) == (200, b"", "")
    assert InboxEvent.objects.get().state == "routed"


def test_endpoint_refuses_what_is_not_genuine_with_401(db: None, client: Client, settings: Settings) -> None:
    settings.SIMULATORS = {"shopify": "http://127.0.0.1:1"}
    assert post(client, body_of(), **headers_of(body_of(), secret="guessed")).status_code == 401
    assert_nothing_kept()


def test_endpoint_takes_nothing_for_a_simulator_that_is_not_there(tenant: Tenant, client: Client) -> None:
    body = body_of()
    assert post(client, body, **headers_of(body, secret="")).status_code == 401
    assert_nothing_kept()


def test_endpoint_knows_only_our_connectors(db: None, client: Client) -> None:
    assert post(client, body_of(), "/webhooks/nobody/simulator/").status_code == 404


def test_endpoint_refuses_bodies_that_are_too_large(db: None, client: Client) -> None:
    assert post(client, b"x" * (MAX_BODY_BYTES + 1)).status_code == 413


def test_endpoint_is_for_posting_only(db: None, client: Client) -> None:
    assert client.get("/webhooks/shopify/simulator/").status_code == 405


def test_endpoint_asks_for_a_length_where_the_web_server_does_not_know_the_end(db: None, client: Client) -> None:
    answer = post(client, body_of(), **headers_of(body_of()), **{"Transfer-Encoding": "chunked"})
    assert (answer.status_code, b"Content-Length" in answer.content) == (411, True)
    assert_nothing_kept()


def test_every_secret_that_is_configured_counts_where_it_belongs(db: None, settings: Settings) -> None:
    def configure(slug: str, **values: str) -> None:
        known = settings.CONNECTOR_CREDENTIALS
        settings.CONNECTOR_CREDENTIALS = {**known, slug: {**known[slug], **values}}

    configure("shopify", client_secret="now", webhook_secret="an hour ago")
    configure("stripe", client_secret="sk", webhook_secret="whsec_1, whsec_2,")
    configure("xero", client_secret="x", webhook_secret=" ")
    settings.SANDBOX_WEBHOOK_SECRETS = {**settings.SANDBOX_WEBHOOK_SECRETS, "stripe": ("whsec_sandbox",)}
    assert webhook_secrets("shopify", "production") == ("now", "an hour ago")
    assert webhook_secrets("stripe", "production") == ("whsec_1", "whsec_2")
    assert webhook_secrets("stripe", "sandbox") == ("whsec_sandbox",)
    assert webhook_secrets("shopify", "sandbox") == ("now", "an hour ago")
    assert webhook_secrets("xero", "production") == ()
    assert webhook_secrets("stripe", "nowhere") == ()
