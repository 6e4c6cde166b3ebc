"""Reading a list that breaks off and changes under the reader's eyes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from connectors.registry import connector
from connectors.testing import Simulator
from connectors.testing.faults import Fault
from marketplace.installations.models import Connection
from marketplace.sync.checkpoint import storable
from marketplace.sync.models import Change, Record, RejectedRow, StreamState, SyncRun
from marketplace.sync.operations import read_stream
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.benchmarks.driving import Business
from tests.cutover.world import invoice
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures

pytestmark = pytest.mark.faults

LIST = "GET /api.xro/2.0/Invoices"
TRIES = 3  # a client tries a page so often before it gives up


@pytest.fixture
def xero(simulators: dict[str, Simulator]) -> Simulator:  # noqa: F811
    return simulators["xero"]


@pytest.fixture
def ledger(tenant: Tenant, alice: User, xero: Simulator, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """Four pages and more, where Xero would put everything on one."""
    settings.SIMULATOR_SPEED = 1000
    monkeypatch.setattr(type(connector("xero").stream("invoice")), "page_size", 100)
    return Business(tenant, alice).connect("xero", str(xero.organisations()[0]["id"]))


def enter(simulator: Simulator, numbers: range, amount: str = "60.00") -> None:
    """Staff enter these invoices, or change them."""
    documents = [invoice(_id(number), amount, number=f"S{number}") for number in numbers]
    simulator.plant(str(simulator.organisations()[0]["id"]), documents)


def _id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def kept(owner: Tenant, connection: Connection) -> dict[str, Decimal | None]:
    with tenant_context(owner):
        rows = Record.objects.filter(connection=connection, data_type="invoice", is_deleted=False)
        return dict(rows.values_list("number", "amount"))


def read(owner: Tenant, connection: Connection) -> str:
    """One go at the list; answers how it ended."""
    read_stream(tenant_id=owner.pk, connection_id=connection.pk, data_type="invoice")
    with tenant_context(owner):
        return SyncRun.objects.filter(connection=connection, data_type="invoice").latest("started_at").problem


@pytest.mark.parametrize("kind", ["status", "half_body", "html", "error_body", "empty", "cut_gzip"])
def test_list_that_breaks_off_and_changes_loses_nothing_and_deletes_nothing(
    kind: Any,
    tenant: Tenant,
    ledger: Connection,
    xero: Simulator,
    tell: Any,
) -> None:
    enter(xero, range(350))
    xero.faults.add(Fault(match=LIST, kind=kind, after=2, times=TRIES))
    assert read(tenant, ledger)
    xero.faults.clear()
    assert 0 < len(kept(tenant, ledger)) < 350
    enter(xero, range(20, 40), "75.00")  # read already, and changed: they move to the end of the list
    enter(xero, range(300, 310), "90.00")  # not read yet, and changed
    enter(xero, range(350, 380))
    assert not read(tenant, ledger)
    expected = {f"S{number}": Decimal(60) for number in range(380)}
    expected |= {f"S{number}": Decimal(75) for number in range(20, 40)}
    expected |= {f"S{number}": Decimal(90) for number in range(300, 310)}
    assert kept(tenant, ledger) == expected
    _read_all_again(tenant, ledger)
    assert kept(tenant, ledger) == expected
    tell("C6", f"list breaks off and changes ({kind})", tried=1, events=380)


def _read_all_again(owner: Tenant, connection: Connection) -> None:
    """From the beginning: everything comes once more and nothing is a change."""
    with tenant_context(owner):
        before = Change.objects.count()
        StreamState.objects.filter(connection=connection).update(cursor=None)
    assert not read(owner, connection)
    with tenant_context(owner):
        assert Change.objects.count() == before


POISON: dict[str, tuple[str, Any]] = {
    "a number of 400 digits": ("Total", Decimal("1E+400")),
    "a NUL in its number": ("InvoiceNumber", "S7\x00"),
    "no number": ("Total", "NaN"),
    "too many digits": ("SubTotal", Decimal("1E+131100")),
}


@pytest.mark.parametrize("name", POISON)
def test_record_that_cannot_be_kept_does_not_hold_up_its_page(
    name: str, tenant: Tenant, ledger: Connection, xero: Simulator, tell: Any
) -> None:
    enter(xero, range(30))
    field, value = POISON[name]
    kept_bodies = xero.store[f"Invoices:{xero.organisations()[0]['id']}"]
    body = next(body for body in kept_bodies.values() if body["InvoiceNumber"] == "S7")
    body[field] = value
    assert not read(tenant, ledger)
    expected = {f"S{number}" for number in range(30)}
    with tenant_context(tenant):
        rejected = RejectedRow.objects.filter(connection=ledger, resolved_at=None)
        assert kept(tenant, ledger).keys() == expected - {"S7"}
        assert [row.external_id for row in rejected] == [_id(7)]
        assert "cannot be kept" in rejected[0].reason or "cannot read" in rejected[0].reason
    tell("C6", "a record that cannot be kept", tried=1, events=30, malformed=1)


def test_text_that_looks_like_a_nul_is_kept_as_it_is() -> None:
    for text in ("a\\u0000b", "a\\\\u0000b", "tab\tu0000"):
        assert json.loads(storable(json.dumps(text).encode())) == text
    assert json.loads(storable(json.dumps("a\x00b").encode())) == "ab"
