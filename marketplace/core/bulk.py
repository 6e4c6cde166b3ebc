"""Set-based writes: rows by COPY, identifiers by the hundred, one round trip each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection as database
from django.db.models import Model


def new_ids(model: type[Model], count: int) -> list[int]:
    """Reserve primary keys, so that rows may refer to each other before they are written."""
    if not count:
        return []
    table = model._meta.db_table
    with database.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count])
        return [row[0] for row in cursor.fetchall()]


def copy_rows(model: type[Model], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Append rows to a model's table. Values are already what the columns hold; constraints are the database's."""
    names = ", ".join(f'"{column}"' for column in columns)
    with database.cursor() as cursor, cursor.copy(f'COPY "{model._meta.db_table}" ({names}) FROM STDIN') as copy:
        for row in rows:
            copy.write_row(row)
