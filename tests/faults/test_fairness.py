"""One business's first sync takes all the time there is; another one's webhooks reach the ledger beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from tenants.models import Tenant, User
from tests.benchmarks.driving import Business
from tests.benchmarks.fairness import big_one, celery, percentile, small_one
from tests.benchmarks.simulators import SPEED, serving
from tests.faults.books import check
from tests.faults.campaign import Size
from tests.faults.conftest import Tell
from tests.faults.processes import free_port, running, wait_until
from tests.faults.test_webhooks import web

pytestmark = [pytest.mark.faults, pytest.mark.stack]

PROCESSES = 3
#: A slice of long work is 15 seconds, and an event needs three pieces of work: who waited for slices would wait far longer.
MOST_TIMES, MORE_SECONDS = 3, 3.0


def test_first_sync_of_one_business_does_not_hold_up_another(
    business: Business,
    other_tenant: Tenant,
    charlie: User,
    settings: Settings,
    tmp_path: Path,
    size: Size,
    seed: int,
    tell: Tell,
) -> None:
    settings.PUBLIC_URL = f"http://127.0.0.1:{free_port()}"
    webhooks, orders = size.pick(5, 100), size.pick(1500, 100_000)
    with serving(("shopify", "xero", "stripe", "quickbooks"), tmp_path, settings.CONNECTOR_CREDENTIALS) as addresses:
        settings.SIMULATORS, settings.SIMULATOR_SPEED = addresses, SPEED
        big = big_one(Business(other_tenant, charlie), orders)
        with web(settings.PUBLIC_URL, tmp_path):
            small = small_one(business, webhooks, seed)
            with running(celery(tmp_path, PROCESSES), tmp_path / "celery.log"):
                idle = small.sell(webhooks)
                big.begin()
                wait_until(big.is_under_way, "the first sync under way")
                beside = small.sell(webhooks)
        check(business, [small.flow], small.sold)
    assert percentile(beside, 95) <= MOST_TIMES * percentile(idle, 95) + MORE_SECONDS
    tell("C16", "webhooks beside another business's first sync", tried=webhooks, events=orders + 2 * webhooks)
