"""The command a deployment runs, beside people who use the tables."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from tenants import provisioning
from tenants.management.commands import migrate_all
from tenants.roles import ensure_shared_rights

pytestmark = pytest.mark.django_db(transaction=True)


class Releasing(io.StringIO):
    """Ends the long transaction as soon as the command says that it waits."""

    def __init__(self, other: psycopg.Connection[Any]) -> None:
        super().__init__()
        self.other = other

    def write(self, text: str) -> int:
        if "trying again" in text:
            self.other.rollback()
        return super().write(text)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    """Somebody reads a shared table, and goes on reading, that the next migration changes."""
    monkeypatch.setattr(provisioning, "LOCK_TIMEOUT", "100ms")
    monkeypatch.setattr(migrate_all, "PAUSES", (0, 0))
    call_command("migrate", "core", "0005", verbosity=0)
    given = connection.get_connection_params()
    named = {key: given[key] for key in ("host", "port", "user", "password", "dbname") if given.get(key)}
    with psycopg.connect(**named) as other:
        other.execute("SELECT FROM core_eventcopy LIMIT 1")
        yield other
    call_command("migrate", verbosity=0)
    ensure_shared_rights()


def migrate(output: io.StringIO) -> str:
    call_command("migrate_all", verbosity=0, stdout=output)
    return output.getvalue()


def test_shared_table_in_use_is_tried_again(reading: psycopg.Connection[Any]) -> None:
    assert migrate(Releasing(reading)).count("A table is in use; trying again in 0 seconds.") == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT is_stuck FROM core_eventcopy LIMIT 1")
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)


def test_shared_table_that_stays_in_use_is_given_up_with_a_sentence(reading: psycopg.Connection[Any]) -> None:
    output = io.StringIO()
    with pytest.raises(CommandError, match="A table was in use by a long transaction at every try"):
        migrate(output)
    assert output.getvalue().count("trying again") == 2
    reading.rollback()
    assert "trying again" not in migrate(io.StringIO())
