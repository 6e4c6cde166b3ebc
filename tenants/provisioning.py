"""Tenants' schemas: made from a template in one round trip, and moved on together when migrations are added.

Running the migrations for every new tenant takes seconds and, for many tenants, hours. So they run once, in the template
schema. Its statements are kept per state of the migrations (`SchemaTemplate`), and so is what moved it from one state to
the next (`SchemaStep`), which is replayed on the tenants that are behind.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from django.conf import settings
from django.db import connection as default_connection
from django.db import transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RunPython

from tenants.backend.base import DatabaseWrapper
from tenants.models import SchemaStep, SchemaTemplate, Tenant
from tenants.roles import rights_in_advance

TEMPLATE_SCHEMA = "t_template"
_TENANTS_PER_TRANSACTION = 20
#: Rather stop and try again than make people wait behind our wait for a lock.
LOCK_TIMEOUT = "5s"
_TEMPLATE_LOCK = 7_105_411
# pg_dump's preamble changes the session; our transaction must keep its own settings.
_PREAMBLE = re.compile(r"^(SET \w+ = [^;\n]*;|SELECT pg_catalog\.set_config\('search_path'.*|\\.*|--.*)$", re.MULTILINE)
_CHANGES = ("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE", "COMMENT", "SET CONSTRAINTS", "DO")


class UnableToBuildTemplate(RuntimeError):
    """The template schema could not be read back as statements."""


def _connection() -> DatabaseWrapper:
    return cast(DatabaseWrapper, default_connection)


def _tenant_labels() -> set[str]:
    return {name.rpartition(".")[2] for name in settings.TENANT_APPS}


@cache
def current_digest() -> str:
    """Names the state that the migrations in the code lead to."""
    loader = MigrationLoader(None)
    names = sorted(f"{app}.{name}" for app, name in loader.graph.nodes if app in _tenant_labels())
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


# --- the template -----------------------------------------------------------------------------------------


def ensure_template() -> SchemaTemplate:
    """The template for the code's migrations; built, or moved on, when it is not there yet."""
    digest = current_digest()
    template = SchemaTemplate.objects.filter(digest=digest).first()
    if template is None:
        with _alone():
            template = SchemaTemplate.objects.filter(digest=digest).first() or _build_template(digest)
    return template


@contextmanager
def _alone() -> Iterator[None]:
    """Two processes that start together must not build the template twice."""
    with _connection().cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_TEMPLATE_LOCK])
    try:
        yield
    finally:
        with _connection().cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_TEMPLATE_LOCK])


def _build_template(digest: str) -> SchemaTemplate:
    previous = SchemaTemplate.objects.order_by("-built_at").first()
    with _connection().cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {TEMPLATE_SCHEMA}")
    recorder = _Recorder()
    with default_connection.execute_wrapper(recorder):
        runs_python = _migrate_schema(TEMPLATE_SCHEMA)
    with transaction.atomic():
        if previous:
            step = {"to_digest": digest, "sql": recorder.sql, "runs_python": runs_python}
            SchemaStep.objects.update_or_create(from_digest=previous.digest, defaults=step)
        return SchemaTemplate.objects.create(digest=digest, ddl=_dump_template())


class _Recorder:
    """Keeps the statements that change the template, but not the migrations' own bookkeeping."""

    def __init__(self) -> None:
        self._statements: list[str] = []

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().upper().startswith(_CHANGES) and "django_migrations" not in sql:
            self._statements.append(_connection().ops.compose_sql(sql, params) if params else sql)
        return execute(sql, params, many, context)

    @property
    def sql(self) -> str:
        return "\n".join(f"{statement.rstrip().rstrip(';')};" for statement in self._statements)


def _migrate_schema(schema_name: str) -> bool:
    """Runs the pending migrations in one schema. Answers whether one of them runs Python on rows."""
    with _connection().migrating(schema_name):
        executor = MigrationExecutor(default_connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        executor.migrate(executor.loader.graph.leaf_nodes(), plan=plan)
    operations = (
        operation
        for migration, _ in plan
        if migration.app_label in _tenant_labels()
        for operation in migration.operations
    )
    return any(isinstance(operation, RunPython) for operation in operations)


def _dump_template() -> str:
    """The statements of the template, with every name qualified by the template's schema."""
    parameters = default_connection.get_connection_params()
    names = {
        "host": "PGHOST",
        "port": "PGPORT",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "dbname": "PGDATABASE",
    }
    environment = {variable: str(parameters[key]) for key, variable in names.items() if parameters.get(key)}
    command = [
        str(settings.PG_DUMP),
        "--schema-only",
        "--no-owner",
        "--no-privileges",
        f"--schema={TEMPLATE_SCHEMA}",
    ]
    result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if result.returncode:
        raise UnableToBuildTemplate(f"pg_dump failed: {result.stderr.strip()}")
    return re.sub(r"\n{2,}", "\n", _PREAMBLE.sub("", result.stdout)).strip()


@contextmanager
def giving_up_locks() -> Iterator[None]:
    """Around migrations, which open transactions of their own."""
    with _connection().cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    try:
        yield
    finally:
        with _connection().cursor() as cursor:
            cursor.execute("RESET lock_timeout")


# --- one tenant ---------------------------------------------------------------------------------------------


def create_schema(schema_name: str) -> str:
    """Makes the schema in one round trip. Answers the digest of the template it was made from."""
    template = ensure_template()
    made, filled = re.sub(rf"\b{TEMPLATE_SCHEMA}\b", schema_name, template.ddl).split(f"CREATE SCHEMA {schema_name};")
    with transaction.atomic(), _connection().cursor() as cursor:
        # Functions may name tables that the statements make only later.
        cursor.execute(
            f"SET LOCAL check_function_bodies = false;\n{made}CREATE SCHEMA {schema_name};\n"
            f"{rights_in_advance(schema_name)}{filled}\n"
            f"INSERT INTO {schema_name}.django_migrations (app, name, applied)"
            f" SELECT app, name, applied FROM {TEMPLATE_SCHEMA}.django_migrations ORDER BY id;"
        )
    return template.digest


# --- all tenants ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moved:
    """How many tenants were moved on, and how."""

    replayed: int = 0
    migrated: int = 0


def tenants_behind(digest: str) -> list[Tenant]:
    return list(Tenant.objects.exclude(template_digest=digest).order_by("template_digest", "pk"))


def migrate_tenants(*, report: Callable[[str], None] = lambda line: None) -> Moved:
    """Resumable: a tenant that was moved on says so in its row, in the same transaction."""
    digest = ensure_template().digest
    steps = {step.from_digest: step for step in SchemaStep.objects.all()}
    replayed = migrated = 0
    behind = tenants_behind(digest)
    for batch in _batches(behind):
        chain = _chain(steps, batch[0].template_digest, digest)
        if chain is None or any(step.runs_python for step in chain):
            migrated += _migrate_each(batch, digest)
        else:
            replayed += _replay(batch, chain, digest)
        report(f"{replayed + migrated} of {len(behind)} tenants")
    return Moved(replayed=replayed, migrated=migrated)


def _batches(tenants: list[Tenant]) -> Iterator[list[Tenant]]:
    """Tenants in the same state, few enough that a transaction stays short."""
    batch: list[Tenant] = []
    for tenant in tenants:
        if batch and (len(batch) == _TENANTS_PER_TRANSACTION or tenant.template_digest != batch[0].template_digest):
            yield batch
            batch = []
        batch.append(tenant)
    if batch:
        yield batch


def _chain(steps: dict[str, SchemaStep], digest: str, wanted: str) -> list[SchemaStep] | None:
    """The steps from one state to another; None when they were never recorded."""
    chain: list[SchemaStep] = []
    while digest != wanted:
        step = steps.get(digest)
        if step is None or step in chain:
            return None
        chain.append(step)
        digest = step.to_digest
    return chain


def _migrate_each(tenants: Iterable[Tenant], digest: str) -> int:
    count = 0
    for tenant in tenants:
        with giving_up_locks():
            _migrate_schema(tenant.schema_name)
        count += Tenant.objects.filter(pk=tenant.pk).update(template_digest=digest)
    return count


def _replay(tenants: list[Tenant], chain: list[SchemaStep], digest: str) -> int:
    statements = "\n".join(step.sql for step in chain)
    with transaction.atomic():
        with _connection().cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            for tenant in tenants:
                cursor.execute(_in_schema(tenant.schema_name, statements))
            cursor.execute("SET LOCAL search_path = public")
        return Tenant.objects.filter(pk__in=[tenant.pk for tenant in tenants]).update(template_digest=digest)


def _in_schema(schema_name: str, statements: str) -> str:
    return (
        f"SET LOCAL search_path = {schema_name}, public;\n{statements}\n"
        f"INSERT INTO {schema_name}.django_migrations (app, name, applied)"
        f" SELECT app, name, applied FROM {TEMPLATE_SCHEMA}.django_migrations AS made WHERE NOT EXISTS ("
        f"SELECT FROM {schema_name}.django_migrations AS ours WHERE (ours.app, ours.name) = (made.app, made.name))"
        " ORDER BY made.id;"
    )
