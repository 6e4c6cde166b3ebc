"""A backup that is put back while the ledgers have moved on: what was sent since is found there, not sent again."""

from __future__ import annotations

import datetime as dt
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection as database
from django.db.models.functions import Now

from connectors.registry import connector
from connectors.sdk.records import Order
from connectors.sdk.streams import WritableStream
from marketplace.core.models import WorkItem
from marketplace.core.restoring import restored_at
from marketplace.core.work import claim_work, do_work, repair_ring
from marketplace.posting.models import Posting
from tenants.context import tenant
from tests.benchmarks.driving import Business, provider
from tests.faults import backups
from tests.faults.books import check
from tests.faults.campaign import Size
from tests.faults.processes import environment, wait_until
from tests.faults.servers import empty_cluster, load_elsewhere, used
from tests.faults.world import World, connect, make_orders, seen_first, work_quietly

pytestmark = [pytest.mark.faults, pytest.mark.stack]

SEEN = 15
A_WHILE = dt.timedelta(hours=1)
DAYS_LATER = 46  # long after any provider forgot the keys it saw


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is sent again would go out in other company, under a key that no provider has seen."""
    for slug in ("xero", "quickbooks"):
        for stream in connector(slug).streams:
            if isinstance(stream, WritableStream):
                monkeypatch.setattr(type(stream), "batch_size", 7)


def sell_and_write(world: World, orders: list[Order]) -> None:
    world.sell(orders)
    world.read()
    work_quietly()


def plan_without_writing(world: World) -> int:
    """Read and plan what is new; answers how many documents wait to be sent."""
    world.read()

    def is_planned() -> bool:
        WorkItem.objects.filter(kind="post").update(due_at=Now() + A_WHILE)
        claim = claim_work()
        if claim is not None:
            do_work(claim)
        return claim is None and not WorkItem.objects.filter(due_at__lte=Now()).exists()

    wait_until(is_planned, "the plan")
    with tenant(world.business.owner):
        return Posting.objects.filter(state=Posting.State.PLANNED).count()


def forget_keys(world: World) -> None:
    """More than a month goes by at the ledgers."""
    for ledger in world.ledgers:
        with provider(ledger.connector) as simulated:
            simulated.http.post("/_sim/clock", json={"advance_seconds": DAYS_LATER * 86_400}).raise_for_status()


@dataclass(frozen=True)
class Copy:
    """As a snapshot of the disk: the database sees for itself that it lives elsewhere now."""

    name: str

    def take(self) -> None:
        backups.copy_database(self.name)

    def put_back(self) -> None:
        backups.put_in_place(self.name)


@dataclass(frozen=True)
class Dump:
    """Loaded over the database as it is: somebody has to say so."""

    file: Path

    def take(self) -> None:
        backups.dump_database(self.file)

    def put_back(self) -> None:
        backups.load_dump(self.file)
        call_command("after_restore")


#: How a backup is taken and put back, and the ledger that moves on meanwhile.
WAYS = (("copied", "xero"), ("dumped", "quickbooks"), ("copied", "quickbooks"), ("dumped", "xero"))


def rounds() -> list[tuple[int, str, str]]:
    return [(number, *WAYS[number % len(WAYS)]) for number in range(Size.asked().pick(2, 18))]


@pytest.mark.parametrize(("number", "way", "ledger"), rounds(), ids=lambda value: str(value))
def test_nothing_sent_since_the_backup_is_sent_again(
    number: int,
    way: str,
    ledger: str,
    business: Business,
    simulators: dict[str, str],
    small_batches: None,
    tmp_path: Path,
    seed: int,
    size: Any,
    tell: Any,
) -> None:
    orders = seen_first(make_orders(SEEN + size.pick(30, 200), seed=seed))
    written, planned = sorted(random.Random(seed).sample(range(SEEN + 5, len(orders) - 5), 2))
    world = connect(business, orders[:SEEN], [ledger])
    sell_and_write(world, orders[SEEN:written])
    world.sell(orders[written:planned])
    assert plan_without_writing(world)
    backup = Copy(f"{tmp_path.name}_copy") if way == "copied" else Dump(tmp_path / "dump")
    backup.take()
    sell_and_write(world, orders[planned:])
    forget_keys(world)
    backup.put_back()
    WorkItem.objects.update(due_at=Now())
    repair_ring()
    work_quietly()
    check(business, world.flows, world.orders)
    assert restored_at() is not None
    tell("C15", f"restored after the ledger moved on, {way}", tried=1, events=len(orders))


def manage(command: str) -> None:
    """As an operator runs it."""
    done = subprocess.run(
        [sys.executable, "manage.py", command], env=environment(), cwd=settings.BASE_DIR, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def roles_of_tenants() -> set[str]:
    """Those that exist on this server, are granted to us, and may use their schema."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT rolname FROM pg_roles JOIN tenants_tenant ON schema_name = rolname"
            " WHERE NOT rolcanlogin AND has_schema_privilege(pg_roles.oid, schema_name, 'USAGE')"
            " AND has_table_privilege(pg_roles.oid, format('%I.sync_record', schema_name), 'INSERT')"
        )
        return {name for (name,) in cursor.fetchall()}


def test_dump_restored_on_another_server_sends_nothing_again(
    business: Business,
    simulators: dict[str, str],
    small_batches: None,
    tmp_path: Path,
    seed: int,
    size: Any,
    tell: Any,
) -> None:
    """By the steps of the operators' guide, from a server of which nothing is left but the dump."""
    orders = seen_first(make_orders(SEEN + size.pick(20, 200), seed=seed))
    written, planned = sorted(random.Random(seed).sample(range(SEEN + 5, len(orders) - 5), 2))
    world = connect(business, orders[:SEEN], ["xero"])
    sell_and_write(world, orders[SEEN:written])
    world.sell(orders[written:planned])
    assert plan_without_writing(world)
    backups.dump_database(tmp_path / "dump")
    sell_and_write(world, orders[planned:])
    forget_keys(world)
    with empty_cluster() as cluster:
        load_elsewhere(cluster, tmp_path / "dump")
        with used(cluster):
            assert roles_of_tenants() == set()
            manage("migrate_all")
            manage("after_restore")
            assert business.owner.schema_name in roles_of_tenants()
            assert restored_at() is not None
            work_quietly()
            check(business, world.flows, world.orders)
    tell("C15", "restored on another server, by the guide", tried=1, events=len(orders))


def test_database_knows_that_it_was_not_restored(db: None) -> None:
    assert restored_at() is None
    assert restored_at() is None
    call_command("after_restore")
    assert restored_at() is not None
