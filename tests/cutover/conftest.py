"""The flow most of these tests are about, inside Alice's business."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from marketplace.mapping.models import Flow
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.cutover.world import make_flow


@pytest.fixture
def inside(tenant: Tenant) -> Iterator[Tenant]:
    """For tests of operations: the whole test runs in the tenant's context."""
    with tenant_context(tenant):
        yield tenant


@pytest.fixture
def flow(inside: Tenant, alice: User) -> Flow:
    return make_flow(alice)
