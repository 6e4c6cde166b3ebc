"""The product's database backend, whose `flush` also empties the tenants' tables: nothing ties them to the shared ones."""

from collections.abc import Sequence
from typing import Any

from django.db.backends.postgresql.operations import DatabaseOperations

from tenants.backend import base

_OF_TENANTS = """
    SELECT format('TRUNCATE %%s;', string_agg(format('%%I.%%I', schemaname, tablename), ', '))
    FROM pg_tables WHERE schemaname = ANY(%s) AND tablename <> 'django_migrations' HAVING count(*) > 0
"""


class OperationsOnAllSchemas(DatabaseOperations):
    def sql_flush(
        self, style: Any, tables: Sequence[str], *, reset_sequences: bool = False, allow_cascade: bool = False
    ) -> list[str]:
        from conftest import TEST_SCHEMAS  # noqa: PLC0415 -- it needs settings, which name this backend

        with self.connection.cursor() as cursor:
            cursor.execute(_OF_TENANTS, [list(TEST_SCHEMAS)])
            of_tenants = [statement for (statement,) in cursor.fetchall()]
        shared = super().sql_flush(style, tables, reset_sequences=reset_sequences, allow_cascade=allow_cascade)
        return of_tenants + shared


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = OperationsOnAllSchemas
