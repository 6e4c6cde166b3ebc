"""What a new organisation starts with: chart of accounts, tax rates and currencies by country."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """`tax` is a role in `Country.taxes`; `currency` only where it is not the base currency."""

    code: str
    name: str
    type: str
    tax: str = "none"
    system: str = ""
    takes_payments: bool = False
    currency: str = ""


@dataclass(frozen=True)
class Tax:
    code: str
    name: str
    percent: str
    report: str
    is_sale: bool = True


@dataclass(frozen=True)
class Country:
    """`taxes` names the default codes for the roles of accounts: sales, purchases, none."""

    version: str
    tax_account: str
    taxes: dict[str, str]
    rates: tuple[Tax, ...]
    currencies: tuple[str, ...] = ()


ACCOUNTS: tuple[Account, ...] = (
    Account("090", "Business Bank Account", "BANK"),
    Account("091", "Business Savings Account", "BANK"),
    Account("092", "Shop Payments Clearing", "BANK"),
    Account("093", "Card Payments Clearing", "BANK"),
    Account("094", "Other Payments Clearing", "BANK"),
    Account("", "Petty Cash", "BANK"),
    Account("200", "Sales", "REVENUE", "sales"),
    Account("205", "Shipping Income", "REVENUE", "sales"),
    Account("210", "Discounts Given", "REVENUE", "sales"),
    Account("215", "Tips Received", "REVENUE", "none"),
    Account("260", "Other Revenue", "REVENUE", "sales"),
    Account("270", "Interest Income", "REVENUE", "none"),
    Account("310", "Cost of Goods Sold", "DIRECTCOSTS", "purchases"),
    Account("400", "Advertising & Marketing", "OVERHEADS", "purchases"),
    Account("404", "Bank Fees", "OVERHEADS", "none"),
    Account("405", "Payment Processing Fees", "EXPENSE", "none"),
    Account("425", "Postage, Freight & Courier", "OVERHEADS", "purchases"),
    Account("429", "General Expenses", "OVERHEADS", "purchases"),
    Account("498", "Bank Revaluations", "EXPENSE", "none", "BANKCURRENCYGAIN"),
    Account("499", "Realised Currency Gains", "EXPENSE", "none", "REALISEDCURRENCYGAIN"),
    Account("610", "Accounts Receivable", "CURRENT", "none", "DEBTORS"),
    Account("620", "Prepayments", "CURRENT", "none"),
    Account("800", "Accounts Payable", "CURRLIAB", "none", "CREDITORS"),
    Account("815", "Gift Card Liability", "CURRLIAB", "none", takes_payments=True),
    Account("820", "", "CURRLIAB", "none", "GST"),
    Account("840", "Historical Adjustment", "CURRLIAB", "none", "HISTORICAL"),
    Account("850", "Suspense", "CURRLIAB", "none"),
    Account("860", "Rounding", "CURRLIAB", "none", "ROUNDING"),
    Account("877", "Tracking Transfers", "CURRLIAB", "none", "TRACKINGTRANSFERS"),
    Account("960", "Retained Earnings", "EQUITY", "none", "RETAINEDEARNINGS"),
    Account("970", "Owner A Funds Introduced", "EQUITY", "none", takes_payments=True),
)

EURO_ACCOUNTS: tuple[Account, ...] = (
    Account("095", "Euro Bank Account", "BANK", currency="EUR"),
    Account("096", "Euro Payments Clearing", "BANK", currency="EUR"),
)

UNITED_KINGDOM = Country(
    version="UK",
    tax_account="VAT",
    taxes={"sales": "OUTPUT2", "purchases": "INPUT2", "none": "NONE"},
    rates=(
        Tax("OUTPUT2", "20% (VAT on Income)", "20", "OUTPUT"),
        Tax("INPUT2", "20% (VAT on Expenses)", "20", "INPUT", is_sale=False),
        Tax("RROUTPUT", "5% (VAT on Income)", "5", "OUTPUT"),
        Tax("RRINPUT", "5% (VAT on Expenses)", "5", "INPUT", is_sale=False),
        Tax("ZERORATEDOUTPUT", "Zero Rated Income", "0", "OUTPUT"),
        Tax("ZERORATEDINPUT", "Zero Rated Expenses", "0", "INPUT", is_sale=False),
        Tax("EXEMPTOUTPUT", "Exempt Income", "0", "EXEMPTOUTPUT"),
        Tax("ECZROUTPUT", "Zero Rated EC Goods Income", "0", "ECOUTPUT"),
        Tax("ECZROUTPUTSERVICES", "Zero Rated EC Services", "0", "ECOUTPUTSERVICES"),
        Tax("NONE", "No VAT", "0", "NONE"),
    ),
    currencies=("EUR",),
)

IRELAND = Country(
    version="GLOBAL",
    tax_account="VAT",
    taxes={"sales": "OUTPUT", "purchases": "INPUT", "none": "NONE"},
    rates=(
        Tax("OUTPUT", "VAT on Sales (23%)", "23", "OUTPUT"),
        Tax("INPUT", "VAT on Purchases (23%)", "23", "INPUT", is_sale=False),
        Tax("TAX001", "VAT on Sales (13.5%)", "13.5", "OUTPUT"),
        Tax("TAX002", "VAT on Sales (9%)", "9", "OUTPUT"),
        Tax("TAX003", "VAT on Sales (0%)", "0", "OUTPUT"),
        Tax("TAX004", "EU Goods (0%)", "0", "OUTPUT"),
        Tax("NONE", "Tax Exempt", "0", "NONE"),
    ),
)

ELSEWHERE = Country(
    version="GLOBAL",
    tax_account="Sales Tax",
    taxes={"sales": "OUTPUT", "purchases": "INPUT", "none": "NONE"},
    rates=(
        Tax("OUTPUT", "Tax on Sales", "10", "OUTPUT"),
        Tax("INPUT", "Tax on Purchases", "10", "INPUT", is_sale=False),
        Tax("NONE", "Tax Exempt", "0", "NONE"),
    ),
)

UNITED_STATES = Country(
    version="US",
    tax_account="Sales Tax",
    taxes={"sales": "OUTPUT", "purchases": "INPUT", "none": "NONE"},
    rates=(
        Tax("OUTPUT", "Tax on Sales", "8.25", "OUTPUT"),
        Tax("INPUT", "Tax on Purchases", "8.25", "INPUT", is_sale=False),
        Tax("NONE", "Tax Exempt", "0", "NONE"),
    ),
)

COUNTRIES = {"GB": UNITED_KINGDOM, "IE": IRELAND, "US": UNITED_STATES}

ACCOUNT_CLASSES = {
    **dict.fromkeys(("BANK", "CURRENT", "FIXED", "INVENTORY", "NONCURRENT", "PREPAYMENT"), "ASSET"),
    **dict.fromkeys(("CURRLIAB", "LIABILITY", "TERMLIAB", "PAYG"), "LIABILITY"),
    **dict.fromkeys(("REVENUE", "SALES", "OTHERINCOME"), "REVENUE"),
    **dict.fromkeys(("EXPENSE", "DIRECTCOSTS", "OVERHEADS", "DEPRECIATN"), "EXPENSE"),
    "EQUITY": "EQUITY",
}

#: Units of the currency for one pound: steady, so that every run gives the same books.
PER_POUND = {"GBP": "1", "EUR": "1.15", "USD": "1.25", "AUD": "1.95", "NZD": "2.1", "CAD": "1.7", "SEK": "13"}


def country_of(code: str) -> Country:
    return COUNTRIES.get(code, ELSEWHERE)
