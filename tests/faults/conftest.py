"""A business at simulators of its own, and the table of what was tried."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter
from pytest_django import Settings

from tests.benchmarks.conftest import business  # noqa: F401 -- a fixture
from tests.benchmarks.simulators import SPEED, serving

HEADS = ("fault", "tried", "events", "lost", "duplicates")


@pytest.fixture
def simulators(settings: Settings, tmp_path: Path) -> Iterator[dict[str, str]]:
    with serving(("shopify", "xero", "quickbooks"), tmp_path, settings.CONNECTOR_CREDENTIALS) as addresses:
        settings.SIMULATORS = addresses
        settings.SIMULATOR_SPEED = SPEED
        yield addresses


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Any:
    """A line of the table: what was tried, how often, on how many events; what was lost and what came twice."""

    def add(fault: str, tried: int, events: int, lost: int = 0, duplicates: int = 0) -> None:
        request.node.user_properties.append(("fault", (fault, tried, events, lost, duplicates)))

    return add


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    reports = [report for some in ("passed", "failed") for report in terminalreporter.stats.get(some, [])]
    rows = [row for report in reports for name, row in getattr(report, "user_properties", []) if name == "fault"]
    if rows:
        terminalreporter.section("faults")
        width = max(len(str(row[0])) for row in rows)
        for first, *rest in (HEADS, *rows):
            terminalreporter.write_line("  ".join([str(first).ljust(width), *(str(cell).rjust(10) for cell in rest)]))
