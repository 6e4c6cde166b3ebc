"""QuickBooks keeps the connector contract, in the United States and in the United Kingdom."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from connectors.sdk.records import Document, Record
from connectors.testing.contract import Bench, ConnectorContract


class WithoutLimits(ConnectorContract):
    """The contract's clock stands still, so no window of calls would ever pass; limits have tests of their own."""

    slug = "quickbooks"

    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        bench = Bench(self.parts(), organisation=self.organisation, settings={}, page_size=self.small_page_size)
        bench.simulator.limits = ()  # type: ignore[attr-defined]
        yield bench
        bench.close()


class TestQuickBooks(WithoutLimits):
    organisation = "9130350000000001"


class TestQuickBooksInBritain(WithoutLimits):
    """Here every line has a tax code; "No VAT" is the one for a line outside tax."""

    organisation = "9130350000000002"
    sales_tax = "2"

    def sample(self, bench: Bench, data_type: str, position: int) -> Record:
        record = super().sample(bench, data_type, position)
        if not isinstance(record, Document):
            return record
        lines = tuple(msgspec.structs.replace(line, tax_rate=line.tax_rate or "10") for line in record.lines)
        return msgspec.structs.replace(record, lines=lines)


del WithoutLimits, ConnectorContract
