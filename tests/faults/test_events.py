"""Events that cannot be followed, come late, come for nobody or never come; the judge is the provider's own state."""

from __future__ import annotations

import datetime as dt
import html
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from django.conf import settings as configured
from django.db import InternalError
from django.db import connection as database
from django.test import Client

from connectors.providers.shopify.simulator import ShopifySimulator
from connectors.sdk.records import Order
from connectors.testing import Simulator
from connectors.testing.faults import Fault
from connectors.testing.outbox import as_delivery
from marketplace.core.clock import now
from marketplace.core.models import EventCopy, InboxEvent, WebhookDelivery, WorkItem
from marketplace.installations.models import Connection
from marketplace.installations.tasks import subscribe
from marketplace.overview.attention import attention
from marketplace.sync import events
from marketplace.sync.models import Change, Record, SyncRun
from marketplace.sync.operations import REGISTRATION_SURE, UnableToRead, read_stream
from marketplace.sync.tasks import follow_events
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.benchmarks.driving import Business
from tests.faults.conftest import Tell
from tests.faults.world import SHOP, make_orders
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures
from tests.owner import as_owner

pytestmark = pytest.mark.faults

ORDERS = 60
EVER = 10**6


@pytest.fixture
def shop(simulators: dict[str, Simulator]) -> Simulator:  # noqa: F811
    return simulators["shopify"]


@pytest.fixture
def business(tenant: Tenant, alice: User, shop: Simulator, settings: Any) -> Business:
    settings.SIMULATOR_SPEED = 1000
    return Business(tenant, alice)


@pytest.fixture
def source(business: Business) -> Connection:
    """A connected shop whose lists were read when there was nothing in them."""
    found = business.connect("shopify", SHOP, {"shop": SHOP})
    subscribe(business.owner.pk, str(found.pk))
    read(business, found)
    return found


def read(business: Business, source: Connection) -> SyncRun:
    read_stream(tenant_id=business.owner.pk, connection_id=source.pk, data_type="order")
    with tenant_context(business.owner):
        return SyncRun.objects.filter(connection=source, data_type="order").latest("started_at")


def sell(shop: Simulator, orders: Sequence[Order]) -> list[dict[str, Any]]:
    """Orders placed or changed at the shop; answers the deliveries that tell of them, which nobody has sent yet."""
    shop.outbox.clear()
    shop.plant(SHOP, orders, by="provider", emit=True)
    told = ("orders/create", "orders/updated")
    return [entry for entry in shop.outbox.deliveries() if entry["headers"]["X-Shopify-Topic"] in told]


def unpaid(count: int, first: int = 0) -> list[Order]:
    """The shop tells of each exactly once."""
    return [msgspec.structs.replace(order, status="open", payments=()) for order in make_orders(first + count)[first:]]


def changed_later(orders: Sequence[Order]) -> list[Order]:
    later = dt.timedelta(days=40)
    return [
        msgspec.structs.replace(order, number=f"{order.number}b", updated_at=order.updated_at + later)
        for order in orders
    ]


def deliver(shop: Simulator, entries: Sequence[dict[str, Any]]) -> None:
    for entry in entries:
        delivery = as_delivery(entry)
        headers = shop.webhook_headers(delivery)
        content_type = headers.pop("Content-Type")
        path = f"/webhooks/{shop.slug}/simulator/"
        answer = Client().post(path, delivery.body, content_type=content_type, headers=headers)
        assert answer.status_code == 200


def follow(business: Business, source: Connection, goes: int = 20) -> int:
    """As a worker does it: until nothing is due, or for so many goes; answers how many it took."""
    for go in range(goes):
        again_in = follow_events(business.owner.pk, str(source.pk))
        if again_in is None or again_in.total_seconds() > 0:
            return go + 1
    return goes


def known(business: Business, source: Connection) -> dict[str, str]:
    with tenant_context(business.owner):
        rows = Record.objects.filter(connection=source, data_type="order", is_deleted=False)
        return dict(rows.values_list("external_id", "number"))


def at_the_shop(orders: Sequence[Order]) -> dict[str, str]:
    return {order.id: order.number for order in orders}


def poison(shop: Simulator, order: Order, **trouble: Any) -> None:
    """Whatever asks for this order meets trouble; nothing else does."""
    shop.faults.add(Fault(match="POST /", contains=f'Order/{order.id}"', times=EVER, **trouble))


def test_event_that_cannot_be_followed_holds_up_no_other_and_waits_for_a_person(
    business: Business, source: Connection, shop: Simulator, alice_client: Client, tell: Tell
) -> None:
    orders = unpaid(ORDERS)
    bad = orders[17]
    deliver(shop, sell(shop, orders))
    poison(shop, bad, kind="status", status=400)
    assert follow(business, source) <= 4
    assert known(business, source) == at_the_shop([order for order in orders if order is not bad])
    copy = EventCopy.objects.get(done_at=None)
    assert copy.event.external_id == bad.id and copy.due_at is not None
    page = alice_client.get("/o/kestrel/issues/messages/").content.decode()
    assert bad.id in page and copy.problem in html.unescape(page) and "We try again" in page
    for _ in events.PAUSES:
        EventCopy.objects.filter(pk=copy.pk).update(due_at=None)
        follow(business, source)
    copy.refresh_from_db()
    assert copy.is_stuck and follow_events(business.owner.pk, str(source.pk)) is None
    with tenant_context(business.owner):
        assert "1 message of changes could not be followed" in [one.what for one in attention([], "kestrel")]
    shop.faults.clear()
    alice_client.post(f"/o/kestrel/issues/messages/{copy.pk}/", {"again": ""})
    assert WorkItem.objects.filter(kind="events").exists()
    follow(business, source)
    assert known(business, source) == at_the_shop(orders)
    assert "Every message was followed" in alice_client.get("/o/kestrel/issues/messages/").content.decode()
    tell("C7", "an event whose object cannot be fetched", tried=1, events=ORDERS)


def test_event_whose_fetch_hangs_holds_up_others_for_a_moment_only(
    business: Business, source: Connection, shop: Simulator, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    monkeypatch.setattr(events, "PATIENCE_SECONDS", 1.0)
    orders = unpaid(ORDERS)
    deliver(shop, sell(shop, orders))
    poison(shop, orders[3], kind="slow", seconds=2.5)
    before = shop.faults.met["slow"]
    follow(business, source)
    assert len(known(business, source)) == ORDERS - 1
    # Among fifty, among five and alone: of ten seconds each in production, half of the minute that is allowed.
    assert shop.faults.met["slow"] - before == 3
    tell("C7", "an event whose object hangs when fetched", tried=1, events=ORDERS)


def test_many_events_that_cannot_be_followed_do_not_pass_for_an_outage(
    business: Business, source: Connection, shop: Simulator, tell: Tell
) -> None:
    """There is one among each of the groups that are fetched first, so that nothing succeeds before the others' turn."""
    orders = unpaid(ORDERS * 3)
    bad = orders[10::45]
    deliver(shop, sell(shop, orders))
    for order in bad:
        poison(shop, order, kind="status", status=400)
    follow(business, source)
    assert known(business, source) == at_the_shop([order for order in orders if order not in bad])
    assert {copy.event.external_id for copy in EventCopy.objects.filter(done_at=None)} == {order.id for order in bad}
    tell("C7", "many events whose objects cannot be fetched", tried=len(bad), events=len(orders))


def test_trouble_of_the_provider_is_blamed_on_no_event(
    business: Business, source: Connection, shop: Simulator, tell: Tell
) -> None:
    orders = unpaid(200)
    deliver(shop, sell(shop, orders))
    shop.faults.add(Fault(match="POST /", kind="html", times=EVER))
    with pytest.raises(UnableToRead):
        follow_events(business.owner.pk, str(source.pk))
    assert not EventCopy.objects.filter(attempts__gt=0).exists()
    shop.faults.clear()
    follow(business, source)
    assert known(business, source) == at_the_shop(orders)
    tell("C7", "a provider that answers no question about events", tried=1, events=len(orders))


def test_trouble_of_the_database_is_blamed_on_no_event(
    business: Business, source: Connection, shop: Simulator, tell: Tell
) -> None:
    """It has no name for some of its troubles; one of those meets whatever of one object is stored."""
    orders = unpaid(ORDERS)
    deliver(shop, sell(shop, orders))
    with as_owner(business.owner) as cursor:
        cursor.execute(
            "CREATE FUNCTION out_of_room() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'XX000'; END$$"
        )
        cursor.execute(
            "CREATE TRIGGER out_of_room BEFORE INSERT ON sync_record FOR EACH ROW"
            f" WHEN (NEW.external_id = '{orders[17].id}') EXECUTE FUNCTION out_of_room()"
        )
    for _ in range(3):
        with pytest.raises(InternalError):
            follow(business, source)
    assert not EventCopy.objects.exclude(attempts=0, problem="").exists()
    with as_owner(business.owner) as cursor:
        cursor.execute("DROP TRIGGER out_of_room ON sync_record")
        cursor.execute("DROP FUNCTION out_of_room")
    follow(business, source)
    assert known(business, source) == at_the_shop(orders)
    tell("C7", "events while the database is in trouble", tried=1, events=ORDERS)


def test_drift_is_exactly_what_was_dropped(
    business: Business, source: Connection, shop: Simulator, alice_client: Client, tell: Tell
) -> None:
    orders = unpaid(ORDERS)
    entries = sell(shop, orders)
    deliver(shop, [entry for place, entry in enumerate(entries) if place % 10])
    follow(business, source)
    assert missed(business, read(business, source)) == {order.id for order in orders[::10]}
    changed = changed_later(orders[:20])
    entries = sell(shop, changed)
    late = entries[3]
    deliver(shop, entries[4:18])
    follow(business, source)
    sweep = read(business, source)
    assert missed(business, sweep) == {order.id for order in (*changed[:4], *changed[18:])}
    assert known(business, source) == at_the_shop([*changed, *orders[20:]])
    page = alice_client.get(f"/o/kestrel/runs/{sweep.pk}/missed/").content.decode()
    assert all(f">{order.number}<" in page for order in (*changed[:4], *changed[18:]))
    deliver(shop, [late])
    follow(business, source)
    assert missed(business, sweep) == {order.id for order in (*changed[:3], *changed[18:])}
    tell("C7", "events dropped: the drift names them", tried=ORDERS // 10 + 6, events=ORDERS + 20)


def missed(business: Business, run: SyncRun) -> set[str]:
    with tenant_context(business.owner):
        run.refresh_from_db()
        found = set(Change.objects.filter(run=run, is_drift=True).values_list("record__external_id", flat=True))
    assert run.drift_count == len(found)
    return found


def test_without_any_webhook_one_sweep_is_enough(
    business: Business, source: Connection, shop: Simulator, tell: Tell
) -> None:
    orders = unpaid(ORDERS)
    sell(shop, orders)
    assert missed(business, read(business, source)) == {order.id for order in orders}
    assert known(business, source) == at_the_shop(orders)
    tell("C7", "webhooks off altogether", tried=1, events=ORDERS)


def test_check_that_found_drift_has_the_registration_looked_after_unless_it_was_just_there(
    business: Business, source: Connection, shop: Simulator
) -> None:
    WorkItem.objects.filter(kind="subscribe").delete()
    sell(shop, unpaid(1))
    assert missed(business, read(business, source))
    assert not WorkItem.objects.filter(kind="subscribe").exists()
    with tenant_context(business.owner):
        Connection.objects.filter(pk=source.pk).update(webhooks_checked_at=now() - REGISTRATION_SURE)
    sell(shop, unpaid(1, first=1))
    assert missed(business, read(business, source))
    assert WorkItem.objects.filter(kind="subscribe").exists()


def test_message_on_its_way_is_no_drift(business: Business, source: Connection, shop: Simulator) -> None:
    deliver(shop, sell(shop, unpaid(5)))
    assert missed(business, read(business, source)) == set()


def test_old_news_puts_nothing_back(business: Business, source: Connection, shop: Simulator, tell: Tell) -> None:
    orders = unpaid(10)
    first = sell(shop, orders)
    second = sell(shop, changed_later(orders))
    deliver(shop, second)
    follow(business, source)
    deliver(shop, first)
    follow(business, source)
    assert known(business, source) == at_the_shop(changed_later(orders))
    tell("C7", "old news after new", tried=10, events=20)


def test_replay_after_months_has_no_effect(business: Business, source: Connection, shop: Simulator, tell: Tell) -> None:
    entries = sell(shop, unpaid(10))
    for days in (0, 30, 60):
        with database.cursor() as cursor:
            cursor.execute(
                "UPDATE core_webhookdelivery SET received_at = received_at - make_interval(days => %s)", [days]
            )
            cursor.execute("UPDATE core_inboxevent SET received_at = received_at - make_interval(days => %s)", [days])
        deliver(shop, entries)
        assert (InboxEvent.objects.count(), EventCopy.objects.count()) == (10, 10)
        follow(business, source)
        assert not EventCopy.objects.filter(done_at=None).exists()
    tell("C7", "replayed after 30 and 90 simulated days", tried=3, events=30)


def test_told_deletion_is_believed_only_of_what_was_looked_for_and_is_gone(
    business: Business, source: Connection, shop: Simulator, tell: Tell
) -> None:
    """Each message says that its order was deleted. All are there still, and one cannot be looked at."""
    orders = unpaid(10)
    deliver(shop, sell(shop, orders))
    follow(business, source)
    changed = changed_later(orders)
    deliver(shop, sell(shop, changed))
    InboxEvent.objects.filter(copies__done_at=None).update(kind="deleted")
    poison(shop, orders[3], kind="status", status=400)
    follow(business, source)
    assert known(business, source) == at_the_shop([*changed[:3], orders[3], *changed[4:]])
    tell("C7", "told of a deletion that was none", tried=10, events=10)


def test_events_for_nobody_are_followed_once_somebody_connects(business: Business, shop: Simulator, tell: Tell) -> None:
    source = business.connect("shopify", SHOP, {"shop": SHOP})
    subscribe(business.owner.pk, str(source.pk))
    entries = sell(shop, unpaid(10))
    with tenant_context(business.owner):
        Connection.objects.filter(pk=source.pk).update(state=Connection.State.DISCONNECTED)
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM core_webhookroute")
    deliver(shop, entries)
    assert InboxEvent.objects.filter(state="parked").count() == 10
    again = business.connect("shopify", SHOP, {"shop": SHOP})
    assert not InboxEvent.objects.filter(state="parked").exists()
    follow(business, again)
    assert len(known(business, again)) == 10
    tell("C7", "events for an organisation nobody has connected", tried=10, events=10)


def test_registration_that_the_provider_dropped_is_made_again_and_all_is_read(
    business: Business, source: Connection, shop: Simulator, alice_client: Client, tell: Tell
) -> None:
    WorkItem.objects.all().delete()
    with shop.lock:
        assert isinstance(shop, ShopifySimulator)
        shop.shop(SHOP).all("WebhookSubscription").clear()
    assert sell(shop, unpaid(5)) == []
    subscribe(business.owner.pk, str(source.pk))
    assert len(sell(shop, unpaid(5, first=5))) == 5
    assert WorkItem.objects.filter(kind="sync", key=f"{source.pk}:order").exists()
    assert "had stopped sending them" in alice_client.get(f"/o/kestrel/connections/{source.pk}/").content.decode()
    tell("C7", "a registration the provider dropped", tried=1, events=10)


NEIGHBOUR = "harbor-goods.myshopify.com"


def pretended(entry: dict[str, Any], **headers: str) -> dict[str, Any]:
    """A genuine body with its signature, in the name of another shop: the signature covers no header."""
    return entry | {"headers": entry["headers"] | {"X-Shopify-Shop-Domain": NEIGHBOUR} | headers}


def test_genuine_body_in_another_shops_name_brings_nothing_of_one_shop_to_the_other(
    business: Business, source: Connection, shop: Simulator, other_tenant: Tenant, charlie: User, tell: Tell
) -> None:
    neighbour = Business(other_tenant, charlie)
    theirs = neighbour.connect("shopify", NEIGHBOUR, {"shop": NEIGHBOUR})
    read(neighbour, theirs)
    orders, topics = unpaid(10), ("orders/create", "orders/delete", "refunds/create", "customers/delete")
    entries = sell(shop, orders)
    told = [
        pretended(entry, **{"X-Shopify-Topic": topic, "X-Shopify-Webhook-Id": f"forged-{number}-{topic}"})
        for number, entry in enumerate(entries)
        for topic in topics
    ]
    deliver(shop, told)  # captured on their way, and presented before the shop's own
    assert EventCopy.objects.filter(tenant=other_tenant).count() == len(entries)
    before = sum(shop.counts.values())
    follow(neighbour, theirs)
    assert sum(shop.counts.values()) - before <= 2
    deliver(shop, entries)
    deliver(shop, told)
    follow(neighbour, theirs)
    follow(business, source)
    read(business, source)
    assert known(business, source) == at_the_shop(orders)
    with tenant_context(other_tenant):
        assert not Record.objects.filter(connection=theirs, data_type="order").exists()
        assert Connection.objects.get(pk=theirs.pk).state == Connection.State.CONNECTED
    tell("C7", "genuine bodies in another shop's name", tried=len(told) * 2, events=len(entries))


def test_nobody_uninstalls_another_shops_connection_with_a_genuine_body(
    business: Business, source: Connection, shop: Simulator, other_tenant: Tenant, charlie: User, tell: Tell
) -> None:
    neighbour = Business(other_tenant, charlie)
    theirs = neighbour.connect("shopify", NEIGHBOUR, {"shop": NEIGHBOUR})
    subscribe(business.owner.pk, str(source.pk))
    placed = sell(shop, unpaid(1))[0]
    with shop.lock:
        assert isinstance(shop, ShopifySimulator)
        shop.tell(shop.shop(SHOP), "app/uninstalled", "Shop", shop.shop(SHOP).body)
    (uninstalled,) = (
        entry for entry in shop.outbox.deliveries() if entry["headers"]["X-Shopify-Topic"] == "app/uninstalled"
    )
    deliver(shop, [pretended(uninstalled), pretended(placed, **{"X-Shopify-Topic": "app/uninstalled"})])
    assert not EventCopy.objects.filter(tenant=other_tenant).exists()
    assert WebhookDelivery.objects.exclude(unreadable_reason="").count() == 2
    follow(neighbour, theirs)
    with tenant_context(other_tenant):
        assert Connection.objects.get(pk=theirs.pk).state == Connection.State.CONNECTED
    tell("C7", "uninstalled, in another shop's name", tried=2, events=2)


def test_no_process_starts_with_a_source_that_anybody_could_forge() -> None:
    given = {
        "CONNECTOR_STRIPE_CLIENT_ID": "ca_1",
        "CONNECTOR_STRIPE_CLIENT_SECRET": "sk_1",
        "CONNECTOR_STRIPE_WEBHOOK_SECRET": " ",
        "DJANGO_SETTINGS_MODULE": "tests.settings",
    }
    command = [sys.executable, "-c", "import django; django.setup()"]
    ended = subprocess.run(
        command, env={**os.environ, **given}, cwd=configured.BASE_DIR, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "CONNECTOR_STRIPE_WEBHOOK_SECRET must be set" in ended.stderr


def test_events_that_came_while_nobody_could_fetch_are_followed_after_the_reconnection(
    business: Business, source: Connection, shop: Simulator, tell: Tell
) -> None:
    with tenant_context(business.owner):
        Connection.objects.filter(pk=source.pk).update(state=Connection.State.NEEDS_RECONNECT)
    orders = unpaid(10)
    deliver(shop, sell(shop, orders))
    assert follow(business, source) == 1
    assert known(business, source) == {}
    again = business.connect("shopify", SHOP, {"shop": SHOP})
    assert again.pk == source.pk
    # Messages told of these; a check that is quicker than whoever follows them finds nothing missed.
    assert missed(business, read(business, source)) == set()
    assert WorkItem.objects.filter(kind="events").exists()
    follow(business, source)
    assert known(business, source) == at_the_shop(orders)
    assert not EventCopy.objects.filter(done_at=None).exists()
    tell("C7", "events while the connection needs reconnecting", tried=1, events=10)
