"""Mappings and circumstances without a database."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

from connectors.sdk.records import Record, TaxRate
from marketplace.mapping.compiling import planner_of
from marketplace.mapping.plan import Circumstances, Ledger, PlannedDocument
from marketplace.mapping.templates.base import of_constant
from tests.mapping.world import LONDON, TAXES, ledger_accounts

LEDGER = Ledger(
    base_currency="GBP",
    ledger_accounts={account.code: account for account in ledger_accounts()},
    tax_rates={code: TaxRate(id=code, code=code, name=name, rate=Decimal(rate)) for code, name, rate in TAXES},
)
SALES: dict[str, Any] = {
    "sales_ledger_account": of_constant("200"),
    "shipping_ledger_account": of_constant("205"),
    "gift_card_ledger_account": of_constant("260"),
    "tax_rates": {"from": "map", "pairs": {"VAT 20%": "OUTPUT2", "No tax": "NONE"}, "otherwise": ""},
    "payment_ledger_accounts": {
        "from": "map",
        "pairs": {"Shopify Payments": "092", "Gift card": "260"},
        "otherwise": "",
    },
}
PAYOUTS: dict[str, Any] = {
    "clearing_ledger_account": of_constant("092"),
    "bank_ledger_account": of_constant("090"),
    "fees_ledger_account": of_constant("404"),
}


def circumstances(*, closed_until: dt.date | None = None, policy: str = "hold", **ledger: Any) -> Circumstances:
    return Circumstances(
        time_zone=LONDON,
        ledger=replace(LEDGER, closed_until=closed_until, **ledger),
        start_date=dt.date(2026, 1, 1),
        source_name="Shopify",
        settings={"closed_period": policy},
    )


def plan(
    slug: str, record: Record, fields: dict[str, Any], given: Circumstances | None = None
) -> list[PlannedDocument]:
    return planner_of(slug, {"fields": fields})(record, given or circumstances())
