"""What only the owner of the database can do to a tenant's tables; the product's own transactions may not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.backends.utils import CursorWrapper

from tenants.context import tenant as tenant_context
from tenants.models import Tenant


@contextmanager
def as_owner(tenant: Tenant) -> Iterator[CursorWrapper]:
    """A transaction in the tenant's schema, with every right there is."""
    with tenant_context(tenant), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE NONE")
        yield cursor
        cursor.execute(f"SET LOCAL ROLE {tenant.schema_name}")
