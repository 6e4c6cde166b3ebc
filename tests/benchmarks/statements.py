"""Counting what is sent to the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection as database
from psycopg import Cursor


class Statements:
    """Statements by their first words. BEGIN and COMMIT are not among them."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        self.seen[" ".join(str(sql).split()[:8])[:90]] += 1
        return execute(sql, params, many, context)

    @property
    def total(self) -> int:
        return self.seen.total()


@contextmanager
def counted() -> Iterator[Statements]:
    statements = Statements()
    copy = Cursor.copy

    def counting(cursor: Any, statement: Any, *args: Any, **kwargs: Any) -> Any:
        statements.seen[" ".join(str(statement).split()[:2])] += 1
        return copy(cursor, statement, *args, **kwargs)

    setattr(Cursor, "copy", counting)  # noqa: B010 -- its many overloads are not ours to repeat
    try:
        with database.execute_wrapper(statements):
            yield statements
    finally:
        setattr(Cursor, "copy", copy)  # noqa: B010 -- as above
