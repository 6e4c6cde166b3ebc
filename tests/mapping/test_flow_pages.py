"""The list of flows, adding one, the pilot's scope and the source of truth."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection as database
from django.dispatch import Signal
from django.test import Client
from django.test.utils import CaptureQueriesContext

from marketplace.audit.models import AuditEntry
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow, SourceOfTruth, Stage
from marketplace.mapping.operations import UnableToAddFlow, create_flow
from marketplace.mapping.signals import rules_changed
from marketplace.posting.planning import plan_flow
from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.models import Membership, Tenant, User
from tests.mapping.world import connect, ledger_lists, order, orders_flow, payout, read

FLOWS = "/o/kestrel/flows/"
TRUTH = "/o/kestrel/source-of-truth/"


@pytest.fixture
def rule_news() -> Iterator[list[dict[str, Any]]]:
    received: list[dict[str, Any]] = []

    def receive(sender: Any, signal: Signal, **kwargs: Any) -> None:
        received.append(kwargs)

    rules_changed.connect(receive)
    yield received
    rules_changed.disconnect(receive)


def flow_of(user: User, source: Connection, target: Connection, slug: str = "orders") -> Flow:
    return create_flow(slug=slug, source=source, target=target, start_date=dt.date(2026, 11, 1), user=user)


def test_flows_show_their_step_and_what_became_of_their_records(
    tenant: Tenant, alice: User, bob_client: Client
) -> None:
    with tenant_context(tenant):
        flow = orders_flow(alice, [order(1), order(2), order(3, is_test=True)])
        Flow.objects.update(stage=Stage.PARALLEL)
        flow.refresh_from_db()
        plan_flow(owner=tenant, flow=flow)
    response = bob_client.get(FLOWS)
    ((shown, counts, url),) = response.context["rows"]
    assert counts == {"shadow": 2, "excluded": 1}
    assert url in response.content.decode() and str(flow.pk) in url
    assert shown.stage == "parallel"


def test_list_takes_the_same_queries_for_one_flow_and_three(tenant: Tenant, alice: User, bob_client: Client) -> None:
    with tenant_context(tenant):
        ledger = connect(alice, "xero", "Kestrel Books")
        shops = [connect(alice, "shopify", f"Shop {number}") for number in range(3)]
        flow_of(alice, shops[0], ledger)
    bob_client.get(FLOWS)
    for count in (1, 3):
        with tenant_context(tenant):
            for shop in shops[Flow.objects.count() : count]:
                flow_of(alice, shop, ledger)
        with CaptureQueriesContext(database) as queries:
            response = bob_client.get(FLOWS)
        assert len(response.context["rows"]) == count
        assert len(queries) == 10


def test_templates_say_which_systems_can_run_them_and_what_is_missing(
    tenant: Tenant, alice: User, bob_client: Client
) -> None:
    page = bob_client.get(f"{FLOWS}new/").content.decode()
    assert "No connector in the catalogue reads deals yet." in page
    assert "Connect a system that has orders: Shopify or Stripe." in page
    with tenant_context(tenant):
        connect(alice, "shopify", "Kestrel Shop")
        connect(alice, "xero", "Kestrel Books")
    page = bob_client.get(f"{FLOWS}new/").content.decode()
    assert "Shopify (Kestrel Shop) → Xero (Kestrel Books)" in page
    assert "Set up Orders" in page


def test_owner_adds_a_flow(tenant: Tenant, alice: User, alice_client: Client) -> None:
    with tenant_context(tenant):
        shop, ledger = connect(alice, "shopify", "Kestrel Shop"), connect(alice, "xero", "Kestrel Books")
        read(ledger, ledger_lists())
        read(shop, [payout()])
    data = {"source": str(shop.pk), "target": str(ledger.pk), "start_date": "2026-11-01"}
    response = alice_client.post(f"{FLOWS}new/payouts/", data)
    with tenant_context(tenant):
        flow = Flow.objects.select_related("mapping").get()
        assert AuditEntry.objects.filter(action="flow.created").count() == 1
    assert response["Location"] == f"{FLOWS}{flow.pk}/mapping/"
    assert (flow.stage, flow.start_date) == (Stage.SET_UP, dt.date(2026, 11, 1))
    assert flow.mapping is not None
    chosen = {name: entry.get("value") for name, entry in flow.mapping.spec["fields"].items()}
    assert chosen["clearing_ledger_account"] == "092"
    assert chosen["bank_ledger_account"] == "090"
    assert chosen["fees_ledger_account"] == "404"


def test_adding_twice_and_without_a_date_is_refused_and_keeps_the_choice(
    tenant: Tenant, alice: User, alice_client: Client
) -> None:
    with tenant_context(tenant):
        flow = orders_flow(alice)
    data = {"source": str(flow.source_id), "target": str(flow.target_id)}
    page = alice_client.post(f"{FLOWS}new/orders/", data | {"start_date": "2026-11-05"}).content.decode()
    assert "exists already" in page and 'value="2026-11-05"' in page
    page = alice_client.post(f"{FLOWS}new/orders/", data | {"start_date": "soon"}).content.decode()
    assert "Enter a valid date" in page and 'value="soon"' in page
    assert alice_client.get(f"{FLOWS}new/nonsense/").status_code == 404


def test_pair_that_cannot_run_is_refused(tenant: Tenant, alice: User) -> None:
    with tenant_context(tenant):
        shop = connect(alice, "shopify", "Kestrel Shop")
        with pytest.raises(UnableToAddFlow, match="cannot run"):
            flow_of(alice, shop, shop)


def test_scope_counts_and_is_saved(
    tenant: Tenant, alice: User, bob_client: Client, rule_news: list[dict[str, Any]]
) -> None:
    with tenant_context(tenant):
        flow = orders_flow(alice, [order(1), order(2, country="DE"), order(3, country="FR")])
    url = f"{FLOWS}{flow.pk}/scope/"
    assert bob_client.get(url).context["in_scope"] == 3
    data = {"path0": "country", "operator0": "is_not", "value0": "GB"}
    counted = bob_client.post(f"{url}save/", data | {"count": "1"})
    assert counted.context["in_scope"] == 2
    assert len(counted.context["form"].rows) == 2
    assert bob_client.post(f"{url}save/", data)["Location"] == url
    with tenant_context(tenant):
        assert Flow.objects.get().scope == [{"path": "country", "operator": "is_not", "value": "GB"}]
        assert AuditEntry.objects.filter(action="flow.scope_saved").count() == 1
    assert rule_news == [
        {"flow_ids": {flow.pk}, "reason_codes": ("outside_pilot",)},
    ]


def test_scope_errors_keep_what_was_typed(tenant: Tenant, alice: User, bob_client: Client) -> None:
    with tenant_context(tenant):
        flow = orders_flow(alice)
    data = {"path0": "total", "operator0": "at_least", "value0": "plenty"}
    response = bob_client.post(f"{FLOWS}{flow.pk}/scope/save/", data)
    assert "needs a number" in response.content.decode() and 'value="plenty"' in response.content.decode()
    data = {"path0": "placed_at", "operator0": "on_or_after", "value0": "5 November"}
    assert "needs a date" in bob_client.post(f"{FLOWS}{flow.pk}/scope/save/", data).content.decode()
    with tenant_context(tenant):
        assert Flow.objects.get().scope == []
        Flow.objects.update(stage=Stage.LIVE)
    data = {"path0": "total", "operator0": "at_least", "value0": "10"}
    assert "The pilot is over" in bob_client.post(f"{FLOWS}{flow.pk}/scope/save/", data).content.decode()


def test_source_of_truth_is_decided_with_single_fields(
    tenant: Tenant, alice: User, bob_client: Client, rule_news: list[dict[str, Any]]
) -> None:
    with tenant_context(tenant):
        flow = orders_flow(alice)
    shop, ledger = flow.source, flow.target
    data = {
        "order-owner": str(shop.pk),
        "customer-owner": str(ledger.pk),
        "customer-rule": "newest",
        "customer-field-email": str(shop.pk),
    }
    assert bob_client.post(f"{TRUTH}save/", data)["Location"] == TRUTH
    with tenant_context(tenant):
        customer = SourceOfTruth.objects.get(pk="customer")
        assert (customer.owner_id, customer.rule, customer.field_owners) == (
            ledger.pk,
            "newest",
            {"email": str(shop.pk)},
        )
        assert SourceOfTruth.objects.get(pk="order").owner_id == shop.pk
        assert AuditEntry.objects.filter(action="source_of_truth.decided").count() == 2
    assert [news["flow_ids"] for news in rule_news] == [{flow.pk}, set()]
    bob_client.post(f"{TRUTH}save/", data)
    assert len(rule_news) == 2  # nothing changed, nothing was told
    page = bob_client.get(TRUTH).content.decode()
    assert page.count("checked") == 2


def test_source_of_truth_cannot_be_a_system_without_the_data_type(
    tenant: Tenant, alice: User, bob_client: Client
) -> None:
    with tenant_context(tenant):
        flow = orders_flow(alice)
    response = bob_client.post(f"{TRUTH}save/", {"order-owner": str(flow.target_id), "customer-rule": "newest"})
    assert response.status_code == 200
    assert "Select a valid choice" in response.content.decode()
    assert '<option value="newest" selected>' in response.content.decode()
    with tenant_context(tenant):
        assert not SourceOfTruth.objects.exists()


def test_source_of_truth_takes_the_same_queries_for_one_system_and_three(
    tenant: Tenant, alice: User, bob_client: Client
) -> None:
    with tenant_context(tenant):
        connect(alice, "shopify", "Shop 0")
    bob_client.get(TRUTH)
    for count in (1, 3):
        with tenant_context(tenant):
            for number in range(Connection.objects.count(), count):
                connect(alice, "shopify", f"Shop {number}")
        with CaptureQueriesContext(database) as queries:
            response = bob_client.get(TRUTH)
        assert len(response.context["connections"]) == count
        assert len(queries) == 10


def test_strangers_see_nothing_and_viewers_only_look(
    tenant: Tenant, alice: User, bob: User, bob_client: Client, charlie_client: Client
) -> None:
    with tenant_context(tenant):
        flow = orders_flow(alice)
    pages = [FLOWS, TRUTH, f"{FLOWS}{flow.pk}/scope/"]
    for page in [*pages, f"{FLOWS}new/", f"{FLOWS}new/orders/"]:
        assert charlie_client.get(page).status_code == 404
    changes = [f"{FLOWS}new/orders/", f"{TRUTH}save/", f"{FLOWS}{flow.pk}/scope/save/"]
    for page in changes:
        assert charlie_client.post(page).status_code == 404
    Membership.objects.filter(user=bob).update(role=Role.VIEWER)
    for page in pages:
        assert bob_client.get(page).status_code == 200
    assert "You may look only" in bob_client.get(TRUTH).content.decode()
    for page in changes:
        response = bob_client.post(page)
        assert response.status_code == 403
        assert "This needs the role Bookkeeper" in response.content.decode()
