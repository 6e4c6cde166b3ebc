"""The product's database backend, whose `flush` also empties the tenants' tables: nothing ties them to the shared ones."""

from collections.abc import Sequence
from typing import Any

from django.db.backends.postgresql.operations import DatabaseOperations
from psycopg import sql

from tenants.backend import base

_OF_TENANTS = (
    "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s) AND tablename <> 'django_migrations'"
)
_HAS_ROWS = sql.SQL("SELECT {name} WHERE EXISTS (SELECT FROM {table})")

#: What follows from the code alone, as schemas do: emptied, it would be made again by whoever needs it next.
_OF_THE_CODE = {"django_content_type", "auth_permission", "tenants_schematemplate"}


class OperationsOnAllSchemas(DatabaseOperations):
    def sql_flush(
        self, style: Any, tables: Sequence[str], *, reset_sequences: bool = False, allow_cascade: bool = False
    ) -> list[str]:
        """Only tables with rows in them, and those that refer to them: emptying one costs the same whatever it holds, and most tests
        write to a few."""
        from conftest import TEST_SCHEMAS  # noqa: PLC0415 -- it needs settings, which name this backend

        with self.connection.cursor() as cursor:
            cursor.execute(_OF_TENANTS, [list(TEST_SCHEMAS)])
            shared = [name for name in tables if name not in _OF_THE_CODE]
            everything = [sql.Identifier(*row) for row in [*cursor.fetchall(), *((name,) for name in shared)]]
            names = [table.as_string(cursor.connection) for table in everything]
            asked = [_HAS_ROWS.format(name=name, table=table) for name, table in zip(names, everything, strict=True)]
            cursor.execute(sql.SQL(" UNION ALL ").join(asked))
            filled = [name for (name,) in cursor.fetchall()]
        return [f"TRUNCATE {', '.join(filled)} CASCADE;"] if filled else []


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = OperationsOnAllSchemas
