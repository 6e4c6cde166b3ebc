"""Browsing what was read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from connectors.sdk.records import Customer
from marketplace.audit.models import AuditEntry
from marketplace.core import exports
from marketplace.core.clock import now
from marketplace.core.models import EventCopy, InboxEvent, WebhookDelivery, WorkItem
from marketplace.installations.models import Connection
from marketplace.sync.models import RejectedRow
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.cutover.world import make_connection
from tests.posting.world import arrive, order, read_as

LIST = "/o/kestrel/records/"
UNREADABLE = "/o/kestrel/issues/unreadable/"
TAGS = re.compile(r"<[^>]+>")


def text_of(response: Any) -> str:
    return " ".join(TAGS.sub(" ", response.content.decode()).split())


@pytest.fixture
def shop(tenant: Tenant, alice: User) -> Connection:
    with tenant_context(tenant):
        made = make_connection(alice, "shopify", "Kestrel shop")
        arrive(made, read_as(order(1)), read_as(order(2, "60.00")), read_as(order(3, "90.00"), is_deleted=True))
        arrive(made, read_as(Customer(id="c1", name="Ada Hart", email="ada@example.com")))
        return made


@pytest.fixture
def rejected(shop: Connection, tenant: Tenant) -> RejectedRow:
    with tenant_context(tenant):
        return RejectedRow.objects.create(
            connection=shop, data_type="order", external_id="9", reason="It has no currency.", raw={"id": 9}, at=now()
        )


def shown(client: Client, query: str) -> list[str]:
    return re.findall(r'href="/o/kestrel/records/\d+/">([^<]+)<', client.get(f"{LIST}?{query}").content.decode())


def test_data_types_are_listed_in_the_providers_words_with_counts(shop: Connection, alice_client: Client) -> None:
    page = text_of(alice_client.get(LIST))
    assert "Shopify (Kestrel shop) Orders 3 Customers 1" in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["#3", "#2", "#1"]),
        ("q=%232", ["#2"]),
        ("q=hart", ["#3", "#2", "#1"]),
        ("sort=amount", ["#2", "#3", "#1"]),
        ("sort=-amount", ["#1", "#3", "#2"]),
        ("sort=nonsense", ["#3", "#2", "#1"]),
        ("first=2026-10-11", []),
        ("last=2026-10-10", ["#3", "#2", "#1"]),
        ("first=nonsense", ["#3", "#2", "#1"]),
    ],
)
def test_search_and_sorting_live_in_the_address(
    shop: Connection, alice_client: Client, query: str, expected: list[str]
) -> None:
    assert shown(alice_client, query) == expected


def test_another_data_type_is_a_link_away(shop: Connection, alice_client: Client) -> None:
    assert shown(alice_client, f"connection={shop.pk}&type=customer") == ["c1"]


def test_deleted_records_stay_and_say_so(shop: Connection, alice_client: Client) -> None:
    assert "#3 Deleted" in text_of(alice_client.get(LIST))


def test_export_holds_the_list(shop: Connection, alice_client: Client) -> None:
    response = alice_client.get(f"{LIST}export.csv?sort=amount")
    rows = list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))
    assert [(row[0], row[5], row[8]) for row in rows[1:]] == [
        ("#2", "60.00", ""),
        ("#3", "90.00", "yes"),
        ("#1", "120.00", ""),
    ]


def test_long_export_is_the_same_but_waits_on_the_disk(
    shop: Connection, alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{LIST}export.csv?sort=amount"
    short = alice_client.get(path)
    monkeypatch.setattr(exports, "MOST_IN_MEMORY", 10)
    long = alice_client.get(path)
    assert long.streaming and not short.streaming
    assert long.getvalue() == short.getvalue()
    assert long["Content-Disposition"] == short["Content-Disposition"] == 'attachment; filename="order.csv"'


def test_nothing_read_yet_leads_to_the_catalogue(tenant: Tenant, alice_client: Client) -> None:
    assert "Nothing was read yet" in text_of(alice_client.get(LIST))


def test_list_costs_the_same_for_one_record_and_for_many(
    shop: Connection, tenant: Tenant, alice_client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    alice_client.get(LIST)
    for query in ("?q=%232", ""):
        with django_assert_num_queries(12):
            alice_client.get(f"{LIST}{query}")


def test_unreadable_rows_are_shown_with_what_came(rejected: RejectedRow, bob_client: Client) -> None:
    assert "It has no currency." in text_of(bob_client.get(UNREADABLE))
    assert "&quot;id&quot;: 9" in text_of(bob_client.get(f"{UNREADABLE}{rejected.pk}/"))


def test_unreadable_row_is_set_aside_with_a_reason(rejected: RejectedRow, tenant: Tenant, bob_client: Client) -> None:
    path = f"{UNREADABLE}{rejected.pk}/"
    assert "This field is required" in text_of(bob_client.post(path, {"reason": ""}))
    assert bob_client.post(path, {"reason": "A test order"}).status_code == 302
    with tenant_context(tenant):
        assert not RejectedRow.objects.filter(resolved_at=None).exists()
        assert "A test order" in AuditEntry.objects.get(action="rejected_row.set_aside").summary
    assert bob_client.get(path).status_code == 404
    assert "Everything could be read" in text_of(bob_client.get(UNREADABLE))


def test_viewer_cannot_set_aside(rejected: RejectedRow, tenant: Tenant, bob: User, bob_client: Client) -> None:
    tenant.memberships.filter(user=bob).update(role="viewer")
    bob_client.post(f"{UNREADABLE}{rejected.pk}/", {"reason": "I may not"})
    with tenant_context(tenant):
        assert RejectedRow.objects.filter(resolved_at=None).exists()


def test_read_now_asks_for_every_list(shop: Connection, tenant: Tenant, bob_client: Client) -> None:
    WorkItem.objects.all().delete()
    response = bob_client.post(f"/o/kestrel/connections/{shop.pk}/read/", follow=True)
    assert "lists of Kestrel shop." in text_of(response)
    assert WorkItem.objects.filter(tenant=tenant, kind="sync", key=f"{shop.pk}:order").exists()


def test_read_now_is_for_bookkeepers_and_connected_systems(
    shop: Connection, tenant: Tenant, bob: User, bob_client: Client
) -> None:
    path = f"/o/kestrel/connections/{shop.pk}/read/"
    assert bob_client.get(path).status_code == 405
    with tenant_context(tenant):
        Connection.objects.update(state="needs_reconnect")
    assert bob_client.post(path).status_code == 404
    tenant.memberships.filter(user=bob).update(role="viewer")
    assert bob_client.post(path).status_code == 403


def test_stranger_finds_nothing(rejected: RejectedRow, other_tenant: Tenant, charlie_client: Client) -> None:
    for path in (LIST, f"{LIST}export.csv", UNREADABLE, f"{UNREADABLE}{rejected.pk}/"):
        assert charlie_client.get(path).status_code == 404
    assert charlie_client.post(f"/o/kestrel/connections/{rejected.connection_id}/read/").status_code == 404
    assert charlie_client.post(f"/o/marlow/connections/{rejected.connection_id}/read/").status_code == 404
    assert charlie_client.get(f"/o/marlow/issues/unreadable/{rejected.pk}/").status_code == 404


# --- messages that could not be followed -------------------------------------------------------------------------

MESSAGES = "/o/kestrel/issues/messages/"


@pytest.fixture
def failing(shop: Connection, tenant: Tenant) -> EventCopy:
    delivery = WebhookDelivery.objects.create(
        connector="shopify", environment="simulator", digest="d", headers={}, sealed_body=b"", received_at=now()
    )
    event = InboxEvent.objects.create(
        delivery=delivery, connector="shopify", environment="simulator", organisation_id="kestrel-shop", event_key="e",
        data_type="order", external_id="4711", kind="changed", received_at=now(), state="routed",
    )  # fmt: skip
    return EventCopy.objects.create(
        event=event, tenant=tenant, connection_id=shop.pk, attempts=20, is_stuck=True, problem="Shopify has trouble."
    )


def test_message_that_waits_for_a_person_says_why_and_what_to_do(failing: EventCopy, alice_client: Client) -> None:
    page = text_of(alice_client.get(MESSAGES))
    assert "4711" in page and "Shopify has trouble." in page
    assert "It needs you" in page and "Try again" in page and "Set aside" in page


def test_message_is_fetched_again_when_a_person_asks(failing: EventCopy, bob_client: Client, tenant: Tenant) -> None:
    assert bob_client.post(f"{MESSAGES}{failing.pk}/", {"again": ""}).status_code == 302
    failing.refresh_from_db()
    assert (failing.is_stuck, failing.due_at, failing.done_at) == (False, None, None)
    assert WorkItem.objects.filter(tenant=tenant, kind="events").exists()


def test_message_is_set_aside_in_the_trail(failing: EventCopy, bob_client: Client, tenant: Tenant) -> None:
    bob_client.post(f"{MESSAGES}{failing.pk}/", {"let_go": ""})
    failing.refresh_from_db()
    assert failing.done_at is not None
    with tenant_context(tenant):
        assert "set aside" in AuditEntry.objects.get(action="event.let_go").summary


def test_strangers_see_no_messages_and_decide_nothing(failing: EventCopy, charlie_client: Client) -> None:
    assert charlie_client.get(MESSAGES).status_code == 404
    assert charlie_client.post(f"{MESSAGES}{failing.pk}/", {"let_go": ""}).status_code == 404
    failing.refresh_from_db()
    assert failing.done_at is None


def test_messages_of_another_business_are_not_there(
    failing: EventCopy, charlie_client: Client, other_tenant: Tenant
) -> None:
    assert "4711" not in text_of(charlie_client.get("/o/marlow/issues/messages/"))
    assert charlie_client.post(f"/o/marlow/issues/messages/{failing.pk}/", {"let_go": ""}).status_code == 404
