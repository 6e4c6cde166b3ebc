"""Books at a simulated ledger, for tests that write."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from connectors.testing import Simulator
from tenants.models import Tenant, User
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures
from tests.posting.world import Books, open_books, order


@pytest.fixture
def owner(tenant: Tenant) -> Tenant:
    """The tenant, for tests that also use the function of that name."""
    return tenant


@pytest.fixture
def books(tenant: Tenant, alice: User, simulators: dict[str, Simulator], settings: Settings) -> Books:  # noqa: F811
    """Kestrel's orders go live into a simulated Xero."""
    settings.SIMULATOR_SPEED = 1000
    return open_books(tenant, alice, simulators["xero"])


QUICKBOOKS_FIELDS: dict[str, Any] = {
    "sales_ledger_account": {"from": "constant", "value": "79"},
    "shipping_ledger_account": {"from": "constant", "value": "45"},
    "rounding_ledger_account": {"from": "constant", "value": "63"},
    "contact": {"from": "constant", "value": "Online shop customers"},
    "tax_rates": {"from": "map", "pairs": {"VAT 20%": "2", "No tax": "4"}, "otherwise": ""},
    "payment_ledger_accounts": {"from": "map", "pairs": {"shopify_payments": "37"}, "otherwise": ""},
}


@pytest.fixture
def quickbooks(tenant: Tenant, alice: User, simulators: dict[str, Simulator], settings: Settings) -> Books:  # noqa: F811
    """Kestrel's orders go live into a simulated QuickBooks."""
    settings.SIMULATOR_SPEED = 1000
    return open_books(tenant, alice, simulators["quickbooks"], fields=QUICKBOOKS_FIELDS, organisation=1)


@pytest.fixture(params=["xero", "quickbooks"])
def ledger(request: pytest.FixtureRequest) -> Books:
    """Both ledgers, one after the other, with two paid orders in their books."""
    found: Books = request.getfixturevalue({"xero": "books", "quickbooks": "quickbooks"}[request.param])
    found.take(order(1001), order(1002, "60.00"))
    found.write()
    assert found.states() == {"#1001": "posted", "#1002": "posted"}
    return found
