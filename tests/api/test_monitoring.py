"""/healthz and /metrics: what they claim is true, and who may read it."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from marketplace.core import queries
from marketplace.core.clock import now
from marketplace.core.models import TenantSummary, WorkItem
from marketplace.core.queries import HEARTBEAT
from marketplace.core.tasks import tick
from marketplace.core.work import claim_work, do_work, request_work
from tenants.models import Tenant

pytestmark = pytest.mark.django_db


def test_healthy_once_a_worker_has_consumed_a_message(client: Client) -> None:
    tick.apply()
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.json() == {"database": "ok", "broker": "ok", "worker": "ok", "clock": "ok"}
    assert "no-store" in response["Cache-Control"]


def test_not_healthy_before_anybody_consumed(client: Client) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.json()["worker"]) == (503, "down")


def test_not_healthy_when_the_last_message_is_long_ago(client: Client) -> None:
    cache.set(HEARTBEAT, (now() - dt.timedelta(seconds=61)).isoformat())
    assert client.get("/healthz").status_code == 503


@pytest.mark.parametrize("error", [-86_400, -300, 300, 86_400])
def test_clock_that_is_wrong_raises_an_alarm(
    client: Client, error: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """First the worker's, then this machine's own."""
    with monkeypatch.context() as wrong:
        wrong.setattr(queries, "now", lambda: now() + dt.timedelta(seconds=error))
        tick.apply()
        assert "clock is wrong" in caplog.text
    assert client.get("/healthz").json() == {"database": "ok", "broker": "ok", "worker": "ok", "clock": "down"}
    tick.apply()
    assert client.get("/healthz").status_code == 200
    monkeypatch.setattr(queries, "now", lambda: now() + dt.timedelta(seconds=error))
    assert client.get("/healthz").status_code == 503


def test_broker_that_is_away_is_named(client: Client, settings: Settings) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
    }
    response = client.get("/healthz")
    assert response.status_code == 503
    assert response.json() == {"database": "ok", "broker": "down", "worker": "down", "clock": "ok"}


def test_metrics_count_the_work_of_all_businesses(client: Client, tenant: Tenant, other_tenant: Tenant) -> None:
    WorkItem.objects.all().delete()
    for owner in (tenant, other_tenant):
        request_work(tenant_id=owner.pk, kind="unheard", key="k")
    page = client.get("/metrics").content.decode()
    assert "# TYPE tieout_work_due gauge\ntieout_work_due 2\n" in page
    assert "tieout_businesses 2\n" in page


def test_metrics_are_for_this_machine(client: Client) -> None:
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.9").status_code == 404
    assert client.get("/metrics", REMOTE_ADDR="127.0.0.1").status_code == 200


def test_what_a_proxy_forwards_is_not_this_machine(client: Client) -> None:
    response = client.get("/metrics", REMOTE_ADDR="127.0.0.1", headers={"X-Forwarded-For": "203.0.113.9"})
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("token", "given", "status"),
    [("s3cret", "Bearer s3cret", 200), ("s3cret", "Bearer guess", 404), ("", "Bearer ", 404), ("s3cret", "", 404)],
)
def test_metrics_open_with_the_token_and_never_without_one(
    client: Client, settings: Settings, token: str, given: str, status: int
) -> None:
    settings.METRICS_TOKEN = token
    response = client.get("/metrics", REMOTE_ADDR="203.0.113.9", headers={"Authorization": given})
    assert response.status_code == status


def test_summary_is_counted_when_asked_for(tenant: Tenant) -> None:
    WorkItem.objects.all().delete()
    request_work(tenant_id=tenant.pk, kind="summary", key="tenant")
    claim = claim_work()
    assert claim is not None
    do_work(claim)
    summary = TenantSummary.objects.get(tenant=tenant)
    assert (summary.waiting_count, summary.broken_connections, summary.furthest_stage) == (0, 0, "")
