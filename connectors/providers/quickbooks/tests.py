"""QuickBooks keeps the connector contract; and what only QuickBooks does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.testing.contract import Bench, ConnectorContract


class TestQuickBooks(ConnectorContract):
    slug = "quickbooks"

    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        bench = Bench(self.parts(), organisation=self.organisation, settings={}, page_size=self.small_page_size)
        bench.simulator.limits = ()  # type: ignore[attr-defined]
        yield bench
        bench.close()
