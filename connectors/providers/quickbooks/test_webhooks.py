"""QuickBooks' limits and its two webhook formats."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest

from connectors.providers.quickbooks.manifest import MANIFEST
from connectors.providers.quickbooks.streams import LedgerAccounts
from connectors.providers.quickbooks.testbench import KESTREL, Company, all_of
from connectors.providers.quickbooks.webhooks import WEBHOOKS
from connectors.sdk.errors import RateLimited

START = dt.datetime(2026, 5, 5, 9, 0, tzinfo=dt.UTC)


@pytest.fixture
def kestrel() -> Iterator[Company]:
    company = Company(KESTREL)
    yield company
    company.simulator.close()


def test_forty_batches_a_minute_then_a_minute_of_rest(kestrel: Company) -> None:
    kestrel.simulator.limits = tuple(limit for limit in MANIFEST.limits if limit.counts == "batch")
    for _ in range(40):
        kestrel.client.queries(["select * from CompanyInfo"])
    with pytest.raises(RateLimited) as caught:
        kestrel.client.queries(["select * from CompanyInfo"])
    assert caught.value.retry_after == 60
    assert all_of(LedgerAccounts().pages(kestrel.client, {"since": START.isoformat(), "is_complete": True}))
    kestrel.simulator.advance(61)
    kestrel.client.queries(["select * from CompanyInfo"])


def test_both_webhook_formats_say_the_same(kestrel: Company) -> None:
    events = []
    for sends_cloud_events in (True, False):
        kestrel.simulator.sends_cloud_events = sends_cloud_events
        kestrel.simulator.outbox.clear()
        kestrel.simulator.plant(KESTREL, [kestrel.invoice(int(sends_cloud_events), id="4711")], emit=True)
        (delivery,) = kestrel.simulator.outbox.deliveries()
        (event,) = WEBHOOKS.events({}, delivery["body"].encode())
        events.append((event.organisation_id, event.data_type, event.external_id, event.kind))
    assert events == [(KESTREL, "invoice", "4711", "changed")] * 2


def test_merged_customers_are_one_deleted_and_one_changed() -> None:
    body = (
        b'{"eventNotifications":[{"realmId":"1","dataChangeEvent":{"entities":[{"id":"5","operation":"Merge",'
        b'"name":"Customer","deletedId":"6","lastUpdated":"2026-05-05T09:00:00.000Z"},'
        b'{"id":"7","operation":"Create","name":"Estimate","lastUpdated":"2026-05-05T09:00:00.000Z"}]}}]}'
    )
    events = [(event.external_id, event.kind) for event in WEBHOOKS.events({}, body)]
    assert events == [("5", "changed"), ("6", "deleted")]


def test_closing_date_moves_are_events_of_the_company() -> None:
    body = (
        b'[{"specversion":"1.0","id":"e1","source":"intuit.x","type":"qbo.preferences.updated.v1",'
        b'"time":"2025-09-10T21:31:25.179851517Z","intuitentityid":"1","intuitaccountid":"9130350000000002","data":{}}]'
    )
    (event,) = WEBHOOKS.events({}, body)
    assert (event.data_type, event.external_id, event.event_id) == ("company", KESTREL, "e1")
    assert event.occurred_at is not None and event.occurred_at.microsecond == 179851
