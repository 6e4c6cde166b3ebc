"""Books at a simulated ledger, for tests that write."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from connectors.testing import Simulator
from tenants.models import Tenant, User
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures
from tests.posting.world import Books, open_books


@pytest.fixture
def owner(tenant: Tenant) -> Tenant:
    """The tenant, for tests that also use the function of that name."""
    return tenant


@pytest.fixture
def books(tenant: Tenant, alice: User, simulators: dict[str, Simulator], settings: Settings) -> Books:  # noqa: F811
    """Kestrel's orders go live into a simulated Xero."""
    settings.SIMULATOR_SPEED = 1000
    return open_books(tenant, alice, simulators["xero"])
