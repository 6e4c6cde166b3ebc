"""The product's database backend, whose `flush` also empties tenants' tables that refer to shared ones."""

from collections.abc import Sequence
from typing import Any

from django.db.backends.postgresql.operations import DatabaseOperations

from tenants.backend import base


class CascadingOperations(DatabaseOperations):
    def sql_flush(
        self, style: Any, tables: Sequence[str], *, reset_sequences: bool = False, allow_cascade: bool = False
    ) -> list[str]:
        return super().sql_flush(style, tables, reset_sequences=reset_sequences, allow_cascade=True)


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = CascadingOperations
