"""Suggestions: by kind, name and rate; nothing rather than something wrong."""

from __future__ import annotations

from decimal import Decimal

import pytest

from connectors.registry import connector
from connectors.sdk.records import LedgerAccount, TaxRate
from marketplace.mapping.options import Options, account_name
from marketplace.mapping.suggestions import Suggester, best_tax
from marketplace.mapping.templates import template

NAMES = (
    ("bank", "Business Bank Account"),
    ("bank", "Business Savings Account"),
    ("bank", "Shop Payments Clearing"),
    ("bank", "Card Payments Clearing"),
    ("bank", "Other Payments Clearing"),
    ("bank", "Petty Cash"),
    ("income", "Other Revenue"),
    ("income", "Shipping Income"),
    ("income", "Discounts Given"),
    ("income", "Sales"),
    ("liability", "Gift Cards Outstanding"),
    ("liability", "Sales Tax"),
    ("expense", "Bank Fees"),
    ("expense", "Card Processing Fees"),
)
RATES = (
    ("INPUT2", "20% (VAT on Expenses)", "0.2"),
    ("OUTPUT2", "20% (VAT on Income)", "0.2"),
    ("RROUTPUT", "5% (VAT on Income)", "0.05"),
    ("ZERORATEDOUTPUT", "Zero Rated Income", "0"),
    ("ZERORATEDINPUT", "Zero Rated Expenses", "0"),
    ("NONE", "No VAT", "0"),
)
TAXES = tuple(TaxRate(id=code, code=code, name=name, rate=Decimal(rate)) for code, name, rate in RATES)


def accounts(*names: tuple[str, str]) -> tuple[LedgerAccount, ...]:
    return tuple(
        LedgerAccount(id=str(number), code=name, name=name, kind=kind)  # type: ignore[arg-type]
        for number, (kind, name) in enumerate(names)
    )


def suggested(source: str, slug: str, *names: tuple[str, str], methods: tuple[str, ...] = ()) -> dict[str, str]:
    """Everything suggested: fields by name, and options of value maps by option."""
    options = Options(ledger_accounts=accounts(*(names or NAMES)), tax_rates=TAXES, methods=methods)
    entries = Suggester(chosen=template(slug), source=connector(source).manifest, options=options).entries()
    found = {name: entry["value"] for name, entry in entries.items() if entry["from"] == "constant"}
    pairs: dict[str, str] = entries.get("payment_ledger_accounts", {}).get("pairs", {})
    return found | pairs


def test_usual_chart_leaves_nothing_to_choose_for_a_shop() -> None:
    found = suggested(
        "shopify", "orders", methods=("Shopify Payments", "PayPal", "Gift card", "Cash", "Manual payment")
    )
    assert found == {
        "sales_ledger_account": "Sales",
        "shipping_ledger_account": "Shipping Income",
        "gift_card_ledger_account": "Gift Cards Outstanding",
        "Shopify Payments": "Shop Payments Clearing",
        "PayPal": "Other Payments Clearing",
        "Gift card": "Gift Cards Outstanding",
        "Cash": "Petty Cash",
        "Manual payment": "Other Payments Clearing",
    }


def test_payouts_leave_the_providers_clearing_for_the_bank() -> None:
    found = suggested("stripe", "payouts")
    assert found == {
        "clearing_ledger_account": "Card Payments Clearing",
        "bank_ledger_account": "Business Bank Account",
        "fees_ledger_account": "Card Processing Fees",
    }


def test_account_named_after_the_provider_comes_first() -> None:
    names = (("bank", "Stripe Clearing"), *NAMES)
    assert suggested("stripe", "payouts", *names)["clearing_ledger_account"] == "Stripe Clearing"
    assert suggested("stripe", "orders", *names, methods=("card",))["card"] == "Stripe Clearing"


def test_chart_without_fitting_names_gets_no_guess() -> None:
    found = suggested("shopify", "orders", ("income", "Project fees"), ("income", "Retainers"), methods=("PayPal",))
    assert found == {}


def test_only_account_of_its_kind_is_suggested_where_one_is_needed() -> None:
    assert suggested("shopify", "orders", ("income", "Takings")) == {"sales_ledger_account": "Takings"}


@pytest.mark.parametrize(("rate", "code"), [("0.2", "OUTPUT2"), ("0.05", "RROUTPUT"), ("0", "NONE"), ("0.19", "")])
def test_tax_is_matched_by_its_very_rate_among_sales_taxes(rate: str, code: str) -> None:
    assert best_tax(TAXES, Decimal(rate)) == code


def test_archived_is_never_suggested_nor_offered() -> None:
    archived = tuple(
        LedgerAccount(id="1", code="200", name="Sales", kind="income", is_archived=is_archived)
        for is_archived in (True, False)
    )
    (field, *_) = template("orders").fields
    assert Options(ledger_accounts=archived[:1]).choices(field) == []
    assert Options(ledger_accounts=archived[1:]).choices(field) == [("200", "200 Sales")]


def test_options_are_offered_by_their_words_and_only_taxes_of_sales() -> None:
    rates = (
        TaxRate(id="Z", code="Z", name="Zero rated", rate=Decimal(0)),
        TaxRate(id="A", code="A", name="on purchases", rate=Decimal("0.2"), is_for_sales=False),
        TaxRate(id="B", code="B", name="20% on income", rate=Decimal("0.2")),
    )
    options = Options(tax_rates=rates)
    field = next(found for found in template("orders").fields if found.choices == "tax_rate")
    assert [words for _, words in options.choices(field)] == ["20% on income", "Zero rated"]
    assert options.name_of(field, "A") == "on purchases"


def test_internal_ids_are_not_shown_as_codes() -> None:
    assert account_name(LedgerAccount(id="79", code="79", name="4000 Sales", kind="income")) == "4000 Sales"
