"""The connector wired to its simulator, with pages of the real size."""

from collections.abc import Iterator

import pytest

from connectors.testing.contract import Bench, Parts


@pytest.fixture
def bench() -> Iterator[Bench]:
    parts = Parts.of("connectors.providers.stripe")
    bench = Bench(parts, organisation="acct_kestrel", settings={}, page_size=None)
    yield bench
    bench.close()
