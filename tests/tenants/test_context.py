"""The tenant context: one tenant per transaction, nothing left behind, no default."""

from __future__ import annotations

import threading
from typing import cast

import pytest
from django.db import ProgrammingError, connection, transaction

from tenants.backend import base
from tenants.backend.base import DatabaseWrapper, SearchPathError
from tenants.context import TenantContextError, UnknownTenant, between_tenants, current_tenant, require_no_tenant
from tenants.context import tenant as tenant_context
from tenants.models import Tenant


def search_path() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('search_path')")
        return str(cursor.fetchone()[0]).replace('"', "")


def test_context_uses_the_schema_of_the_tenant_and_leaves_nothing(tenant: Tenant) -> None:
    with tenant_context(tenant) as opened:
        assert opened is tenant
        assert current_tenant() is tenant
        assert search_path() == f"{tenant.schema_name}, public"
    assert search_path() == "public"
    with pytest.raises(TenantContextError, match="No tenant's context"):
        current_tenant()


def test_context_opens_by_id(tenant: Tenant) -> None:
    with tenant_context(str(tenant.pk)) as opened:
        assert opened == tenant


@pytest.mark.parametrize("unknown", ["t_kestrel", "", "00000000-0000-4000-8000-000000000000"])
def test_context_of_an_unknown_tenant_is_refused(tenant: Tenant, unknown: str) -> None:
    with pytest.raises(UnknownTenant), tenant_context(unknown):
        pass
    assert search_path() == "public"


def test_context_without_a_schema_is_refused(tenant: Tenant) -> None:
    tenant.schema_name = "t_missing"
    with pytest.raises(TenantContextError, match="does not exist"), tenant_context(tenant):
        pass
    assert search_path() == "public"


def test_context_of_another_tenant_inside_is_refused(tenant: Tenant, other_tenant: Tenant) -> None:
    with tenant_context(tenant):
        with pytest.raises(TenantContextError, match="must wait"), tenant_context(other_tenant):
            pass
        assert search_path() == f"{tenant.schema_name}, public"


def test_context_of_the_same_tenant_inside_is_a_savepoint(tenant: Tenant) -> None:
    with tenant_context(tenant):
        with pytest.raises(ValueError, match="undo"), tenant_context(tenant):
            Tenant.objects.filter(pk=tenant.pk).update(legal_name="Changed")
            raise ValueError("undo")
        assert Tenant.objects.get(pk=tenant.pk).legal_name == "Kestrel & Co"
        assert search_path() == f"{tenant.schema_name}, public"


def test_context_ends_after_an_error(tenant: Tenant, other_tenant: Tenant) -> None:
    with pytest.raises(ValueError, match="oops"), tenant_context(tenant):
        raise ValueError("oops")
    assert search_path() == "public"
    with tenant_context(other_tenant):
        assert search_path() == f"{other_tenant.schema_name}, public"


def test_context_survives_a_rolled_back_savepoint(tenant: Tenant) -> None:
    with tenant_context(tenant):
        with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")
        assert search_path() == f"{tenant.schema_name}, public"


def test_context_whose_path_was_changed_is_an_error_and_rolls_back(tenant: Tenant, other_tenant: Tenant) -> None:
    with pytest.raises(TenantContextError, match="was changed"), tenant_context(tenant):
        Tenant.objects.filter(pk=tenant.pk).update(legal_name="Changed")
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL search_path = {other_tenant.schema_name}, public")
    assert Tenant.objects.get(pk=tenant.pk).legal_name == "Kestrel & Co"
    assert search_path() == "public"


def test_schema_cannot_be_chosen_past_the_context(tenant: Tenant) -> None:
    with pytest.raises(SearchPathError):
        cast(DatabaseWrapper, connection).set_tenant(tenant)


def test_tables_of_a_tenant_are_not_found_without_context(tenant: Tenant) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {tenant.schema_name}.only_here (id int)")
    with tenant_context(tenant), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM only_here")
        assert cursor.fetchone() == (0,)
    with (
        pytest.raises(ProgrammingError, match="does not exist"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT count(*) FROM only_here")


def test_work_that_must_be_outside_is_refused_inside(tenant: Tenant) -> None:
    require_no_tenant()
    with tenant_context(tenant), pytest.raises(TenantContextError, match="must not run inside"):
        require_no_tenant()


@pytest.mark.django_db(transaction=True)
def test_thread_does_not_inherit_the_context(tenant: Tenant) -> None:
    found: list[str] = []

    def look() -> None:
        try:
            current_tenant()
        except TenantContextError:
            found.append(search_path())
        finally:
            connection.close()

    with tenant_context(tenant):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert found == ["public"]


@pytest.mark.django_db(transaction=True)
def test_context_commits_what_it_did_and_runs_callbacks_outside(tenant: Tenant) -> None:
    paths: list[str] = []
    with tenant_context(tenant):
        Tenant.objects.filter(pk=tenant.pk).update(legal_name="Changed")
        transaction.on_commit(lambda: paths.append(search_path()))
    assert paths == ["public"]
    assert Tenant.objects.get(pk=tenant.pk).legal_name == "Changed"


@pytest.mark.django_db(transaction=True)
def test_server_process_that_touched_many_schemas_is_replaced_between_two_pieces_of_work(
    tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MOST_SCHEMAS", 2)
    seen = []
    for owner in (tenant, tenant, other_tenant, tenant):
        between_tenants()
        with tenant_context(owner):
            seen.append(backend())
            between_tenants()  # not inside a transaction
            assert backend() == seen[-1]
    assert seen[0] == seen[1] == seen[2] != seen[3]


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
