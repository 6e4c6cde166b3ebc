"""The broker loses everything, and goes away, while real Celery workers are at it: PostgreSQL is the queue of record."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pytest_django import Settings

from marketplace.core.runtime.places import Places
from marketplace.core.runtime.valkey import is_valkey_running, start_valkey, stop_valkey
from tests.benchmarks.driving import Business
from tests.faults.books import check
from tests.faults.processes import running, wait_until
from tests.faults.world import SEEN, connect, make_orders

pytestmark = [pytest.mark.faults, pytest.mark.stack]

ORDERS = 150
STEP = 30
RESUMED_WITHIN = 60.0


@pytest.fixture
def broker(settings: Settings, tmp_path: Path) -> Iterator[Places]:
    """A broker of its own: other tests use the common one."""
    places = Places(tmp_path / "var")
    start_valkey(places)
    settings.REDIS_URL = f"unix://{places.valkey_socket}?db=0"
    settings.CELERY_BROKER_URL = f"redis+socket://{places.valkey_socket}"
    yield places
    stop_valkey(places)


def wipe(places: Places) -> None:
    with redis.Redis(unix_socket_path=str(places.valkey_socket)) as client:
        client.flushall()


def lose(places: Places) -> None:
    """Killed, its disk empty, away for a moment, and back."""
    os.kill(int((places.valkey / "valkey.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: not is_valkey_running(places), "the broker gone")
    shutil.rmtree(places.valkey)
    places.valkey_socket.unlink(missing_ok=True)
    time.sleep(1)
    start_valkey(places)


def celery(folder: Path) -> list[str]:
    worker = ["celery", "-A", "marketplace", "worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "ERROR"]
    quiet = ["--without-gossip", "--without-mingle", "--beat", "--schedule", str(folder / "beat")]
    return [sys.executable, "-m", *worker, *quiet]


def test_work_goes_on_after_the_broker_lost_everything_and_was_away(
    business: Business, simulators: dict[str, str], broker: Places, tmp_path: Path, tell: Any
) -> None:
    orders = make_orders(ORDERS)
    world = connect(business, orders[:SEEN])
    troubles = [wipe, lose, wipe]
    with running(celery(tmp_path), tmp_path / "celery.log"):
        world.wait()  # the workers are up and consume
        for start, trouble in zip(range(SEEN, ORDERS, STEP), troubles, strict=True):
            world.sell(orders[start : start + STEP])
            world.read()
            trouble(broker)
        world.wait(RESUMED_WITHIN)
    check(business, world.flows, world.orders)
    tell("C4", "broker wiped, broker killed and emptied", tried=len(troubles), events=ORDERS * len(world.flows))
