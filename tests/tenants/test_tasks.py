"""A task knows its tenant, or says that it needs none."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tenants.context import TenantContextError
from tenants.context import tenant as tenant_context
from tenants.models import Tenant
from tenants.tasks import public_task, tenant_task


@tenant_task(name="tests.count")
def count(*, tenant_id: str) -> str:
    return tenant_id


@public_task(name="tests.wake")
def wake() -> str:
    return "awake"


@pytest.mark.parametrize("arguments", [{}, {"tenant_id": None}, {"tenant_id": "public"}, {"tenant_id": ""}])
def test_task_without_a_tenant_is_neither_sent_nor_run(arguments: dict[str, Any]) -> None:
    with pytest.raises(TenantContextError, match="tenant_id"):
        count.delay(**arguments)
    with pytest.raises(TenantContextError, match="tenant_id"):
        count(**arguments)


def test_task_with_a_tenant_runs() -> None:
    tenant_id = str(uuid.uuid4())
    assert count(tenant_id=tenant_id) == tenant_id


def test_public_task_needs_none() -> None:
    assert wake() == "awake"


def test_task_is_refused_inside_a_context(tenant: Tenant) -> None:
    with tenant_context(tenant), pytest.raises(TenantContextError, match="must not run inside"):
        wake()
