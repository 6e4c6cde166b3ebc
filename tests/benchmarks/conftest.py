"""Simulators of the four providers, and a business that has none of them connected yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter
from pytest_django import Settings

from tenants.models import Tenant, User
from tests.benchmarks.driving import Business
from tests.benchmarks.report import figures, lines_of
from tests.benchmarks.simulators import SPEED, serving


@pytest.fixture
def simulators(settings: Settings, tmp_path: Path) -> Iterator[dict[str, str]]:
    slugs = ("shopify", "stripe", "xero", "quickbooks")
    with serving(slugs, tmp_path, settings.CONNECTOR_CREDENTIALS) as addresses:
        settings.SIMULATORS = addresses
        settings.SIMULATOR_SPEED = SPEED
        yield addresses


@pytest.fixture
def business(transactional_db: None, tenant: Tenant, alice: User) -> Business:
    return Business(tenant, alice)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    if figures:
        terminalreporter.section("figures")
        rows = [
            (found.name, f"{found.value:,}", found.unit, f"{found.target:,}", "yes" if found.met else "NO")
            for found in figures
        ]
        for line in lines_of(("figure", "value", "unit", "target", "met"), rows):
            terminalreporter.write_line(line)
