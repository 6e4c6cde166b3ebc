"""Xero's JSON as standard records. A row that cannot be read raises ValueError or KeyError."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from connectors.providers.xero.values import account_code, country_code, day, moment, money, time_zone
from connectors.sdk.records import (
    Address,
    BankTransfer,
    Company,
    CreditNote,
    Customer,
    CustomerPayment,
    DocumentLine,
    Expense,
    Invoice,
    LedgerAccount,
    Party,
    TaxRate,
)

Raw = Mapping[str, Any]
TaxMode = Literal["inclusive", "exclusive", "none"]
DocumentStatus = Literal["draft", "open", "paid", "void"]
AccountKind = Literal["bank", "asset", "liability", "equity", "income", "expense", "receivable", "payable"]

NO_TAX = "NONE"
TAX_MODES: dict[str, TaxMode] = {"Inclusive": "inclusive", "Exclusive": "exclusive", "NoTax": "none"}
DOCUMENT_STATUSES: dict[str, DocumentStatus] = {
    "DRAFT": "draft",
    "SUBMITTED": "draft",
    "AUTHORISED": "open",
    "PAID": "paid",
    "VOIDED": "void",
    "DELETED": "void",
}
SYSTEM_KINDS: dict[str, AccountKind] = {"DEBTORS": "receivable", "CREDITORS": "payable"}
CLASS_KINDS: dict[str, AccountKind] = {
    "ASSET": "asset",
    "LIABILITY": "liability",
    "EQUITY": "equity",
    "REVENUE": "income",
    "EXPENSE": "expense",
}
TYPE_KINDS: dict[str, AccountKind] = {
    **dict.fromkeys(("CURRENT", "FIXED", "INVENTORY", "NONCURRENT", "PREPAYMENT"), "asset"),
    **dict.fromkeys(("CURRLIAB", "LIABILITY", "TERMLIAB", "PAYG"), "liability"),
    **dict.fromkeys(("REVENUE", "SALES", "OTHERINCOME"), "income"),
    **dict.fromkeys(("EXPENSE", "DIRECTCOSTS", "OVERHEADS", "DEPRECIATN"), "expense"),
    "EQUITY": "equity",
}


def company(raw: Raw) -> Company:
    locks = [locked for key in ("PeriodLockDate", "EndOfYearLockDate") if (locked := day(raw.get(key)))]
    return Company(
        id=raw["OrganisationID"],
        name=raw["Name"],
        base_currency=raw["BaseCurrency"],
        country=raw.get("CountryCode", ""),
        time_zone=time_zone(raw.get("Timezone", "")),
        books_closed_until=max(locks, default=None),
    )


def ledger_account(raw: Raw) -> LedgerAccount:
    return LedgerAccount(
        id=raw["AccountID"],
        code=account_code(raw),
        name=raw["Name"],
        kind=_account_kind(raw),
        currency=raw.get("CurrencyCode", ""),
        is_archived=raw.get("Status", "ACTIVE") != "ACTIVE",
        can_receive_payments=raw["Type"] == "BANK" or bool(raw.get("EnablePaymentsToAccount")),
    )


def _account_kind(raw: Raw) -> AccountKind:
    if raw["Type"] == "BANK":
        return "bank"
    if raw.get("SystemAccount") in SYSTEM_KINDS:
        return SYSTEM_KINDS[raw["SystemAccount"]]
    return CLASS_KINDS.get(raw.get("Class", "")) or TYPE_KINDS[raw["Type"]]


def tax_rate(raw: Raw) -> TaxRate:
    percent = raw["EffectiveRate"] if "EffectiveRate" in raw else raw["DisplayTaxRate"]
    return TaxRate(
        id=raw["TaxType"],
        code=raw["TaxType"],
        name=raw["Name"],
        rate=money(percent) / 100,
        is_archived=raw.get("Status", "ACTIVE") != "ACTIVE",
        is_for_sales=raw.get("CanApplyToRevenue", True),
    )


def customer(raw: Raw) -> Customer:
    return Customer(
        id=raw["ContactID"],
        name=raw["Name"],
        updated_at=moment(raw.get("UpdatedDateUTC")),
        email=raw.get("EmailAddress", ""),
        phone=_phone(raw.get("Phones") or ()),
        tax_number=raw.get("TaxNumber", ""),
        currency=raw.get("DefaultCurrency", ""),
        address=_address(raw.get("Addresses") or ()),
        is_archived=raw.get("ContactStatus", "ACTIVE") != "ACTIVE",
    )


def phone_shown(phones: Sequence[Raw]) -> Raw:
    """The one of a contact's telephone numbers that is read; empty without any."""
    by_type = {phone.get("PhoneType"): phone for phone in phones if phone.get("PhoneNumber")}
    return by_type.get("DEFAULT") or by_type.get("MOBILE") or next(iter(by_type.values()), {})


def _phone(phones: Sequence[Raw]) -> str:
    phone = phone_shown(phones)
    parts = (phone.get(key, "") for key in ("PhoneCountryCode", "PhoneAreaCode", "PhoneNumber"))
    return " ".join(part for part in parts if part)


def address_shown(addresses: Sequence[Raw]) -> Raw:
    """The billing address (Xero's POBOX), or the delivery address where that is empty; empty without any."""
    by_type = {address.get("AddressType"): address for address in addresses}
    for kind in ("POBOX", "STREET"):
        address = by_type.get(kind) or {}
        if any(address.get(key) for key in ("AddressLine1", "City", "PostalCode", "Country")):
            return address
    return {}


def _address(addresses: Sequence[Raw]) -> Address:
    address = address_shown(addresses)
    return Address(
        line1=address.get("AddressLine1", ""),
        line2=address.get("AddressLine2", ""),
        city=address.get("City", ""),
        region=address.get("Region", ""),
        postal_code=address.get("PostalCode", ""),
        country=country_code(address.get("Country", "")),
    )


def _party(raw: Raw | None) -> Party:
    raw = raw or {}
    return Party(id=raw.get("ContactID", ""), name=raw.get("Name", ""), email=raw.get("EmailAddress", ""))


def invoice(raw: Raw) -> Invoice:
    return Invoice(id=raw["InvoiceID"], number=raw.get("InvoiceNumber", ""), **_document(raw))


def credit_note(raw: Raw) -> CreditNote:
    return CreditNote(id=raw["CreditNoteID"], number=raw.get("CreditNoteNumber", ""), **_document(raw))


def _document(raw: Raw) -> dict[str, Any]:
    lines, notes = _lines(raw.get("LineItems") or ())
    return {
        "reference": raw.get("Reference", ""),
        "date": _required_day(raw),
        "due_date": day(raw.get("DueDate")),
        "updated_at": moment(raw.get("UpdatedDateUTC")),
        "currency": raw["CurrencyCode"],
        "customer": _party(raw.get("Contact")),
        "tax_mode": TAX_MODES[raw.get("LineAmountTypes", "Exclusive")],
        "lines": lines,
        "total": money(raw["Total"]),
        "tax_total": money(raw.get("TotalTax", 0)),
        "status": DOCUMENT_STATUSES[raw["Status"]],
        "memo": notes,
    }


def _lines(rows: Sequence[Raw]) -> tuple[tuple[DocumentLine, ...], str]:
    """The lines with an amount, and the text of those that only say something."""
    notes = [row.get("Description", "") for row in rows if _is_note(row)]
    lines = tuple(
        DocumentLine(
            description=row.get("Description", ""),
            quantity=money(row.get("Quantity", 1)),
            amount=money(row["LineAmount"]),
            ledger_account=row.get("AccountCode") or row.get("AccountID") or "",
            tax_rate=_tax_code(row.get("TaxType", "")),
            tax_amount=money(row.get("TaxAmount", 0)),
            sku=row.get("ItemCode", ""),
        )
        for row in rows
        if not _is_note(row)
    )
    return lines, "\n".join(notes)


def _tax_code(tax_type: str) -> str:
    """Xero names even the absence of tax."""
    return "" if tax_type == NO_TAX else tax_type


def _is_note(row: Raw) -> bool:
    return not row.get("LineAmount") and not row.get("AccountCode") and not row.get("AccountID")


def _required_day(raw: Raw) -> dt.date:
    found = day(raw.get("Date"))
    if found is None:
        raise ValueError("it has no date")
    return found


def customer_payment(raw: Raw) -> CustomerPayment:
    """A repayment comes with its credit note, or with an `Invoice` whose type says that it is one."""
    note = raw.get("CreditNote")
    document = note or raw["Invoice"]
    is_repayment = bool(note) or document.get("Type") == "ACCRECCREDIT"
    return CustomerPayment(
        id=raw["PaymentID"],
        date=_required_day(raw),
        updated_at=moment(raw.get("UpdatedDateUTC")),
        currency=document["CurrencyCode"],
        amount=money(raw["Amount"]),
        ledger_account=account_code(raw.get("Account")),
        settles="credit_note" if is_repayment else "invoice",
        document_id=document.get("CreditNoteID") or document["InvoiceID"],
        document_number=document.get("CreditNoteNumber") or document.get("InvoiceNumber", ""),
        customer=_party(document.get("Contact")),
        reference=raw.get("Reference", ""),
        status="void" if raw.get("Status") == "DELETED" else "open",
    )


def bank_transfer(raw: Raw, currency: str) -> BankTransfer:
    """Xero names no currency on a transfer; it is the one of the account the money leaves."""
    return BankTransfer(
        id=raw["BankTransferID"],
        date=_required_day(raw),
        updated_at=moment(raw.get("CreatedDateUTC")),
        currency=currency,
        amount=money(raw["Amount"]),
        from_ledger_account=account_code(raw["FromBankAccount"]),
        to_ledger_account=account_code(raw["ToBankAccount"]),
        reference=raw.get("Reference", ""),
        status="void" if raw.get("Status") == "DELETED" else "open",
    )


def expense(raw: Raw) -> Expense:
    """Xero allows several lines; the first one names the ledger account and tax rate of the whole. Received money is negative."""
    lines, _ = _lines(raw.get("LineItems") or ())
    first = lines[0] if lines else DocumentLine(description="", amount=Decimal(0), ledger_account="")
    return Expense(
        id=raw["BankTransactionID"],
        date=_required_day(raw),
        updated_at=moment(raw.get("UpdatedDateUTC")),
        currency=raw["CurrencyCode"],
        amount=-money(raw["Total"]) if raw.get("Type") == "RECEIVE" else money(raw["Total"]),
        paid_from_ledger_account=account_code(raw["BankAccount"]),
        ledger_account=first.ledger_account,
        supplier=_party(raw.get("Contact")),
        description=first.description,
        reference=raw.get("Reference", ""),
        tax_rate=first.tax_rate,
        status="open" if raw.get("Status", "AUTHORISED") == "AUTHORISED" else "void",
    )
