"""The broker loses everything, stands still and goes away, while real Celery workers and the web server are at it: PostgreSQL is the
queue of record."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings

from marketplace.core.models import WebhookDelivery, WebhookRoute, WorkItem
from tenants.models import Tenant
from tests.benchmarks.driving import Business, provider
from tests.faults.books import check
from tests.faults.forked import Process
from tests.faults.processes import descendants_of, environment, running, wait_until
from tests.faults.servers import SHOP, Broker, answer_of, delivery, kept_celery, rest, web_server
from tests.faults.test_webhooks import digest, sent
from tests.faults.world import connect, make_orders, seen_first, sending_ended

pytestmark = [pytest.mark.faults, pytest.mark.stack]

SEEN, STEP = 20, 6
RESUMED_WITHIN = 60.0
ANSWERED_WITHIN = 5.0  # the strictest provider waits so long for an acknowledgement


def wipe(broker: Broker, seconds: float) -> None:
    broker.wipe()


def kill_and_empty(broker: Broker, seconds: float) -> None:
    """Away for a moment, and back with an empty disk."""
    broker.kill()
    broker.lose_disk()
    rest(1)
    broker.start()


def kill(broker: Broker, seconds: float) -> None:
    """Back with what it had written down."""
    broker.kill()
    rest(0.5)
    broker.start()


def freeze(broker: Broker, seconds: float) -> None:
    """It takes connections and requests and answers nothing."""
    with broker.frozen():
        rest(seconds)


TROUBLES: tuple[Callable[[Broker, float], None], ...] = (wipe, kill_and_empty, freeze, kill, wipe)


def acknowledged(log: list[dict[str, Any]]) -> set[str]:
    return {digest(entry) for entry in log if 200 in entry["answers"]}


def test_work_goes_on_after_whatever_happens_to_the_broker(
    business: Business,
    broker: Broker,
    address: str,
    simulators: dict[str, str],
    tmp_path: Path,
    size: Any,
    seed: int,
    tell: Any,
) -> None:
    rounds, frozen_for = size.pick(10, 60), float(size.pick(3, 30))
    dice = random.Random(seed)
    troubles = [TROUBLES[number % len(TROUBLES)] for number in range(rounds)]
    dice.shuffle(troubles)
    orders = seen_first(make_orders(SEEN + STEP * rounds, seed=seed))
    world = connect(business, orders[:SEEN], ["xero"])
    slowest = 0.0
    with running(kept_celery(tmp_path), tmp_path / "kept.log"), web_server(address, tmp_path):
        aim_webhooks_at(address)
        world.wait()  # the workers are up and consume
        for number, trouble in enumerate(troubles):
            start = SEEN + STEP * number
            world.sell(orders[start : start + STEP], emit=True)
            world.read()
            rest(dice.uniform(0, 0.5))
            trouble(broker, frozen_for)
            before = time.monotonic()
            world.wait(RESUMED_WITHIN)
            slowest = max(slowest, time.monotonic() - before)
        wait_until(lambda: health(address).get("worker") == "ok", "workers that consume", RESUMED_WITHIN)
        wait_until(sending_ended, "the end of sending")
    check(business, world.flows, world.orders)
    assert acknowledged(sent()) <= set(WebhookDelivery.objects.values_list("digest", flat=True))
    assert slowest < RESUMED_WITHIN
    tell("C4", "broker wiped, killed, emptied, frozen", tried=rounds, events=len(world.orders))


def aim_webhooks_at(address: str) -> None:
    with provider("shopify") as simulated:
        simulated.http.post("/_sim/webhooks", json={"url": f"{address}/webhooks/shopify/simulator/"}).raise_for_status()


def health(address: str) -> dict[str, str]:
    answer = answer_of(f"{address}/healthz")
    return dict(answer.json()) if answer is not None else {}


def test_health_tells_whether_work_is_consumed_not_whether_a_process_lives(
    transactional_db: None, broker: Broker, address: str, simulators: dict[str, str], tmp_path: Path, tell: Any
) -> None:
    with running(kept_celery(tmp_path), tmp_path / "kept.log") as workers, web_server(address, tmp_path):
        wait_until(lambda: answered(address) == 200, "health", RESUMED_WITHIN)
        with standing_still(workers):
            broker.wipe()
            found = health(address)
            assert (found["database"], found["broker"], found["worker"]) == ("ok", "ok", "down")
        wait_until(lambda: answered(address) == 200, "workers that consume again", RESUMED_WITHIN)
        with broker.frozen():
            before = time.monotonic()
            assert answered(address) == 503
            assert time.monotonic() - before < ANSWERED_WITHIN
        wait_until(lambda: answered(address) == 200, "an answering broker", RESUMED_WITHIN)
        kill_and_empty(broker, 0)
        wait_until(lambda: answered(address) == 200, "consuming from a broker that is new", RESUMED_WITHIN)
    tell("C4", "health during an outage of the broker", tried=3)


@contextmanager
def standing_still(process: Process) -> Iterator[None]:
    """The process lives, and so do its children; none of them does anything."""
    pids = [process.pid, *descendants_of(process)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


def answered(address: str) -> int:
    answer = answer_of(f"{address}/healthz")
    return 0 if answer is None else answer.status_code


def test_delivery_is_acknowledged_while_the_broker_stands_still(
    transactional_db: None,
    tenant: Tenant,
    broker: Broker,
    address: str,
    simulators: dict[str, str],
    tmp_path: Path,
    tell: Any,
) -> None:
    """What is in PostgreSQL is safe, so its sender need not wait for whoever would only be woken."""
    WebhookRoute.objects.create(
        connector="shopify",
        environment="simulator",
        organisation_id=SHOP,
        tenant=tenant,
        connection_id=uuid.uuid4(),
    )
    with web_server(address, tmp_path), broker.frozen():
        before = time.monotonic()
        assert delivery(address) == 200
        assert time.monotonic() - before < ANSWERED_WITHIN
    assert WorkItem.objects.filter(kind="events").count() == 1
    tell("C4", "deliveries to a web server whose broker stands still", tried=1, events=1)


def test_message_that_was_lost_is_sent_again_by_the_next_tick(
    transactional_db: None, tenant: Tenant, broker: Broker, simulators: dict[str, str], tell: Any
) -> None:
    def messages() -> int:
        with redis.Redis(unix_socket_path=str(broker.places.valkey_socket)) as client:
            return int(client.llen("celery"))

    ask = f"request_work(tenant_id=uuid.UUID('{tenant.pk}'), kind='summary', key='')"
    run(f"import uuid; from marketplace.core.work import request_work; {ask}")
    assert messages() == 1
    broker.wipe()
    run("from marketplace.core.tasks import tick; tick()")
    assert messages() == 1
    tell("C4", "messages lost with the broker", tried=1, events=1)


def run(statements: str) -> None:
    """In a process of the product."""
    command = [sys.executable, "-c", f"import django; django.setup(); {statements}"]
    subprocess.run(command, env=environment(), cwd=settings.BASE_DIR, check=True)
