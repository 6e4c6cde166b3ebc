"""Guards of the product that can be taken away on purpose, one at a time, to see whether the campaign notices.

A guard is a line of defence: a check, a lock, a unique index. `FAULTS_REMOVE` names the one that is gone, in the test process and in
every process it starts. This is a pytest plugin too; without that variable it does nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

REMOVE, REPORT = "FAULTS_REMOVE", "FAULTS_REMOVE_REPORT"
_FOLDER = Path(__file__).with_name("guards")


@dataclass(frozen=True)
class Guard:
    """`noticed_by` is the node id of a short test that passes with the guard and must fail without it."""

    name: str
    noticed_by: str
    in_ci: bool
    remove: Callable[[], None]


@dataclass(frozen=True)
class Dropped:
    """A statement that takes something away from the database: in every tenant's schema, or in the shared one."""

    statement: str
    schema: Literal["tenant", "public"]


_guards: dict[str, Guard] = {}
_dropped: list[Dropped] = []


def guard(name: str, *, noticed_by: str, in_ci: bool = False) -> Callable[[Callable[[], None]], None]:
    """Register a guard; the decorated function takes it away from this process."""

    def register(remove: Callable[[], None]) -> None:
        if name in _guards:
            raise ValueError(f"There are two guards called {name!r}.")
        _guards[name] = Guard(name, noticed_by, in_ci, remove)

    return register


def guards() -> dict[str, Guard]:
    """All of them, by name."""
    for module in pkgutil.iter_modules([str(_FOLDER)]):
        importlib.import_module(f"tests.faults.guards.{module.name}")
    return dict(_guards)


def replace(owner: Any, name: str, value: Any) -> None:
    """Put something weaker in the place of a function or constant. A name that is not there any more is an error."""
    getattr(owner, name)
    setattr(owner, name, value)


def drop(statement: str, *, schema: Literal["tenant", "public"]) -> None:
    """Run a statement once the test database was made; in a tenant's schema it names tables without a schema."""
    _dropped.append(Dropped(statement, schema))


def remove_named_guard() -> None:
    """Take away the guard that the environment names, if it names one."""
    name = os.environ.get(REMOVE)
    if name:
        guards()[name].remove()


def pytest_collection_finish(session: pytest.Session) -> None:
    remove_named_guard()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
    result = yield
    if fixturedef.argname == "django_db_setup" and _dropped:
        request.getfixturevalue("django_db_blocker")
        _drop_all(request.getfixturevalue("django_db_blocker"))
    return result


def _drop_all(blocker: Any) -> None:
    from django.db import connection  # noqa: PLC0415 -- this plugin is loaded before Django is

    from conftest import TEST_SCHEMAS  # noqa: PLC0415 -- the same

    with blocker.unblock():
        with connection.cursor() as cursor:
            for dropped in _dropped:
                for schema in TEST_SCHEMAS if dropped.schema == "tenant" else ("public",):
                    cursor.execute(f"SET search_path = {schema}, public; {dropped.statement}; RESET search_path")
        connection.close()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell the runner how the test ended, so that a test that could not even begin does not pass for one that noticed."""
    path = os.environ.get(REPORT)
    if path and report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        with Path(path).open("a") as told:
            told.write(
                json.dumps({"when": report.when, "message": crash.message if crash else str(report.longrepr)}) + "\n"
            )
