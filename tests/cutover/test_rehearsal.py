"""The edge cases, run for every template against the simulators of both ledgers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from connectors.registry import connector, simulator
from connectors.sdk.client import Access, Client, FixedToken
from connectors.sdk.records import Company, LedgerAccount, TaxRate
from connectors.sdk.records import Record as StandardRecord
from marketplace.cutover.models import SandboxCase
from marketplace.cutover.operations import UnableToMove, run_cases
from marketplace.cutover.rehearsal import UnableToRehearse, cases_for, rehearse
from marketplace.mapping.models import Flow
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.cutover.world import make_flow, remap, store

LEDGERS = ("quickbooks", "xero")
NAMES: dict[str, dict[str, str]] = {
    "quickbooks": {
        "sales": "Sales of Product Income",
        "shipping": "Shipping income",
        "clearing": "Shopify clearing",
        "bank": "Checking",
        "fees": "Payment processing fees",
        "rounding": "Rounding differences",
        "tax": "20.0% S",
        "untaxed": "0.0% Z",
    },
    "xero": {
        "sales": "Sales",
        "shipping": "Shipping Income",
        "clearing": "Shop Payments Clearing",
        "bank": "Business Bank Account",
        "fees": "Payment Processing Fees",
        "rounding": "Rounding",
        "tax": "20% (VAT on Income)",
        "untaxed": "Zero Rated Income",
    },
}


@contextmanager
def opened(ledger: str) -> Iterator[Client]:
    """A client of a brand-new simulated company."""
    stand_in = simulator(ledger)()
    stand_in.open_organisation(
        {"id": "new", "name": "New", "base_currency": "GBP", "country": "GB", "time_zone": "Europe/London"}
    )
    scopes = tuple(scope.name for scope in connector(ledger).manifest.auth.scopes)
    _, answer = stand_in.oauth.grant_for("new", scopes, "test")
    with httpx.Client(transport=httpx.WSGITransport(app=stand_in)) as http:
        access = Access(
            token=FixedToken(answer["access_token"]),
            organisation_id="new",
            environment="simulator",
            simulator="http://simulator.invalid",
            sleep=stand_in.advance,
        )
        yield connector(ledger).client(access, http)
    stand_in.close()


def lists_of(ledger: str) -> list[StandardRecord]:
    """Its chart of accounts and tax rates, read by the connector itself."""
    with opened(ledger) as client:
        streams = [connector(ledger).stream(name) for name in ("ledger_account", "tax_rate")]
        return [read.record for stream in streams for page in stream.pages(client, None) for read in page.records]


def constant(value: str) -> dict[str, Any]:
    return {"from": "constant", "value": value}


def sensible(template: str, codes: dict[str, str]) -> dict[str, Any]:
    """What an owner would choose."""
    sale = {
        "sales_ledger_account": constant(codes["sales"]),
        "shipping_ledger_account": constant(codes["shipping"]),
        "rounding_ledger_account": constant(codes["rounding"]),
        "tax_rates": {
            "from": "map",
            "pairs": {"VAT 20%": codes["tax"], "No tax": codes["untaxed"]},
            "otherwise": "",
        },
        "payment_ledger_accounts": {
            "from": "map",
            "pairs": {"shopify_payments": codes["clearing"]},
            "otherwise": "",
        },
    }
    payout = {
        "clearing_ledger_account": constant(codes["clearing"]),
        "bank_ledger_account": constant(codes["bank"]),
        "fees_ledger_account": constant(codes["fees"]),
        "adjustments_ledger_account": constant(codes["fees"]),
    }
    return {"orders": sale, "refunds": sale, "payouts": payout, "customers": {}}[template]


def prepared(user: User, ledger: str, template: str) -> tuple[Flow, dict[str, str]]:
    flow = make_flow(user, template=template, ledger=ledger, stage="sandbox", fields={}, name=template)
    codes: dict[str, str] = {}
    for record in lists_of(ledger):
        store(flow.target, record)
        assert isinstance(record, LedgerAccount | TaxRate)
        codes |= {purpose: record.code for purpose, name in NAMES[ledger].items() if record.name.endswith(name)}
    assert set(codes) == set(NAMES[ledger])
    remap(flow, user, sensible(template, codes))
    return flow, codes


def wrong() -> dict[str, tuple[Any, Any]]:
    return {case.name: (case.expected, case.found) for case in SandboxCase.objects.filter(has_passed=False)}


@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("template", ["orders", "refunds", "payouts", "customers"])
def test_every_case_passes_with_a_sensible_mapping(tenant: Tenant, alice: User, ledger: str, template: str) -> None:
    with tenant_context(tenant):
        flow, _ = prepared(alice, ledger, template)
    rehearse(tenant_id=tenant.pk, flow_id=flow.pk)
    with tenant_context(tenant):
        assert wrong() == {}
        assert SandboxCase.objects.count() == len(cases_for(flow)) > 3


@pytest.mark.parametrize("ledger", LEDGERS)
def test_wrong_tax_fails_the_cases_with_tax(tenant: Tenant, alice: User, ledger: str) -> None:
    with tenant_context(tenant):
        flow, codes = prepared(alice, ledger, "orders")
        fields = sensible("orders", codes)
        remap(flow, alice, {**fields, "tax_rates": {"from": "map", "pairs": {"VAT 20%": codes["untaxed"]}}})
    rehearse(tenant_id=tenant.pk, flow_id=flow.pk)
    with tenant_context(tenant):
        failed, names = set(wrong()), {case.name for case in cases_for(flow) if not case.refusal}
    assert failed == names


def test_everything_into_one_payment_account_still_passes_but_holds_no_unknown_method(
    tenant: Tenant, alice: User
) -> None:
    """With a catch-all nothing is unknown: the case for unknown payment methods is not asked for."""
    with tenant_context(tenant):
        flow, codes = prepared(alice, "xero", "orders")
        fields = sensible("orders", codes)
        catch_all = {**fields["payment_ledger_accounts"], "otherwise": codes["clearing"]}
        remap(flow, alice, {**fields, "payment_ledger_accounts": catch_all})
    rehearse(tenant_id=tenant.pk, flow_id=flow.pk)
    with tenant_context(tenant):
        assert wrong() == {}
        assert not SandboxCase.objects.filter(name="method").exists()


def test_sales_account_nobody_has_fails_what_would_be_posted(tenant: Tenant, alice: User) -> None:
    with tenant_context(tenant):
        flow, codes = prepared(alice, "xero", "orders")
        remap(flow, alice, {**sensible("orders", codes), "sales_ledger_account": constant("9999")})
    rehearse(tenant_id=tenant.pk, flow_id=flow.pk)
    with tenant_context(tenant):
        assert {"plain", "included", "discount", "twice"} <= set(wrong())
        assert not {"test", "cancelled", "unpaid"} & set(wrong())


def test_results_of_an_earlier_run_are_replaced(tenant: Tenant, alice: User) -> None:
    with tenant_context(tenant):
        flow, _ = prepared(alice, "xero", "customers")
    for _ in range(2):
        rehearse(tenant_id=tenant.pk, flow_id=flow.pk)
    with tenant_context(tenant):
        assert SandboxCase.objects.count() == len(cases_for(flow))


def test_without_a_mapping_there_is_nothing_to_rehearse(tenant: Tenant, alice: User) -> None:
    with tenant_context(tenant):
        flow = make_flow(alice)
        Flow.objects.update(mapping=None)
        flow.refresh_from_db()
        with pytest.raises(UnableToMove, match="mapping"):
            run_cases(flow=flow)
    with pytest.raises(UnableToRehearse):
        rehearse(tenant_id=tenant.pk, flow_id=flow.pk)


def test_cases_are_in_the_currency_of_the_books_where_only_the_company_tells_it(inside: Tenant, flow: Flow) -> None:
    flow.target.base_currency = ""
    store(flow.target, Company(id="books", name="Kestrel Inc.", base_currency="USD", time_zone="America/New_York"))
    assert {case.currency for case in cases_for(flow) if case.currency} == {"USD"}
