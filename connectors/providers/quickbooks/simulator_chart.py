"""What a brand-new simulated company has: chart of accounts, tax codes, a default item, settings."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

Json = dict[str, Any]

UNDEPOSITED = "4"
RECEIVABLE = "84"
TAX_PAYABLE = "90"
RETAINED_EARNINGS = "2"
EXCHANGE_GAIN = "64"
DEFAULT_ITEM = "1"

#: id, number, name, type, subtype
ACCOUNTS: tuple[tuple[str, str, str, str, str], ...] = (
    ("35", "1000", "Checking", "Bank", "Checking"),
    ("36", "1010", "Savings", "Bank", "Savings"),
    ("37", "1050", "Shopify clearing", "Bank", "CashOnHand"),
    ("38", "1051", "Stripe clearing", "Bank", "CashOnHand"),
    ("39", "1052", "PayPal clearing", "Bank", "CashOnHand"),
    (UNDEPOSITED, "1499", "Undeposited Funds", "Other Current Asset", "UndepositedFunds"),
    (RECEIVABLE, "1200", "Accounts Receivable (A/R)", "Accounts Receivable", "AccountsReceivable"),
    ("33", "2000", "Accounts Payable (A/P)", "Accounts Payable", "AccountsPayable"),
    ("41", "2100", "Mastercard", "Credit Card", "CreditCard"),
    (TAX_PAYABLE, "2200", "{tax} payable", "Other Current Liability", "{tax_subtype}"),
    ("91", "2300", "Gift card liability", "Other Current Liability", "OtherCurrentLiabilities"),
    (RETAINED_EARNINGS, "3000", "Retained Earnings", "Equity", "RetainedEarnings"),
    ("79", "4000", "Sales of Product Income", "Income", "SalesOfProductIncome"),
    ("45", "4010", "Shipping income", "Income", "ServiceFeeIncome"),
    ("86", "4020", "Discounts given", "Income", "DiscountsRefundsGiven"),
    ("87", "4030", "Refunds and returns", "Income", "DiscountsRefundsGiven"),
    ("1", "4090", "Services", "Income", "ServiceFeeIncome"),
    ("80", "5000", "Cost of Goods Sold", "Cost of Goods Sold", "SuppliesMaterialsCogs"),
    ("61", "6000", "Payment processing fees", "Expense", "BankCharges"),
    ("62", "6010", "Shop platform fees", "Expense", "BankCharges"),
    ("63", "6900", "Rounding differences", "Expense", "OtherMiscellaneousServiceCost"),
    (EXCHANGE_GAIN, "6910", "Exchange gain or loss", "Other Expense", "ExchangeGainOrLoss"),
)

CLASSIFICATION = {
    "Bank": "Asset",
    "Other Current Asset": "Asset",
    "Fixed Asset": "Asset",
    "Other Asset": "Asset",
    "Accounts Receivable": "Asset",
    "Accounts Payable": "Liability",
    "Credit Card": "Liability",
    "Other Current Liability": "Liability",
    "Long Term Liability": "Liability",
    "Equity": "Equity",
    "Income": "Revenue",
    "Other Income": "Revenue",
    "Expense": "Expense",
    "Other Expense": "Expense",
    "Cost of Goods Sold": "Expense",
}

#: In the United States QuickBooks works the tax out itself; the simulated company sells in one place at one rate.
AMERICAN_RATE = Decimal("7.25")

#: id, code, description, percent
BRITISH_CODES: tuple[tuple[str, str, str, Decimal], ...] = (
    ("2", "20.0% S", "Standard rate on sales", Decimal(20)),
    ("3", "5.0% R", "Reduced rate on sales", Decimal(5)),
    ("4", "0.0% Z", "Zero rated sales", Decimal(0)),
    ("5", "Exempt", "Exempt sales", Decimal(0)),
    ("6", "0.0% ECG", "Sales of goods to the European Union", Decimal(0)),
    ("10", "No VAT", "Outside the scope of VAT", Decimal(0)),
)

OTHER_CODES: tuple[tuple[str, str, str, Decimal], ...] = (
    ("2", "Standard", "Standard rate on sales", Decimal(20)),
    ("4", "Zero rated", "Zero rated sales", Decimal(0)),
    ("10", "No tax", "Outside the scope of tax", Decimal(0)),
)

#: Home units for one foreign unit, when the caller names no rate.
RATES = {
    ("USD", "CAD"): Decimal("0.73"),
    ("USD", "EUR"): Decimal("1.08"),
    ("USD", "GBP"): Decimal("1.27"),
    ("GBP", "EUR"): Decimal("0.85"),
    ("GBP", "USD"): Decimal("0.79"),
}


def accounts(country: str, currency: str) -> Iterator[tuple[str, Json]]:
    words = {
        "tax": "VAT" if country == "GB" else "Sales tax",
        "tax_subtype": "SalesTaxPayable" if country == "US" else "GlobalTaxPayable",
    }
    for id, number, name, kind, subtype in ACCOUNTS:
        yield id, account_body(number, name.format(**words), kind, subtype.format(**words), currency)


def account_body(number: str, name: str, kind: str, subtype: str, currency: str) -> Json:
    return {
        "Name": name,
        "SubAccount": False,
        "FullyQualifiedName": name,
        "Active": True,
        "Classification": CLASSIFICATION[kind],
        "AccountType": kind,
        "AccountSubType": subtype,
        **({"AcctNum": number} if number else {}),
        "CurrentBalance": Decimal(0),
        "CurrentBalanceWithSubAccounts": Decimal(0),
        "CurrencyRef": {"value": currency},
    }


def tax_codes(country: str) -> Iterator[tuple[str, Json]]:
    if country == "US":
        yield "TAX", _tax_code("TAX", "Taxable", is_taxable=True)
        yield "NON", _tax_code("NON", "Not taxable", is_taxable=False)
        return
    for id, name, description, _ in BRITISH_CODES if country == "GB" else OTHER_CODES:
        detail = {"TaxRateRef": {"value": id, "name": name}, "TaxTypeApplicable": "TaxOnAmount", "TaxOrder": 0}
        rates: Json = {name: {"TaxRateDetail": [detail]} for name in ("SalesTaxRateList", "PurchaseTaxRateList")}
        yield id, _tax_code(name, description, is_taxable=True) | {"TaxGroup": True} | rates


def _tax_code(name: str, description: str, *, is_taxable: bool) -> Json:
    return {
        "Name": name,
        "Description": description,
        "Active": True,
        "Hidden": False,
        "Taxable": is_taxable,
        "TaxGroup": False,
        "SalesTaxRateList": {"TaxRateDetail": []},
        "PurchaseTaxRateList": {"TaxRateDetail": []},
    }


def tax_rates(country: str) -> Iterator[tuple[str, Json]]:
    if country == "US":
        yield "3", _tax_rate("California State", "California, Los Angeles", AMERICAN_RATE)
        return
    for id, name, description, percent in BRITISH_CODES if country == "GB" else OTHER_CODES:
        yield id, _tax_rate(name, description, percent)


def _tax_rate(name: str, description: str, percent: Decimal) -> Json:
    return {
        "Name": name,
        "Description": description,
        "Active": True,
        "RateValue": percent,
        "AgencyRef": {"value": "1"},
        "SpecialTaxType": "NONE",
        "DisplayType": "ReadOnly",
    }


def company_info(organisation: Json) -> Json:
    return {
        "CompanyName": organisation["name"],
        "LegalName": organisation["name"],
        "CompanyAddr": {"Id": "1", "Country": organisation.get("country", "")},
        "Country": organisation.get("country", ""),
        "DefaultTimeZone": organisation.get("time_zone", "UTC"),
        "FiscalYearStartMonth": "January",
        "SupportedLanguages": "en",
        "NameValue": [{"Name": "OfferingSku", "Value": "QuickBooks Online Plus"}],
    }


def preferences(organisation: Json) -> Json:
    closed = organisation.get("books_closed_until")
    accounting: Json = {"FirstMonthOfFiscalYear": "January", "UseAccountNumbers": True}
    if closed:
        accounting["BookCloseDate"] = str(closed)
    return {
        "AccountingInfoPrefs": accounting,
        "SalesFormsPrefs": {"CustomTxnNumbers": True, "AllowDiscount": False},
        "TaxPrefs": {"UsingSalesTax": True, "PartnerTaxEnabled": organisation.get("country") == "US"},
        "CurrencyPrefs": {
            "MultiCurrencyEnabled": len(currencies(organisation)) > 1,
            "HomeCurrency": {"value": organisation["base_currency"]},
        },
    }


def currencies(organisation: Json) -> list[str]:
    """The home currency and those switched on beside it."""
    home = organisation["base_currency"]
    return list(dict.fromkeys([home, *organisation.get("currencies", ())]))
