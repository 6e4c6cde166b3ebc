"""A tenant's schema comes from the template, and is what the migrations would have made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import pytest
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from tenants import provisioning
from tenants.backend.base import DatabaseWrapper
from tenants.models import SchemaStep, SchemaTemplate, Tenant, User, new_schema_name
from tenants.operations import create_business
from tenants.provisioning import Moved, create_schema, current_digest, ensure_template, migrate_tenants

pytestmark = pytest.mark.django_db

SHAPE = {
    "columns": """SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity,
        character_maximum_length FROM information_schema.columns WHERE table_schema = %s ORDER BY 1, 2""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %s ORDER BY 1, 2",
    "constraints": """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s) ORDER BY 1, 2""",
    "triggers": """SELECT event_object_table, trigger_name, action_statement FROM information_schema.triggers
        WHERE trigger_schema = %s ORDER BY 1, 2""",
    "functions": """SELECT proname, prosrc FROM pg_proc
        WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s) ORDER BY 1""",
}


def shape(schema_name: str) -> dict[str, list[tuple[object, ...]]]:
    """What the schema is made of, with its own name left out."""
    found = {}
    with connection.cursor() as cursor:
        for part, sql in SHAPE.items():
            cursor.execute(sql, [schema_name])
            found[part] = [tuple(_anonymous(value, schema_name) for value in row) for row in cursor.fetchall()]
    return found


def _anonymous(value: object, schema_name: str) -> object:
    """PostgreSQL prints a condition with other casts and brackets once it has read its own print; they mean the same."""
    if not isinstance(value, str):
        return value
    return re.sub(r"::(character varying|[a-z]+)(\[\])?|[()]", "", re.sub(rf"\b{schema_name}\.?", "", value))


def applied(schema_name: str) -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT app, name FROM {schema_name}.django_migrations ORDER BY 1, 2")
        return [(app, name) for app, name in cursor.fetchall()]


@pytest.fixture
def migrated_schema() -> Iterator[str]:
    """Made by running every migration, as Django would."""
    name = new_schema_name()
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {name}")
    with cast(DatabaseWrapper, connection).migrating(name):
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.mark.django_db(transaction=True)
def test_schema_from_the_template_equals_a_migrated_one(migrated_schema: str) -> None:
    copied = new_schema_name()
    assert create_schema(copied) == current_digest()
    assert shape(copied) == shape(migrated_schema)
    assert applied(copied) == applied(migrated_schema)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA {copied} CASCADE")


def test_schema_holds_the_tenant_tables_and_no_shared_ones() -> None:
    name = new_schema_name()
    create_schema(name)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [name])
        tables = {row[0] for row in cursor.fetchall()} - {"django_migrations"}
    ours = set(apps.app_configs) & {name.rpartition(".")[2] for name in settings.TENANT_APPS}
    expected = {
        table
        for model in apps.get_models(include_auto_created=True)
        if model._meta.app_label in ours and model._meta.managed
        for table in [model._meta.db_table]
    }
    assert tables == expected


def test_schema_is_made_in_one_statement() -> None:
    ensure_template()
    statements: list[str] = []

    def record(execute: object, sql: str, params: object, many: bool, context: object) -> object:
        statements.append(sql)
        return execute(sql, params, many, context)  # type: ignore[operator]

    with connection.execute_wrapper(record):
        create_schema(new_schema_name())
    changing = [sql for sql in statements if "CREATE" in sql]
    assert len(changing) == 1
    assert len(statements) <= 4  # the template, a savepoint and its end, and the statements themselves


def test_business_whose_schema_fails_leaves_no_row(alice: User) -> None:
    digest = current_digest()
    SchemaTemplate.objects.filter(digest=digest).update(ddl="CREATE SCHEMA t_template; SELECT 1/0;")
    with pytest.raises(Exception, match="division by zero"):
        create_business(owner=alice, legal_name="Half Ltd", country="GB", base_currency="GBP", time_zone="UTC")
    assert not Tenant.objects.filter(legal_name="Half Ltd").exists()


def test_schema_names_are_random_and_safe() -> None:
    names = {new_schema_name() for _ in range(50)}
    assert len(names) == 50
    assert all(re.fullmatch(r"t_[a-z2-7]{16}", name) for name in names)


def _behind(tenants: list[Tenant], digest: str) -> None:
    Tenant.objects.filter(pk__in=[tenant.pk for tenant in tenants]).update(template_digest=digest)


def _columns(tenant: Tenant) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
            [tenant.schema_name, "django_migrations"],
        )
        return {row[0] for row in cursor.fetchall()}


def test_tenants_behind_replay_the_recorded_steps(tenant: Tenant, other_tenant: Tenant) -> None:
    SchemaStep.objects.create(
        from_digest="a", to_digest="b", sql="ALTER TABLE django_migrations ADD COLUMN note text;", runs_python=False
    )
    SchemaStep.objects.create(
        from_digest="b",
        to_digest=current_digest(),
        sql="ALTER TABLE django_migrations RENAME COLUMN note TO remark;",
        runs_python=False,
    )
    _behind([tenant, other_tenant], "a")
    assert migrate_tenants() == Moved(replayed=2)
    assert "remark" in _columns(tenant)
    assert "remark" in _columns(other_tenant)
    assert migrate_tenants() == Moved()


def test_tenants_are_batched_and_resume_after_a_failure(
    tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioning, "_TENANTS_PER_TRANSACTION", 1)
    first, second = sorted([tenant, other_tenant], key=lambda each: each.pk)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {second.schema_name}.django_migrations ADD COLUMN note text")
    SchemaStep.objects.create(
        from_digest="a",
        to_digest=current_digest(),
        sql="ALTER TABLE django_migrations ADD COLUMN note text;",
        runs_python=False,
    )
    _behind([tenant, other_tenant], "a")
    with pytest.raises(Exception, match="already exists"):
        migrate_tenants()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.template_digest, second.template_digest) == (current_digest(), "a")
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {second.schema_name}.django_migrations DROP COLUMN note")
    assert migrate_tenants() == Moved(replayed=1)


@pytest.mark.django_db(transaction=True)
def test_tenant_in_an_unknown_state_is_migrated_one_by_one(tenant: Tenant) -> None:
    _behind([tenant], "nobody knows")
    assert migrate_tenants() == Moved(migrated=1)
    tenant.refresh_from_db()
    assert tenant.template_digest == current_digest()


def test_asking_who_is_behind_costs_the_same_for_many(
    tenant: Tenant, other_tenant: Tenant, django_assert_num_queries: object
) -> None:
    ensure_template()
    with django_assert_num_queries(3):  # type: ignore[operator]
        migrate_tenants()


def test_no_tenants_table_has_a_key_into_another_schema() -> None:
    """Each would be two triggers per tenant on the table it points to, and the server loads them all with it."""
    ensure_template()
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT conrelid::regclass::text, conname FROM pg_constraint
            JOIN pg_class AS other ON other.oid = confrelid
            WHERE contype = 'f' AND connamespace = %s::regnamespace AND other.relnamespace <> connamespace""",
            [provisioning.TEMPLATE_SCHEMA],
        )
        assert cursor.fetchall() == []


def test_people_are_deactivated_and_never_deleted() -> None:
    person = User.objects.create_user("stays@example.com", full_name="Somebody Who Decided")
    with connection.cursor() as cursor, pytest.raises(DatabaseError, match="never deleted"):
        cursor.execute("DELETE FROM tenants_user WHERE id = %s", [person.pk])
