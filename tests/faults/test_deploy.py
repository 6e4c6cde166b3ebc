"""A new release is brought in while the shop sells: tables get new columns, old and new code serve side by side, nobody stops."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client

from marketplace.core.models import WebhookDelivery
from tenants.models import SchemaStep, Tenant
from tenants.provisioning import Moved, current_digest, ensure_template, migrate_tenants
from tests.benchmarks.driving import Business
from tests.faults import backups
from tests.faults.books import check
from tests.faults.forked import Process
from tests.faults.processes import running, wait_until
from tests.faults.releases import Release, make_next, this_release
from tests.faults.servers import Broker, answer_of, celery, web_server
from tests.faults.test_broker import acknowledged, aim_webhooks_at
from tests.faults.test_webhooks import sent
from tests.faults.world import connect, make_orders, seen_first, sending_ended

pytestmark = [pytest.mark.faults, pytest.mark.stack]

SEEN, STEP = 20, 10
ENDS_WITHIN = 60.0
MOVED_WITHIN = 120.0
PAGES = ("/o/kestrel/", "/o/marlow/")
#: What a version adds to every tenant; the version before knows nothing of it.
ADDED = """
    ALTER TABLE posting_posting ADD COLUMN added_{number} text NOT NULL DEFAULT '';
    ALTER TABLE sync_record ADD COLUMN added_{number} integer NULL;
    ALTER TABLE mapping_flow ADD COLUMN added_{number} boolean NOT NULL DEFAULT false;
"""


def drop_columns(schema_name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('ALTER TABLE %%I.%%I DROP COLUMN %%I', table_schema, table_name, column_name)"
            " FROM information_schema.columns WHERE table_schema = %s AND column_name LIKE 'added_%%'",
            [schema_name],
        )
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)


def end_kindly(process: Process) -> None:
    """A warm shutdown: what is begun is finished."""
    process.terminate()
    assert process.wait(ENDS_WITHIN) == 0


@pytest.fixture
def apart(django_db_setup: None, django_db_blocker: Any, tmp_path: Path) -> Iterator[None]:
    """The database as it was is put back at the end. Named first, so that this comes last."""
    with django_db_blocker.unblock():
        backups.copy_database(f"{tmp_path.name}_before")
    yield
    with django_db_blocker.unblock():
        backups.put_in_place(f"{tmp_path.name}_before")


@dataclass
class Visitors:
    """Alice, whose business it is, and Charlie, whose it is not, each with a browser of their own."""

    address: str
    alice: dict[str, str]
    charlie: dict[str, str]
    visits: int = 0

    def look(self) -> None:
        """Everything is served all the time, to whom it belongs and to nobody else."""
        for cookies, pages in ((self.alice, (200, 404)), (self.charlie, (404, 200))):
            for path, wanted in zip(PAGES, pages, strict=True):
                answer = httpx.get(f"{self.address}{path}", cookies=cookies, timeout=60)
                assert answer.status_code == wanted, (path, answer.status_code, answer.text[:500])
                assert wanted == 404 or path.split("/")[2] in answer.text
                self.visits += 1


@pytest.fixture
def visitors(address: str, alice_client: Client, charlie_client: Client, other_tenant: Tenant) -> Visitors:
    def cookies(client: Client) -> dict[str, str]:
        return {name: morsel.value for name, morsel in client.cookies.items()}

    return Visitors(address, cookies(alice_client), cookies(charlie_client))


@dataclass
class Site:
    """Web and workers of one release."""

    web: Process
    workers: Process


def start(release: Release, stack: ExitStack, address: str, folder: Path, dice: random.Random) -> Site:
    """Its programs, one after the other, beside those that run already."""
    own = folder / f"running-{release.number}"
    own.mkdir()
    site: dict[str, Process] = {}
    for part in dice.sample(("web", "workers"), 2):
        if part == "web":
            site[part] = stack.enter_context(web_server(address, own, release.code))
        else:
            site[part] = stack.enter_context(running(celery(own), own / "celery.log", code=release.code))
    return Site(**site)


def migrate(release: Release) -> None:
    """As an operator does it: what could not be locked in time is done by the next try."""
    told: list[str] = []

    def is_moved() -> bool:
        ended = release.run("migrate_all")
        told.append(ended.stderr[-2000:])
        return ended.returncode == 0

    try:
        wait_until(is_moved, "every tenant on the new release", MOVED_WITHIN)
    except AssertionError as error:
        raise AssertionError(told[-1]) from error


def test_new_release_comes_in_while_the_old_one_works(
    apart: None,
    business: Business,
    visitors: Visitors,
    broker: Broker,
    address: str,
    simulators: dict[str, str],
    tmp_path: Path,
    size: Any,
    seed: int,
    tell: Any,
) -> None:
    """The old code on the new tables, both at once, then the new code alone; orders, webhooks and visitors come all the time."""
    releases = size.pick(1, 10)
    dice, schema_name = random.Random(seed), business.owner.schema_name
    orders = seen_first(make_orders(SEEN + 4 * STEP * releases, seed=seed))
    world, rest = connect(business, orders[:SEEN], ["xero"]), iter(orders[SEEN:])

    def sell() -> None:
        world.sell(list(itertools.islice(rest, STEP)), emit=True)
        world.read()
        visitors.look()

    with ExitStack() as stack:
        release = this_release()
        site = start(release, stack, address, tmp_path, dice)
        aim_webhooks_at(address)
        world.wait()
        for _ in range(releases):
            release, old = make_next(release, tmp_path), site
            sell()
            migrate(release)
            before, _ = release.runs(schema_name)
            sell()  # the old code, on tables that have more columns than it knows
            world.wait()
            by_the_old, by_itself = release.runs(schema_name)
            assert by_the_old > before and not by_itself
            site = start(release, stack, address, tmp_path, dice)
            sell()  # both
            end_kindly(old.workers)
            end_kindly(old.web)
            sell()
            world.wait()
            assert release.runs(schema_name)[1]
        wait_until(sending_ended, "the end of sending")
        answer = answer_of(f"{address}/healthz")
        assert answer is not None and answer.status_code == 200
        end_kindly(site.workers)
    check(business, world.flows, world.orders)
    rows = Counter(WebhookDelivery.objects.values_list("digest", flat=True))
    assert acknowledged(sent()) <= set(rows) and set(rows.values()) == {1}
    events = len(world.orders) + len(rows) + visitors.visits
    tell("C15", "a new release beside the old one, migrating at work", tried=releases, events=events)


def test_migration_waits_for_nobody_for_long_and_goes_on_later(
    transactional_db: None, tenant: Tenant, tell: Any
) -> None:
    """While it waits for a table, everybody else waits behind it: so it gives up, and is run again."""
    ensure_template()
    SchemaStep.objects.create(
        from_digest="before-1", to_digest=current_digest(), sql=ADDED.format(number=1), runs_python=False
    )
    Tenant.objects.update(template_digest="before-1")
    parameters = {key: value for key, value in connection.get_connection_params().items() if key != "cursor_factory"}
    with psycopg.connect(dbname=parameters["dbname"], user=parameters["user"], host=parameters["host"]) as other:
        other.execute(f"SELECT 1 FROM {tenant.schema_name}.sync_record LIMIT 1")  # a report that takes its time
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate_tenants()
    assert migrate_tenants() == Moved(replayed=1)
    drop_columns(tenant.schema_name)
    tell("C15", "migration behind a long transaction", tried=1)
