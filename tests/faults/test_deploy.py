"""A new version is brought in while the shop sells: tables get new columns, web and workers are replaced, nobody stops."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection

from marketplace.core.models import WebhookDelivery
from tenants.models import SchemaStep, Tenant
from tenants.provisioning import Moved, current_digest, ensure_template, migrate_tenants
from tests.benchmarks.driving import Business
from tests.faults.books import check
from tests.faults.processes import running, wait_until
from tests.faults.servers import Broker, answer_of, celery, web_server
from tests.faults.test_broker import acknowledged, aim_webhooks_at
from tests.faults.test_webhooks import ENDED, sent
from tests.faults.world import connect, make_orders, seen_first

pytestmark = [pytest.mark.faults, pytest.mark.stack]

SEEN, STEP = 20, 15
ENDS_WITHIN = 60.0
MOVED_WITHIN = 60.0
#: What a version adds to every tenant; the version before knows nothing of it.
ADDED = """
    ALTER TABLE posting_posting ADD COLUMN added_{number} text NOT NULL DEFAULT '';
    ALTER TABLE sync_record ADD COLUMN added_{number} integer NULL;
    ALTER TABLE mapping_flow ADD COLUMN added_{number} boolean NOT NULL DEFAULT false;
"""


def add_columns(number: int) -> None:
    """As the migration of a new version does it, for all tenants; what could not be locked in time is done by the next try."""
    ensure_template()
    SchemaStep.objects.update_or_create(
        from_digest=f"before-{number}",
        defaults={"to_digest": current_digest(), "sql": ADDED.format(number=number), "runs_python": False},
    )
    Tenant.objects.update(template_digest=f"before-{number}")

    def is_moved() -> bool:
        try:
            return migrate_tenants().replayed > 0
        except OperationalError:
            return False

    wait_until(is_moved, "every tenant on the new version", MOVED_WITHIN)


def drop_columns(schema_name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('ALTER TABLE %%I.%%I DROP COLUMN %%I', table_schema, table_name, column_name)"
            " FROM information_schema.columns WHERE table_schema = %s AND column_name LIKE 'added_%%'",
            [schema_name],
        )
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)


def end_kindly(process: subprocess.Popen[bytes]) -> None:
    """A warm shutdown: what is begun is finished."""
    process.terminate()
    assert process.wait(ENDS_WITHIN) == 0


def test_new_version_comes_in_while_work_goes_on(
    business: Business,
    broker: Broker,
    address: str,
    simulators: dict[str, str],
    tmp_path: Path,
    size: Any,
    seed: int,
    tell: Any,
) -> None:
    versions = size.pick(1, 10)
    orders = seen_first(make_orders(SEEN + 3 * STEP * versions, seed=seed))
    dice = random.Random(seed)
    world = connect(business, orders[:SEEN], ["xero"])
    rest = iter(orders[SEEN:])
    with ExitStack() as stack, web_server(address, tmp_path) as web:
        workers = stack.enter_context(running(celery(tmp_path), tmp_path / "celery-0.log"))
        aim_webhooks_at(address)
        world.wait()
        for number in range(1, versions + 1):
            for step in dice.sample(("columns", "web", "workers"), 3):
                world.sell([order for order, _ in zip(rest, range(STEP), strict=False)], emit=True)
                world.read()
                if step == "columns":
                    add_columns(number)
                elif step == "web":
                    os.kill(web.pid, signal.SIGHUP)
                else:
                    folder = tmp_path / f"workers-{number}"
                    folder.mkdir()
                    old, workers = workers, stack.enter_context(running(celery(folder), folder / "celery.log"))
                    end_kindly(old)
        world.wait()
        wait_until(lambda: all(entry["status"] in ENDED for entry in sent()), "the end of sending")
        answer = answer_of(f"{address}/healthz")
        assert answer is not None and answer.status_code == 200
        end_kindly(workers)
    drop_columns(business.owner.schema_name)
    check(business, world.flows, world.orders)
    assert acknowledged(sent()) <= set(WebhookDelivery.objects.values_list("digest", flat=True))
    tell("C15", "columns added, web and workers replaced at work", tried=versions, events=len(world.orders))


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
