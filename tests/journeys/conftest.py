"""One running product for all journeys; it stops when the last of them is over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.journeys.journey import Journey
from tests.journeys.stack import Stack, started_stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started_stack(tmp_path_factory.mktemp("journey") / "var") as running:
        yield running


@pytest.fixture(scope="package")
def journey(stack: Stack) -> Journey:
    return Journey(stack)
