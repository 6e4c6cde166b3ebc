"""Invoices, credit notes and spent money in a simulated organisation: Xero's checks and its arithmetic."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from connectors.providers.xero import reading
from connectors.providers.xero.simulator_books import (
    Books,
    Invalid,
    Row,
    account_stub,
    collect,
    ms_date,
    number_of,
    round_money,
)
from connectors.providers.xero.values import day
from connectors.sdk.records import Record
from connectors.testing import Action, Author

LINE_TYPES = ("Exclusive", "Inclusive", "NoTax")
OPEN_STATUSES = ("DRAFT", "SUBMITTED", "AUTHORISED")
FINEST = Decimal("0.0001")


@dataclass(frozen=True)
class Kind:
    """A collection of documents. `types` maps Xero's type to the field that says which contact role it makes."""

    collection: str
    id_key: str
    types: Mapping[str, str]
    record: Callable[[Row], Record]
    number_key: str = ""
    prefix: str = ""
    event: str = ""
    our_type: str = ""
    also_ours: str = ""


INVOICES = Kind(
    collection="Invoices",
    id_key="InvoiceID",
    types={"ACCREC": "IsCustomer", "ACCPAY": "IsSupplier"},
    record=reading.invoice,
    number_key="InvoiceNumber",
    prefix="INV-",
    event="INVOICE",
    our_type="ACCREC",
)
CREDIT_NOTES = Kind(
    collection="CreditNotes",
    id_key="CreditNoteID",
    types={"ACCRECCREDIT": "IsCustomer", "ACCPAYCREDIT": "IsSupplier"},
    record=reading.credit_note,
    number_key="CreditNoteNumber",
    prefix="CN-",
    event="CREDITNOTE",
    our_type="ACCRECCREDIT",
)
BANK_TRANSACTIONS = Kind(
    collection="BankTransactions",
    id_key="BankTransactionID",
    types={"SPEND": "IsSupplier", "RECEIVE": "IsCustomer"},
    record=reading.expense,
    our_type="SPEND",
    also_ours="RECEIVE",
)


@dataclass(frozen=True)
class Documents:
    """One kind of document in one organisation. `check` says what would be stored, `keep` stores it."""

    books: Books
    kind: Kind
    unit_places: int = 2

    def check(self, given: Mapping[str, Any]) -> Row:
        """A new or changed document with its sums. Raises `Invalid` with every reason."""
        known = self.known(given)
        if known is not None and self._is_status_only(given):
            return self._with_status(known, str(given["Status"]))
        if known is not None:
            self._check_editable(known)
        merged = {**(known or {}), **given}
        if merged.get("Type") not in self.kind.types:
            raise Invalid(f"Type {merged.get('Type')} is not valid for this endpoint")
        status = merged.get("Status", "DRAFT" if self.kind.number_key else "AUTHORISED")
        date, currency, lines, contact, number = collect(
            (
                partial(self.books.open_day, merged.get("Date")),
                partial(self.books.currency, merged.get("CurrencyCode") or self._bank_currency(merged)),
                partial(self._lines, merged, is_final=status != "DRAFT"),
                partial(self.books.contact, merged.get("Contact")),
                partial(self._number, merged, known),
            )
        )
        if status not in OPEN_STATUSES:
            raise Invalid(f"Status {status} is not valid for a new document")
        row = {key: value for key, value in merged.items() if key in KEPT}
        row |= self._sums(merged, lines)
        row |= {
            "Status": status,
            "Contact": merged["Contact"] if contact is None else {"ContactID": contact["ContactID"]},
            "Date": ms_date(date),
            "DateString": f"{date}T00:00:00",
            "CurrencyCode": currency,
            "CurrencyRate": merged.get("CurrencyRate") or self.books.rate(currency, date),
            "HasAttachments": False,
        }
        if self.kind.number_key:
            row |= self._numbered(merged, date, number, status, row["Total"])
        else:
            row |= self._banked(merged, currency)
        return row

    def keep(self, row: Row, *, by: Author, action: Action, at: dt.datetime | None = None) -> Row:
        """Store a checked document, note it in the ledger and tell the webhooks."""
        kind, books = self.kind, self.books
        if not row.get(kind.id_key):
            row[kind.id_key] = books.new_id(kind.collection)
        contact = books.named_contact(row["Contact"], **{kind.types[row["Type"]]: True})
        row["Contact"] = {"ContactID": contact["ContactID"]}
        if kind.number_key:
            row[kind.number_key] = row.get(kind.number_key) or self.next_number(row)
            if row["Type"] == kind.our_type:
                books.index(kind.collection).put(row[kind.number_key], {"id": row[kind.id_key]})
        books.put(kind.collection, row, at=at)
        if row["Type"] in (kind.our_type, kind.also_ours):
            self.note(row, by=by, action=action)
        self.tell(row, is_new=action == "create")
        return row

    def note(self, row: Row, *, by: Author, action: Action) -> None:
        record = msgspec.structs.replace(self.kind.record(self.books.shown(row)), exchange_rate=row["CurrencyRate"])
        tax = row["TotalTax"] if self.kind is BANK_TRANSACTIONS else Decimal(0)
        self.books.simulator.append_ledger(
            organisation=self.books.id,
            by=by,
            action=action,
            record=record,
            tax=-tax if row["Type"] == "RECEIVE" else tax,
        )

    def tell(self, row: Row, *, is_new: bool) -> None:
        if self.kind.event:
            self.books.simulator.tell(
                self.books.id,
                category=self.kind.event,
                collection=self.kind.collection,
                id=row[self.kind.id_key],
                is_new=is_new,
                about={"Type": row["Type"], "Status": row["Status"]},
            )

    def known(self, given: Mapping[str, Any]) -> Row | None:
        """The document a request names by id, or by its number where POST finds it so."""
        if given.get(self.kind.id_key):
            found = self.books[self.kind.collection].get(str(given[self.kind.id_key]))
            if found is None:
                raise Invalid(f"{self.kind.collection[:-1]} not found")
            return found
        return None

    def _is_status_only(self, given: Mapping[str, Any]) -> bool:
        return given.get("Status") in ("VOIDED", "DELETED")

    def _with_status(self, known: Row, status: str) -> Row:
        if known["Status"] in ("VOIDED", "DELETED"):
            raise Invalid(f"This document is already {known['Status'].lower()}")
        self._check_editable(known)
        self.books.open_day(known["Date"])
        is_draft = known["Status"] in ("DRAFT", "SUBMITTED")
        if self.kind.number_key and is_draft != (status == "DELETED"):
            raise Invalid(f"A document with the status {known['Status']} cannot become {status}")
        changed = {**known, "Status": status}
        for key in ("AmountDue", "RemainingCredit"):
            if key in changed:
                changed[key] = Decimal("0.00")
        return changed

    def _check_editable(self, known: Row) -> None:
        if known["Status"] not in OPEN_STATUSES and known["Status"] != "PAID":
            raise Invalid("This document cannot be edited because of its status")
        if known["Status"] == "PAID" or known.get("Payments") or known.get("Allocations"):
            raise Invalid("This document cannot be edited as it has a payment or credit note allocated to it.")
        if known.get("IsReconciled"):
            raise Invalid("This Bank Transaction cannot be edited as it has been reconciled with a Bank Statement.")

    # ------------------------------------------------------------------ arithmetic

    def _lines(self, given: Mapping[str, Any], *, is_final: bool) -> list[Row]:
        rows = given.get("LineItems") or []
        if is_final and not any("UnitAmount" in row or "LineAmount" in row for row in rows):
            raise Invalid("One or more line items must be specified")
        mode = given.get("LineAmountTypes", "Exclusive")
        if mode not in LINE_TYPES:
            raise Invalid(f"LineAmountTypes {mode} is not valid")
        checks = [partial(self._line, row, mode, is_final=is_final) for row in rows]
        return collect(checks)

    def _line(self, given: Mapping[str, Any], mode: str, *, is_final: bool) -> Row:
        """A line with its amounts; one that only has a description stays as it is."""
        line_id = given.get("LineItemID") or self.books.new_id("LineItems")
        text = {"LineItemID": line_id, "Description": given.get("Description", "")}
        if not text["Description"]:
            raise Invalid("Description must not be empty")
        if "UnitAmount" not in given and "LineAmount" not in given:
            return text
        quantity = number_of(given.get("Quantity", 1), "Quantity")
        amount = self._line_amount(given, quantity)
        row: Row = {**text, "Quantity": quantity, "LineAmount": amount, "Tracking": []}
        row["UnitAmount"] = self._unit(given.get("UnitAmount", amount))
        if given.get("ItemCode"):
            row["ItemCode"] = given["ItemCode"]
        if not is_final and not (given.get("AccountCode") or given.get("AccountID")):
            return row | {"TaxAmount": Decimal("0.00")}
        account = self.books.line_account(given)
        row |= {"AccountID": account["AccountID"], "AccountCode": account.get("Code", "")}
        return row | self._tax(given, mode, amount, account)

    def _unit(self, value: Any) -> Decimal:
        return number_of(value, "UnitAmount").quantize(FINEST if self.unit_places == 4 else Decimal("0.01"))

    def _line_amount(self, given: Mapping[str, Any], quantity: Decimal) -> Decimal:
        if "UnitAmount" not in given:
            return round_money(number_of(given["LineAmount"], "LineAmount"))
        discount = number_of(given.get("DiscountRate", 0), "DiscountRate")
        expected = round_money(quantity * self._unit(given["UnitAmount"]) * (100 - discount) / 100)
        stated = given.get("LineAmount")
        if stated is not None and number_of(stated, "LineAmount") != expected:
            raise Invalid(f"The line total {stated} does not match the expected line total {expected}")
        return expected

    def _tax(self, given: Mapping[str, Any], mode: str, amount: Decimal, account: Row) -> Row:
        """Tax per line, rounded per line; a stated amount overrides the calculated one."""
        if mode == "NoTax":
            return {"TaxType": "NONE", "TaxAmount": Decimal("0.00")}
        code = str(given.get("TaxType") or account["TaxType"])
        rate = self.books.tax_rate(code)
        tax = amount - amount / (1 + rate) if mode == "Inclusive" else amount * rate
        if given.get("TaxAmount") is not None:
            tax = number_of(given["TaxAmount"], "TaxAmount")
        return {"TaxType": code, "TaxAmount": round_money(tax)}

    def _sums(self, given: Mapping[str, Any], lines: list[Row]) -> Row:
        mode = given.get("LineAmountTypes", "Exclusive")
        amounts = sum((line.get("LineAmount", Decimal(0)) for line in lines), Decimal("0.00"))
        tax = sum((line.get("TaxAmount", Decimal(0)) for line in lines), Decimal("0.00"))
        total = amounts + tax if mode == "Exclusive" else amounts
        if "Total" in given and self.known(given) is None and number_of(given["Total"], "Total") != total:
            raise Invalid(f"The document total {given['Total']} does not equal the sum of its lines {total}")
        if total < 0:
            raise Invalid("The document total cannot be negative: the amount must be greater than zero.")
        sums = {"SubTotal": total - tax, "TotalTax": tax, "Total": total}
        return {**sums, "LineAmountTypes": mode, "LineItems": lines}

    # ------------------------------------------------------------------ what differs by kind

    def _number(self, given: Mapping[str, Any], known: Row | None) -> str:
        number = str(given.get(self.kind.number_key, "")) if self.kind.number_key else ""
        if not number or given.get("Type") != self.kind.our_type:
            return number
        entry = self.books.index(self.kind.collection).get(number)
        if entry is not None and entry["id"] != (known or {}).get(self.kind.id_key):
            name = "Invoice" if self.kind is INVOICES else "Credit note"
            raise Invalid(f"{name} # must be unique.")
        return number

    def next_number(self, row: Row) -> str:
        if row["Type"] != self.kind.our_type:
            return ""
        while True:
            number = f"{self.kind.prefix}{self.books.simulator.next_id(f'{self.kind.prefix}{self.books.id}'):04d}"
            if number not in self.books.index(self.kind.collection):
                return number

    def _numbered(self, given: Mapping[str, Any], date: dt.date, number: str, status: str, total: Decimal) -> Row:
        row: Row = {
            "Reference": str(given.get("Reference", "")),
            self.kind.number_key: number,
            "Payments": [],
            "HasErrors": False,
            "SentToContact": bool(given.get("SentToContact", False)),
        }
        if self.kind is CREDIT_NOTES:
            return row | {"RemainingCredit": total, "Allocations": []}
        due = day(given.get("DueDate"))
        if due is None and status == "AUTHORISED":
            raise Invalid("Invoice not of valid status for this: a due date is required to approve it")
        due = due or date
        row |= {"DueDate": ms_date(due), "DueDateString": f"{due}T00:00:00"}
        zero = Decimal("0.00")
        return row | {"AmountDue": total, "AmountPaid": zero, "AmountCredited": zero, "IsDiscounted": False}

    def _bank_currency(self, given: Mapping[str, Any]) -> str:
        if self.kind.number_key:
            return ""
        account = self.books.account(given.get("BankAccount") or {})
        return str((account or {}).get("CurrencyCode", ""))

    def _banked(self, given: Mapping[str, Any], currency: str) -> Row:
        account = self.books.bank_account(given.get("BankAccount"))
        if account["CurrencyCode"] not in (currency, self.books.base_currency):
            raise Invalid(f"The bank account's currency is not {currency}")
        return {
            "BankAccount": account_stub(account),
            "Reference": str(given.get("Reference", "")),
            "IsReconciled": bool(given.get("IsReconciled", False)),
        }


#: What a request says that is stored as it is.
KEPT = {
    "Type",
    "InvoiceID",
    "CreditNoteID",
    "BankTransactionID",
    "Url",
    "BrandingThemeID",
    "Reference",
}
