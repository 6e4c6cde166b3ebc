"""QuickBooks' JSON to standard records. Amounts arrive as exact Decimals and stay so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Literal

import msgspec

from connectors.sdk.records import (
    Address,
    BankTransfer,
    Company,
    Customer,
    CustomerPayment,
    Expense,
    LedgerAccount,
    Party,
    Record,
    TaxRate,
)
from connectors.sdk.streams import RejectedRow, SourceRecord

Json = dict[str, Any]
#: A deleted transaction arrives as an id alone; ISO 4217 names this code for "no currency".
NO_CURRENCY = "XXX"
#: What a line without tax is coded with in the United States.
NO_TAX = "NON"
_VOIDED = "Voided"


class UnreadableRow(ValueError):
    """A row without a value that every row of its kind has."""


def read_rows(
    rows: Iterable[Json], convert: Callable[[Json], Record]
) -> tuple[tuple[SourceRecord, ...], tuple[RejectedRow, ...]]:
    """Every row as a record, or kept with the reason why not."""
    records, rejected = [], []
    for row in rows:
        try:
            records.append(source_record(row, convert))
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, msgspec.ValidationError) as error:
            external_id = str(row.get("Id", "")) if isinstance(row, dict) else ""
            rejected.append(RejectedRow(external_id=external_id, reason=_reason(error), raw=row))
    return tuple(records), tuple(rejected)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return str(error) or type(error).__name__


def source_record(row: Json, convert: Callable[[Json], Record]) -> SourceRecord:
    return SourceRecord(
        external_id=text(row, "Id"),
        version=version_of(row),
        record=convert(row),
        raw=row,
        updated_at=updated_at(row),
        is_deleted=is_deleted(row),
    )


def version_of(row: Json) -> str:
    """A linked payment changes an invoice's balance without its SyncToken, so both make the version."""
    stamp = row.get("MetaData", {}).get("LastUpdatedTime", "")
    return f"{row.get('SyncToken', '')}@{stamp}"


def sync_token(version: str) -> str:
    return version.partition("@")[0]


def is_deleted(row: Json) -> bool:
    return row.get("status") == "Deleted"


def updated_at(row: Json) -> dt.datetime:
    return instant(row["MetaData"]["LastUpdatedTime"])


def instant(value: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise UnreadableRow(f"{value} has no time zone")
    return moment.astimezone(dt.UTC)


def day(value: str) -> dt.date:
    return dt.date.fromisoformat(value[:10])


def money(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise UnreadableRow(f"{value!r} is not an amount")
    return Decimal(value)


def text(row: Json, name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value:
        raise UnreadableRow(f"{name} is not a text")
    return value


def ref(row: Json, name: str) -> str:
    return str((row.get(name) or {}).get("value", ""))


def ref_name(row: Json, name: str) -> str:
    return str((row.get(name) or {}).get("name", ""))


def tax_code(row: Json) -> str:
    code = ref(row, "TaxCodeRef")
    return "" if code == NO_TAX else code


def custom_fields(row: Json) -> dict[str, Any]:
    """Fields the tenant defined in QuickBooks, by their own names."""
    return {
        str(custom["Name"]): custom.get("StringValue", custom.get("NumberValue"))
        for custom in row.get("CustomField", [])
        if "Name" in custom
    }


def note_reference(row: Json) -> str:
    """The first line of the private memo, where our reference is kept; voiding puts a word before it."""
    return str(row.get("PrivateNote") or "").removeprefix(_VOIDED).removeprefix(" - ").partition("\n")[0].strip()


def is_voided(row: Json, total: Decimal) -> bool:
    return total == 0 and str(row.get("PrivateNote") or "").startswith(_VOIDED)


def country_code(value: str) -> str:
    """QuickBooks lets people type countries; only what is certain is taken over."""
    plain = value.strip().upper()
    if len(plain) == 2 and plain.isalpha():
        return "GB" if plain == "UK" else plain
    return _COUNTRIES.get(plain, "")


_COUNTRIES = {
    "USA": "US",
    "UNITED STATES": "US",
    "UNITED STATES OF AMERICA": "US",
    "GBR": "GB",
    "UNITED KINGDOM": "GB",
    "GREAT BRITAIN": "GB",
    "ENGLAND": "GB",
    "SCOTLAND": "GB",
    "WALES": "GB",
    "CAN": "CA",
    "CANADA": "CA",
    "AUS": "AU",
    "AUSTRALIA": "AU",
    "IRELAND": "IE",
    "GERMANY": "DE",
    "FRANCE": "FR",
    "NETHERLANDS": "NL",
    "SPAIN": "ES",
    "ITALY": "IT",
}


def address(value: Json | None) -> Address:
    value = value or {}
    return Address(
        line1=str(value.get("Line1", "")),
        line2=str(value.get("Line2", "")),
        city=str(value.get("City", "")),
        region=str(value.get("CountrySubDivisionCode", "")),
        postal_code=str(value.get("PostalCode", "")),
        country=country_code(str(value.get("Country", ""))),
    )


def customer(row: Json) -> Customer:
    return Customer(
        id=text(row, "Id"),
        custom=custom_fields(row),
        name=text(row, "DisplayName"),
        updated_at=updated_at(row),
        email=str((row.get("PrimaryEmailAddr") or {}).get("Address", "")),
        phone=str((row.get("PrimaryPhone") or {}).get("FreeFormNumber", "")),
        company=str(row.get("CompanyName") or ""),
        tax_number=str(row.get("PrimaryTaxIdentifier") or ""),
        currency=ref(row, "CurrencyRef"),
        address=address(row.get("BillAddr")),
        is_archived=not row.get("Active", True),
    )


AccountKind = Literal["bank", "asset", "liability", "equity", "income", "expense", "receivable", "payable"]

ACCOUNT_KINDS: dict[str, AccountKind] = {
    "Bank": "bank",
    "Credit Card": "liability",
    "Accounts Receivable": "receivable",
    "Accounts Payable": "payable",
    "Other Current Asset": "asset",
    "Fixed Asset": "asset",
    "Other Asset": "asset",
    "Other Current Liability": "liability",
    "Long Term Liability": "liability",
    "Equity": "equity",
    "Income": "income",
    "Other Income": "income",
    "Cost of Goods Sold": "expense",
    "Expense": "expense",
    "Other Expense": "expense",
}
#: Where QuickBooks lets money received be deposited.
_DEPOSITABLE = {"Bank", "Other Current Asset"}


def ledger_account(row: Json) -> LedgerAccount:
    """Documents refer to accounts by Id; the account number is what people know, so it leads the name."""
    kind = text(row, "AccountType")
    if kind not in ACCOUNT_KINDS:
        raise UnreadableRow(f"{kind} is not an account type we know")
    name = str(row.get("FullyQualifiedName") or text(row, "Name"))
    number = str(row.get("AcctNum") or "")
    return LedgerAccount(
        id=text(row, "Id"),
        code=text(row, "Id"),
        name=f"{number} {name}" if number else name,
        kind=ACCOUNT_KINDS[kind],
        currency=ref(row, "CurrencyRef"),
        is_archived=not row.get("Active", True),
        can_receive_payments=kind in _DEPOSITABLE,
    )


def tax_rate(row: Json, percent_by_rate: dict[str, Decimal]) -> TaxRate:
    """A tax code with the sum of its rates for sales, or for purchases where it has no others. The codes TAX and NON of a company in
    the United States have none."""
    sales, purchases = (
        (row.get(name) or {}).get("TaxRateDetail", []) for name in ("SalesTaxRateList", "PurchaseTaxRateList")
    )
    details = sales or purchases
    percent = sum((percent_by_rate.get(ref(detail, "TaxRateRef"), Decimal(0)) for detail in details), Decimal(0))
    return TaxRate(
        id=text(row, "Id"),
        code=text(row, "Id"),
        name=text(row, "Name"),
        rate=percent / 100,
        is_archived=not row.get("Active", True),
        is_for_sales=bool(sales) or not purchases,
    )


def company(realm: str, info: Json, preferences: Json) -> Company:
    closed = preferences.get("AccountingInfoPrefs", {}).get("BookCloseDate")
    return Company(
        id=realm,
        name=text(info, "CompanyName"),
        base_currency=ref(preferences.get("CurrencyPrefs", {}), "HomeCurrency"),
        country=country_code(str(info.get("Country", ""))),
        time_zone=str(info.get("DefaultTimeZone") or ""),
        books_closed_until=day(closed) if closed else None,
    )


def payment(row: Json) -> CustomerPayment:
    if is_deleted(row):
        stamp = updated_at(row)
        return CustomerPayment(
            id=text(row, "Id"),
            date=stamp.date(),
            updated_at=stamp,
            currency=NO_CURRENCY,
            amount=Decimal(0),
            ledger_account="",
            status="void",
        )
    total = money(row["TotalAmt"])
    applied = [(str(link["TxnId"]), str(link["TxnType"])) for line in row.get("Line", []) for link in _links(line)]
    invoices = [txn for txn, kind in applied if kind == "Invoice"]
    return CustomerPayment(
        id=text(row, "Id"),
        custom=custom_fields(row) | ({"applied_to": [list(link) for link in applied]} if len(applied) > 1 else {}),
        date=day(text(row, "TxnDate")),
        updated_at=updated_at(row),
        currency=text(row["CurrencyRef"], "value"),
        amount=total,
        ledger_account=ref(row, "DepositToAccountRef"),
        document_id=invoices[0] if invoices else "",
        customer=Party(id=ref(row, "CustomerRef"), name=ref_name(row, "CustomerRef")),
        reference=note_reference(row) or str(row.get("PaymentRefNum") or ""),
        status="void" if is_voided(row, total) else "open",
    )


def _links(line: Json) -> list[Json]:
    return list(line.get("LinkedTxn", []))


def transfer(row: Json) -> BankTransfer:
    if is_deleted(row):
        stamp = updated_at(row)
        return BankTransfer(
            id=text(row, "Id"),
            date=stamp.date(),
            updated_at=stamp,
            currency=NO_CURRENCY,
            amount=Decimal(0),
            from_ledger_account="",
            to_ledger_account="",
            status="void",
        )
    return BankTransfer(
        id=text(row, "Id"),
        date=day(text(row, "TxnDate")),
        updated_at=updated_at(row),
        currency=text(row["CurrencyRef"], "value"),
        amount=money(row["Amount"]),
        from_ledger_account=text(row["FromAccountRef"], "value"),
        to_ledger_account=text(row["ToAccountRef"], "value"),
        reference=note_reference(row),
    )


def deposit(row: Json) -> Expense:
    """Money that came back from a supplier into an account: a negative expense."""
    if is_deleted(row):
        return _deleted_expense(row)
    lines = [line for line in row.get("Line", []) if line.get("DetailType") == "DepositLineDetail"]
    first = lines[0] if lines else {}
    detail = first.get("DepositLineDetail") or {}
    total = money(row["TotalAmt"])
    return Expense(
        id=text(row, "Id"),
        date=day(text(row, "TxnDate")),
        updated_at=updated_at(row),
        currency=text(row["CurrencyRef"], "value"),
        amount=-total,
        paid_from_ledger_account=text(row["DepositToAccountRef"], "value"),
        ledger_account=ref(detail, "AccountRef"),
        supplier=Party(id=ref(detail, "Entity"), name=ref_name(detail, "Entity")),
        description=str(first.get("Description") or ""),
        reference=note_reference(row),
        tax_rate=tax_code(detail),
        status="void" if is_voided(row, total) else "open",
    )


def _deleted_expense(row: Json) -> Expense:
    stamp = updated_at(row)
    return Expense(
        id=text(row, "Id"),
        date=stamp.date(),
        updated_at=stamp,
        currency=NO_CURRENCY,
        amount=Decimal(0),
        paid_from_ledger_account="",
        ledger_account="",
        status="void",
    )


def purchase(row: Json) -> Expense:
    """Money spent from an account; a credit (money that came back) is negative."""
    if is_deleted(row):
        return _deleted_expense(row)
    lines = [line for line in row.get("Line", []) if line.get("DetailType") == "AccountBasedExpenseLineDetail"]
    first = lines[0] if lines else {}
    detail = first.get("AccountBasedExpenseLineDetail") or {}
    total = money(row["TotalAmt"])
    return Expense(
        id=text(row, "Id"),
        custom=custom_fields(row),
        date=day(text(row, "TxnDate")),
        updated_at=updated_at(row),
        currency=text(row["CurrencyRef"], "value"),
        amount=-total if row.get("Credit") else total,
        paid_from_ledger_account=text(row["AccountRef"], "value"),
        ledger_account=ref(detail, "AccountRef"),
        supplier=Party(id=ref(row, "EntityRef"), name=ref_name(row, "EntityRef")),
        description=str(first.get("Description") or ""),
        reference=note_reference(row) or str(row.get("DocNumber") or ""),
        tax_rate=tax_code(detail),
        status="void" if is_voided(row, total) else "open",
    )
