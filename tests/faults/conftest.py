"""A business at simulators of its own, the campaign's size and seed, and the table of what was tried."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import pytest
from _pytest.terminal import TerminalReporter
from django.conf import settings as configured
from pytest_django import Settings

from tests.benchmarks.conftest import business  # noqa: F401 -- a fixture
from tests.benchmarks.simulators import SPEED, serving
from tests.faults.campaign import SEED, Row, Size, commit, seed_for, table
from tests.faults.order import place_of
from tests.faults.processes import free_port
from tests.faults.removal import REMOVE
from tests.faults.servers import Broker, own_broker

FAULT, ALONE = "fault", "alone"


class Tell(Protocol):
    """See `tell`."""

    def __call__(self, campaign: str, fault: str, *, tried: int, **counts: int) -> None: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first. Who needs the machine for himself comes last, when the others have little left to do."""
    items.sort(key=lambda item: (_is_alone(item), place_of(getattr(item, "originalname", item.name))))


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker(ALONE) is not None


@pytest.fixture(autouse=True)
def _machine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests of one campaign share the machine, except those that say how fast something is on it."""
    if os.environ.get(REMOVE):
        yield  # one test, started by another that has its share
        return
    with (configured.PLACES.var / "machine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if _is_alone(request.node) else fcntl.LOCK_SH)
        yield


@pytest.fixture
def simulators(settings: Settings, tmp_path: Path) -> Iterator[dict[str, str]]:
    with serving(("shopify", "xero", "quickbooks"), tmp_path, settings.CONNECTOR_CREDENTIALS) as addresses:
        settings.SIMULATORS = addresses
        settings.SIMULATOR_SPEED = SPEED
        yield addresses


@pytest.fixture
def broker(settings: Settings, tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, which it may kill."""
    with own_broker(tmp_path / "var", settings) as made:
        yield made


@pytest.fixture
def address(settings: Settings) -> str:
    """Where this test's web server is to listen."""
    settings.PUBLIC_URL = f"http://127.0.0.1:{free_port()}"
    return str(settings.PUBLIC_URL)


@pytest.fixture
def size() -> Size:
    return Size.asked()


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What all of a test's chance comes from; a failing one is printed with the command that replays it."""
    chosen = seed_for(request.node.nodeid)
    request.node.user_properties.append((SEED, chosen))
    return chosen


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Adds a line to the table. Counts of what must not happen are nought when a test has come this far."""

    def add(campaign: str, fault: str, *, tried: int, **counts: int) -> None:
        own = dict(request.node.user_properties).get(SEED)
        request.node.user_properties.append((FAULT, asdict(Row(campaign, fault, tried, seed=own, **counts))))

    return add


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    stats = terminalreporter.stats
    reports = [report for some in ("passed", "failed") for report in stats.get(some, [])]
    rows = [Row(**row) for report in reports for name, row in getattr(report, "user_properties", []) if name == FAULT]
    if rows:
        terminalreporter.section(f"fault campaign, {Size.asked().name} size, {commit()}")
        for line in table(rows):
            terminalreporter.write_line(line)
    for report in stats.get("failed", []):
        own = dict(report.user_properties).get(SEED)
        again = f"make faults SIZE={Size.asked().name} ONLY='{report.nodeid}'"
        terminalreporter.write_line(f"again: {again}{f' SEED={own}' if own is not None else ''}")
