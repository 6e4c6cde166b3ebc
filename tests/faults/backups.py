"""Backups of the test's database, and what becomes of it when one is restored."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection
from psycopg import sql

from marketplace.core.runtime.postgres import programs


@contextmanager
def _server() -> Iterator[psycopg.Connection[Any]]:
    """A session in another database of the same server; ours is closed."""
    parameters = connection.get_connection_params()
    connection.close()
    given = {key: parameters[key] for key in ("host", "port", "user", "password") if parameters.get(key)}
    with psycopg.connect(dbname="postgres", autocommit=True, **given) as session:
        yield session


def _name() -> str:
    return str(connection.settings_dict["NAME"])


def copy_database(copy: str) -> None:
    """As a snapshot of the disk takes it. Nobody may be connected."""
    with _server() as session:
        session.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(copy)))
        session.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (copy, _name()))))


def put_in_place(copy: str) -> None:
    """What happened since is gone."""
    with _server() as session:
        session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(_name())))
        session.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*map(sql.Identifier, (copy, _name()))))


def dump_database(file: Path) -> None:
    """As an operator does it, beside everything else."""
    _run("pg_dump", "--format=custom", f"--file={file}", _name())


def load_dump(file: Path) -> None:
    """Over the database as it is."""
    connection.close()
    _run("pg_restore", "--clean", "--if-exists", "--exit-on-error", f"--dbname={_name()}", str(file))


def _run(program: str, *arguments: str) -> None:
    parameters = connection.get_connection_params()
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    environment = {variable: str(parameters[key]) for key, variable in names.items() if parameters.get(key)}
    subprocess.run(
        [str(programs() / program), *arguments],
        env={**os.environ, **environment},
        cwd=settings.BASE_DIR,
        check=True,
        capture_output=True,
        text=True,
    )
