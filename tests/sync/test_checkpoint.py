"""A page of records and its cursor: all of it or nothing, newest state wins, unchanged rewrites nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection as database
from pytest_django import Settings

from connectors.sdk.streams import RejectedRow
from connectors.testing import Simulator
from connectors.testing.faults import Fault
from marketplace.core.clock import now
from marketplace.core.models import WorkItem
from marketplace.installations.models import Connection
from marketplace.sync.checkpoint import accept_page
from marketplace.sync.models import Change, Record, StreamState, SyncRun
from marketplace.sync.models import RejectedRow as Rejection
from marketplace.sync.operations import mark_deleted, read_stream, request_read
from marketplace.sync.signals import records_changed
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.benchmarks.driving import Business
from tests.cutover.world import LONDON, make_connection
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures
from tests.posting.world import PLACED, arrive, order, read_as

LATER = PLACED + dt.timedelta(hours=1)


@pytest.fixture
def shop(tenant: Tenant, alice: User) -> Iterator[Connection]:
    """Inside the tenant's context."""
    with tenant_context(tenant):
        yield make_connection(alice, "shopify", "Kestrel shop")


@pytest.fixture
def ledger(tenant: Tenant, alice: User, simulators: dict[str, Simulator], settings: Settings) -> Connection:  # noqa: F811
    settings.SIMULATOR_SPEED = 1000
    return Business(tenant, alice).connect("xero", str(simulators["xero"].organisations()[0]["id"]))


def places() -> list[tuple[int, str]]:
    """A rewritten row gets a new place."""
    with database.cursor() as cursor:
        cursor.execute("SELECT id, ctid::text FROM sync_record ORDER BY id")
        return list(cursor.fetchall())


def reject(connection: Connection, external_id: str, reason: str) -> None:
    row = RejectedRow(external_id=external_id, reason=reason, raw={"id": external_id})
    accept_page(
        connection_id=connection.pk, records=(), rejected=(row,), data_type="order", run_id=None, zone=LONDON, at=now()
    )


def test_record_is_kept_with_its_columns_and_its_first_change(shop: Connection) -> None:
    assert arrive(shop, read_as(order(1), note="kept as it came")) == 1
    record = Record.objects.get()
    assert (record.number, record.amount, record.currency, record.party) == (
        "#1",
        Decimal("120.0000"),
        "GBP",
        "Ada Hart",
    )
    assert record.occurred_on == dt.date(2026, 10, 10)
    assert record.raw == {"id": "1", "note": "kept as it came"}
    assert list(Change.objects.values_list("kind", flat=True)) == ["created"]


def test_day_is_the_tenants_not_greenwichs(shop: Connection) -> None:
    """Half past eleven in the evening of London's summer is the next day in UTC's eyes only one hour later."""
    arrive(shop, read_as(order(1, placed_at=dt.datetime(2026, 7, 1, 23, 30, tzinfo=dt.UTC))))
    assert Record.objects.get().occurred_on == dt.date(2026, 7, 2)


def test_same_page_again_rewrites_nothing(shop: Connection) -> None:
    page = [read_as(order(number)) for number in range(3)]
    arrive(shop, *page)
    before = places()
    assert arrive(shop, *page) == 0
    assert places() == before
    assert Change.objects.count() == 3


def test_same_page_again_locks_nothing(shop: Connection) -> None:
    """A lock is written to the log as a change is."""
    page = [read_as(order(number)) for number in range(3)]
    arrive(shop, *page)
    arrive(shop, *page)
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sync_record WHERE xmax <> 0")
        assert cursor.fetchone() == (0,)


def test_newer_state_replaces_and_is_logged(shop: Connection) -> None:
    arrive(shop, read_as(order(1)))
    assert arrive(shop, read_as(order(1, "180.00", updated_at=LATER))) == 1
    assert Record.objects.get().amount == Decimal("180.00")
    assert list(Change.objects.order_by("id").values_list("kind", flat=True)) == ["created", "updated"]


def test_older_state_never_replaces_a_newer_one(shop: Connection) -> None:
    """A webhook that was overtaken by the regular check."""
    arrive(shop, read_as(order(1, "180.00", updated_at=LATER)))
    assert arrive(shop, read_as(order(1))) == 0
    assert Record.objects.get().amount == Decimal("180.00")


def test_record_twice_in_a_page_counts_in_its_newest_state(shop: Connection) -> None:
    newest = read_as(order(1, "180.00", updated_at=LATER))
    assert arrive(shop, newest, read_as(order(1)), read_as(order(2))) == 2
    assert Record.objects.get(number="#1").amount == Decimal("180.00")


def test_deletion_is_a_state_not_an_absence(shop: Connection) -> None:
    arrive(shop, read_as(order(1)))
    arrive(shop, read_as(order(1, updated_at=LATER), is_deleted=True))
    assert Record.objects.get().is_deleted
    assert Change.objects.order_by("-id")[0].kind == "deleted"


def test_only_what_the_provider_calls_deleted_is_marked(shop: Connection) -> None:
    arrive(shop, read_as(order(1)), read_as(order(2)))
    mark_deleted(connection=shop, data_type="order", external_ids=["1", "unknown"])
    assert dict(Record.objects.values_list("number", "is_deleted")) == {"#1": True, "#2": False}


def test_letters_that_a_database_cannot_hold_do_not_lose_the_record(shop: Connection) -> None:
    arrive(shop, read_as(order(1, note="before\x00after")))
    assert Record.objects.get().body["note"] == "beforeafter"


def test_unreadable_row_waits_once_and_is_resolved_when_it_can_be_read(shop: Connection) -> None:
    reject(shop, "1", "no currency")
    reject(shop, "1", "no total")
    assert Rejection.objects.get(resolved_at=None).reason == "no total"
    arrive(shop, read_as(order(1)))
    assert not Rejection.objects.filter(resolved_at=None).exists()


def test_two_connections_keep_records_of_the_same_number_apart(shop: Connection, alice: User) -> None:
    other = make_connection(alice, "shopify", "Second shop")
    arrive(shop, read_as(order(1)))
    arrive(other, read_as(order(1, "20.00")))
    assert Record.objects.count() == 2


def test_cursor_moves_with_its_records(tenant: Tenant, ledger: Connection) -> None:
    again_in = read_stream(tenant_id=tenant.pk, connection_id=ledger.pk, data_type="ledger_account")
    assert again_in is not None and again_in > dt.timedelta(0)
    with tenant_context(tenant):
        state = StreamState.objects.get(connection=ledger, data_type="ledger_account")
        run = SyncRun.objects.get(data_type="ledger_account")
        assert Record.objects.filter(data_type="ledger_account").count() == run.read_count > 5
    assert state.cursor is not None and state.backfilled_at is not None
    assert (run.state, run.trigger) == ("done", "backfill")
    assert run.calls >= 1


def test_crash_while_storing_keeps_neither_records_nor_cursor(tenant: Tenant, ledger: Connection) -> None:
    def crash(**kwargs: Any) -> None:
        raise RuntimeError("the power failed")

    records_changed.connect(crash)
    try:
        with pytest.raises(RuntimeError, match="power"):
            read_stream(tenant_id=tenant.pk, connection_id=ledger.pk, data_type="ledger_account")
    finally:
        records_changed.disconnect(crash)
    with tenant_context(tenant):
        assert not Record.objects.exists()
        assert StreamState.objects.get(data_type="ledger_account").cursor is None
    read_stream(tenant_id=tenant.pk, connection_id=ledger.pk, data_type="ledger_account")
    with tenant_context(tenant):
        assert Record.objects.filter(data_type="ledger_account").exists()
        assert SyncRun.objects.filter(data_type="ledger_account").count() == 1  # the interrupted run went on


def test_provider_in_trouble_is_tried_again_and_said(
    tenant: Tenant,
    ledger: Connection,
    simulators: dict[str, Simulator],  # noqa: F811
) -> None:
    simulators["xero"].faults.add(Fault(match="GET /api.xro", kind="html", times=9))
    again_in = read_stream(tenant_id=tenant.pk, connection_id=ledger.pk, data_type="ledger_account")
    assert again_in is not None and again_in > dt.timedelta(0)
    with tenant_context(tenant):
        assert StreamState.objects.get(data_type="ledger_account").problem
        assert SyncRun.objects.get().problem


def test_reading_asks_for_each_list_once(tenant: Tenant, ledger: Connection) -> None:
    WorkItem.objects.all().delete()
    count = request_read(tenant_id=tenant.pk, connection=ledger)
    assert request_read(tenant_id=tenant.pk, connection=ledger) == count
    assert WorkItem.objects.filter(kind="sync").count() == count
