"""What holds for every transaction of a simulated company: its currency and exchange rate, and the tax of a line."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from connectors.providers.quickbooks import simulator_faults as faults
from connectors.providers.quickbooks.simulator_books import Books
from connectors.providers.quickbooks.simulator_tax import Rate, amount, rounded

Json = dict[str, Any]


def currency_of(books: Books, body: Json, person: Json) -> str:
    theirs = books.reference(person, "CurrencyRef")
    currency = books.currency(body, theirs)
    if currency != theirs:
        raise faults.business(
            "Business Validation Error: You can only use one foreign currency per transaction; the customer or "
            f"vendor uses {theirs}."
        )
    return currency


def exchange_rate(books: Books, body: Json, currency: str) -> Json:
    """QuickBooks looks up no rate for a caller: one that is left out is 1."""
    if currency == books.home:
        return {}
    given = body.get("ExchangeRate")
    return {"ExchangeRate": amount(given, "ExchangeRate") if given else Decimal(1)}


def in_home_currency(books: Books, body: Json, currency: str, total: Decimal) -> Json:
    """The rate, with what the transaction comes to at it."""
    quoted = exchange_rate(books, body, currency)
    return quoted | {"HomeTotalAmt": rounded(total * quoted["ExchangeRate"])} if quoted else {}


def line_tax(
    books: Books,
    detail: Json,
    mode: str,
    rates: Literal["SalesTaxRateList", "PurchaseTaxRateList"] = "SalesTaxRateList",
) -> tuple[str, tuple[Rate, ...]]:
    """The line's tax code and its rates. In the United States QuickBooks knows the rate itself."""
    code = books.reference(detail, "TaxCodeRef")
    if books.is_american:
        if code not in ("", "TAX", "NON"):
            raise faults.invalid_reference("TaxCode", code)
        rate = books.get("TaxRate", "3")
        return code or "NON", (Rate("3", rate["RateValue"]),) if code == "TAX" else ()
    if not code and mode == "NotApplicable":
        return "", ()
    if not code:
        raise faults.business(
            "Business Validation Error: Make sure all your transactions have a VAT rate before you save."
        )
    row = books.active("TaxCode", code, "TaxCode")
    if mode == "NotApplicable":
        return code, ()
    ids = [part["TaxRateRef"]["value"] for part in row[rates]["TaxRateDetail"]]
    return code, tuple(Rate(id, books.get("TaxRate", id)["RateValue"]) for id in ids)
