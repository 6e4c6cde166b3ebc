"""PostgreSQL with a search path and a role that only the tenant context (and migrations of a schema) may change.

django-tenants sets the path per connection, so a forgotten reset shows the next request another tenant's rows.
Here the path and the role of a tenant are set with SET LOCAL: they end with the transaction, whatever happens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django_tenants.postgresql_backend import base
from psycopg import OperationalError
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

PUBLIC = "public"
#: A server process remembers every table it touched and gives nothing back: after so many schemas it is replaced by a fresh one.
MOST_SCHEMAS = 100
TEXT, BINARY = 0, 1


class SearchPathError(RuntimeError):
    """Something other than the tenant context tried to choose a schema."""


class DatabaseWrapper(base.DatabaseWrapper):
    open_context: Any = None
    _is_migrating = False
    _role_outside = "none"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._entered: set[str] = set()
        self._prepared: set[str] = set()

    def connect(self) -> None:
        super().connect()
        self._entered = set()
        self._prepared = set()

    def close_if_unusable_or_obsolete(self) -> None:
        """Called by Django around each request, and by Celery around each task."""
        super().close_if_unusable_or_obsolete()
        self.close_when_full()

    def close_when_full(self) -> None:
        """Between two pieces of work only: a worker is known by its session while it works."""
        if len(self._entered) >= MOST_SCHEMAS and not self.in_atomic_block:
            self.close()

    def set_tenant(self, tenant: Any, include_public: bool = True) -> None:
        if tenant.schema_name != PUBLIC and not self._is_migrating:
            raise SearchPathError("Only `tenants.context.tenant` may enter a tenant's schema.")
        super().set_tenant(tenant, include_public)

    def _handle_search_path(self, cursor: Any = None) -> None:
        if self.open_context is None:
            super()._handle_search_path(cursor)

    def enter_schema(self, tenant: Any) -> tuple[str | None, str]:
        """Inside a transaction: use the tenant's schema, under its role, until it ends. Answers the schema and the role now current; a role
        that does not exist is not taken on."""
        self.open_context = self.tenant = tenant
        self._entered.add(tenant.schema_name)
        self.schema_name = tenant.schema_name
        # In this order: which schemas of a path count depends on the role.
        sql = (
            "SELECT current_setting('role'), set_config('search_path', %s, true),"
            " set_config('role', coalesce(to_regrole(%s)::text, current_setting('role')), true), current_schema(), current_user"
        )
        path = f'"{tenant.schema_name}", {PUBLIC}'
        self._role_outside, _, _, schema, role = self._read(sql, path, tenant.schema_name)
        return schema, role

    def leave_schema(self) -> tuple[str, str]:
        """The search path and the role as they were found; then those from outside, for a transaction that goes on around us."""
        sql = (
            "SELECT current_setting('search_path'), current_setting('role'),"
            " set_config('search_path', %s, true), set_config('role', %s, true)"
        )
        path, role, _, _ = self._read(sql, PUBLIC, self._role_outside)
        return path, role

    def run_prepared(self, name: str, statement: str, values: Sequence[bytes], formats: Sequence[int]) -> list[bytes]:
        """The one row that a statement answers, as text; prepared in this session under its name, once. This is below Django's cursor and
        the driver's, which take five times as long for it: for what is asked thousands of times and names every table with its schema."""
        self.ensure_connection()
        with self.wrap_database_errors:
            if self.in_atomic_block:
                self.connection.execute("SELECT")  # the driver begins a transaction with the first statement of its own
            session = self.connection.pgconn
            if session.status == ConnStatus.BAD:
                raise OperationalError("The session of the database was lost.")
            if name not in self._prepared:
                _checked(session, session.prepare(name.encode(), statement.encode()))
                self._prepared.add(name)
            answer = _checked(session, session.exec_prepared(name.encode(), values, formats))
        return [answer.get_value(0, column) or b"" for column in range(answer.nfields)]

    def forget_tenant(self) -> None:
        """The transaction has ended (or took its path back), so only our own notes are left to clear."""
        self.open_context = None
        self.tenant = base.FakeTenant(schema_name=PUBLIC)
        self.schema_name = PUBLIC

    def _read(self, sql: str, *parameters: str) -> Any:
        with self.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchone()

    @contextmanager
    def migrating(self, schema_name: str) -> Iterator[None]:
        """For migrations only: they open transactions of their own, so the path must outlive each."""
        if self.open_context is not None:
            raise SearchPathError("A schema cannot be migrated from inside a tenant's context.")
        self._is_migrating = True
        try:
            self.set_schema(schema_name)
            yield
        finally:
            self._is_migrating = False
            self.set_schema_to_public()


def _checked(session: PGconn, answer: PGresult) -> PGresult:
    """Raises the driver's errors."""
    if answer.status in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        return answer
    if session.status == ConnStatus.BAD:
        raise OperationalError(answer.get_error_message())
    raise error_from_result(answer)
