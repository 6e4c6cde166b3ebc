"""A read that was asked for while a listing of an older state was under way is followed by one of the present state."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now
from pytest_django import Settings

from connectors.providers.shopify.simulated_world import sale
from connectors.testing import Simulator
from connectors.testing.faults import Fault
from marketplace.core.models import WorkItem
from marketplace.core.work import claim_work, do_work, request_work
from marketplace.installations.models import Connection
from marketplace.sync.models import Record, StreamState, SyncRun
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.benchmarks.driving import Business
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures

SHOP = "kestrel-and-co.myshopify.com"


@pytest.fixture
def shopify(simulators: dict[str, Simulator]) -> Simulator:  # noqa: F811
    return simulators["shopify"]


@pytest.fixture
def shop(tenant: Tenant, alice: User, shopify: Simulator, settings: Settings) -> Connection:
    settings.SIMULATOR_SPEED = 1000
    shopify.plant(SHOP, [sale(1001)])
    connection = Business(tenant, alice).connect("shopify", SHOP, {"shop": SHOP})
    WorkItem.objects.all().delete()
    return connection


def ask(owner: Tenant, connection: Connection) -> None:
    request_work(tenant_id=owner.pk, kind="sync", key=f"{connection.pk}:order")


def work_once() -> bool:
    """One claim, if anything is due."""
    claim = claim_work()
    if claim is not None:
        do_work(claim)
    return claim is not None


def break_off(owner: Tenant, connection: Connection, shopify: Simulator) -> None:
    """The export is made, and the answer that says so cannot be read: reading goes on with it later."""
    shopify.faults.add(Fault(match="POST /shops", contains="bulkOperation(", kind="html", works=True))
    ask(owner, connection)
    assert work_once()
    with tenant_context(owner):
        state = StreamState.objects.get(connection=connection, data_type="order")
        assert state.problem and state.cursor is not None and "bulk" in state.cursor


def orders(owner: Tenant) -> set[str]:
    with tenant_context(owner):
        return set(Record.objects.filter(data_type="order").values_list("external_id", flat=True))


def test_what_changed_before_it_was_asked_for_is_read_although_an_older_export_is_gone_on_with(
    tenant: Tenant, shop: Connection, shopify: Simulator
) -> None:
    break_off(tenant, shop, shopify)
    shopify.plant(SHOP, [sale(1002)])
    ask(tenant, shop)
    while work_once():
        pass
    assert orders(tenant) == {"1001", "1002"}
    with tenant_context(tenant):
        states = SyncRun.objects.order_by("started_at").values_list("state", flat=True)
        assert list(states) == ["stopped", "done", "done"]


def test_listing_that_nobody_asked_for_again_is_not_repeated(
    tenant: Tenant, shop: Connection, shopify: Simulator
) -> None:
    break_off(tenant, shop, shopify)
    WorkItem.objects.filter(kind="sync").update(due_at=Now())
    while work_once():
        pass
    assert orders(tenant) == {"1001"}
    with tenant_context(tenant):
        assert SyncRun.objects.count() == 2
