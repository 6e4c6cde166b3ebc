"""Celery tasks know their tenant, or say that they need none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import Task, shared_task

from tenants.context import TenantContextError, require_no_tenant


class TenantTask(Task):  # type: ignore[type-arg]
    """Refuses to be sent or run without `tenant_id`; never falls back to the public schema.

    The task opens `with tenant(tenant_id)` itself, around its database work only: it may talk to a provider in between.
    """

    abstract = True
    is_public = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._check(kwargs)
        require_no_tenant()
        return super().__call__(*args, **kwargs)

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        self._check(kwargs or {})
        return super().apply_async(args, kwargs, *rest, **options)

    def _check(self, kwargs: dict[str, Any]) -> None:
        if self.is_public or self.name.startswith("celery."):
            return
        try:
            UUID(str(kwargs.get("tenant_id")))
        except ValueError as error:
            raise TenantContextError(f"The task {self.name} needs a keyword tenant_id.") from error


class PublicTask(TenantTask):
    """Works in shared tables only, or finds out for itself which tenant has work."""

    abstract = True
    is_public = True


def tenant_task(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`@tenant_task()` for tasks that take `tenant_id` by keyword."""
    return shared_task(base=TenantTask, **options)


def public_task(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`@public_task()` for the few tasks that belong to no tenant."""
    return shared_task(base=PublicTask, **options)
