"""The only owner of the tenant context. Whatever reads or writes a tenant's tables does so inside `with tenant(...)`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from django.db import connection as default_connection
from django.db import transaction

from tenants.backend.base import DatabaseWrapper
from tenants.models import Tenant
from tenants.roles import ensure_role


class TenantContextError(RuntimeError):
    """The tenant context is missing, was changed behind our back, or would be mixed with another tenant's."""


class UnknownTenant(TenantContextError):
    """There is no tenant with this id."""


def _connection() -> DatabaseWrapper:
    return cast(DatabaseWrapper, default_connection)


@contextmanager
def tenant(tenant_or_id: Tenant | UUID | str) -> Iterator[Tenant]:
    """One transaction in one tenant's schema.

    Search path and role are SET LOCAL, so they cannot outlive the transaction. Entering the same tenant again is a savepoint;
    entering another is refused: rows of two tenants never meet in one transaction, and the role may not even read the other's.
    """
    chosen = _load(tenant_or_id)
    database = _connection()
    if database.open_context is not None:
        _refuse_other(database.open_context, chosen)
        with transaction.atomic():
            yield database.open_context
        return
    try:
        with transaction.atomic():
            _enter(database, chosen)
            yield chosen
            _leave(database, chosen)
    finally:
        database.forget_tenant()


def current_tenant() -> Tenant:
    """The tenant whose context is open; never a default."""
    chosen = _connection().open_context
    if chosen is None:
        raise TenantContextError("No tenant's context is open here.")
    return cast(Tenant, chosen)


def require_no_tenant() -> None:
    """For work that must start outside: HTTP to a provider, or a context of its own."""
    if _connection().open_context is not None:
        raise TenantContextError("This must not run inside a tenant's context.")


def between_tenants() -> None:
    """For whoever serves many tenants in one process, between two of them: bounds the memory of the database's process."""
    _connection().close_when_full()


def _load(tenant_or_id: Tenant | UUID | str) -> Tenant:
    if isinstance(tenant_or_id, Tenant):
        return tenant_or_id
    try:
        wanted = UUID(str(tenant_or_id))
    except ValueError as error:
        raise UnknownTenant(f"{tenant_or_id!r} is not the id of a tenant.") from error
    found = Tenant.objects.filter(pk=wanted).first()
    if found is None:
        raise UnknownTenant(f"There is no tenant {wanted}.")
    return found


def _refuse_other(opened: Tenant, wanted: Tenant) -> None:
    if opened.pk != wanted.pk:
        raise TenantContextError(f"Tenant {opened.pk} is open; {wanted.pk} must wait until it is closed.")


def _enter(database: DatabaseWrapper, chosen: Tenant) -> None:
    schema, role = database.enter_schema(chosen)
    if schema == chosen.schema_name and role != chosen.schema_name:
        # Made by the version before this one, while the two run side by side.
        ensure_role(chosen.schema_name)
        schema, role = database.enter_schema(chosen)
    if (schema, role) != (chosen.schema_name, chosen.schema_name):
        raise TenantContextError(f"The schema of tenant {chosen.pk} does not exist, or its role may not use it.")


def _leave(database: DatabaseWrapper, chosen: Tenant) -> None:
    path, role = database.leave_schema()
    if path not in (f'"{chosen.schema_name}", public', f"{chosen.schema_name}, public"):
        raise TenantContextError(f"The search path of tenant {chosen.pk} was changed to {path!r}.")
    if role != chosen.schema_name:
        raise TenantContextError(f"The role of tenant {chosen.pk} was changed to {role!r}.")
