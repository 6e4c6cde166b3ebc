"""A page and its place are kept together or not at all, and no row slips through at the boundary of two reads."""

from __future__ import annotations

import pytest

from connectors.testing import Simulator
from connectors.testing.faults import Fault
from marketplace.installations.models import Connection
from marketplace.sync import operations
from tenants.models import Tenant
from tests.faults.test_protocol import Killed, die, first
from tests.faults.test_reading import LIST, enter, kept, ledger, read, xero  # noqa: F401 -- fixtures among them
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures

pytestmark = pytest.mark.faults


def test_reader_killed_in_the_middle_of_a_page_reads_it_again(
    tenant: Tenant,
    ledger: Connection,  # noqa: F811
    xero: Simulator,  # noqa: F811
) -> None:
    enter(xero, range(15))
    xero.advance(60)
    enter(xero, range(15, 30))
    with first(operations, "accept_page", die), pytest.raises(Killed):
        read(tenant, ledger)
    read(tenant, ledger)
    assert len(kept(tenant, ledger)) == 30


def test_pages_that_come_quickly_are_kept_together_and_those_before_trouble_are_kept(
    tenant: Tenant,
    ledger: Connection,  # noqa: F811
    xero: Simulator,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operations, "GATHERED_SECONDS", 600)
    enter(xero, range(250))
    xero.faults.add(Fault(match=LIST, kind="html", after=2))
    checkpoints: list[int] = []
    with first(operations, "accept_page", lambda: checkpoints.append(len(kept(tenant, ledger)))):
        assert read(tenant, ledger)
        assert len(checkpoints) == 1
        before_trouble = len(kept(tenant, ledger))
        assert 100 < before_trouble < 250
        assert not read(tenant, ledger)
    assert checkpoints == [0, before_trouble]
    assert len(kept(tenant, ledger)) == 250


def test_row_that_changed_in_the_same_instant_as_the_last_one_read_is_not_missed(
    tenant: Tenant,
    ledger: Connection,  # noqa: F811
    xero: Simulator,  # noqa: F811
) -> None:
    xero.freeze()
    enter(xero, range(5))
    read(tenant, ledger)
    enter(xero, range(5, 8))
    read(tenant, ledger)
    assert len(kept(tenant, ledger)) == 8
