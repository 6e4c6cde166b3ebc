"""Payments, allocations and bank transfers in a simulated organisation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from connectors.providers.xero import reading
from connectors.providers.xero.simulator_books import (
    Books,
    Invalid,
    Row,
    account_stub,
    ms_date,
    number_of,
    round_money,
)
from connectors.providers.xero.simulator_documents import CREDIT_NOTES, INVOICES, Documents, Kind
from connectors.testing import Action, Author


def outstanding_key(kind: Kind) -> str:
    return "AmountDue" if kind is INVOICES else "RemainingCredit"


@dataclass(frozen=True)
class Payments:
    books: Books

    def check(self, given: Mapping[str, Any]) -> Row:
        """A payment as it would be stored. Raises `Invalid`."""
        kind, document = self._document(given)
        if document["Status"] != "AUTHORISED":
            raise Invalid("Payments can only be made against Authorised documents")
        date = self.books.open_day(given.get("Date"))
        amount = number_of(given.get("Amount"), "Amount")
        if amount <= 0:
            raise Invalid("The payment amount must be greater than zero")
        if amount > document[outstanding_key(kind)]:
            raise Invalid("Payment amount exceeds the amount outstanding on this document")
        account = self.books.bank_account(given.get("Account") or given, pays_documents=True)
        currency = document["CurrencyCode"]
        if account.get("CurrencyCode", currency) not in (currency, self.books.base_currency):
            raise Invalid(f"The bank account's currency must be {currency} or your base currency")
        rate = given.get("CurrencyRate") or self.books.rate(currency, date)
        return {
            "Date": ms_date(date),
            "Amount": amount,
            "BankAmount": self._in_bank(amount, currency, rate, account),
            "CurrencyRate": rate,
            "Reference": str(given.get("Reference", "")),
            "PaymentType": self._type(kind, document),
            "Status": "AUTHORISED",
            "HasAccount": True,
            "IsReconciled": bool(given.get("IsReconciled", False)),
            "Account": {key: account[key] for key in ("AccountID", "Code") if account.get(key)},
            kind.collection[:-1]: self.document_stub(kind, document),
            "HasValidationErrors": False,
        }

    def keep(self, row: Row, *, by: Author, at: dt.datetime | None = None) -> Row:
        row.setdefault("PaymentID", self.books.new_id("Payments"))
        self.books.put("Payments", row, at=at)
        self.apply(row, row["Amount"], at=at)
        self.note(row, by=by, action="create")
        return row

    def delete(self, id: str, *, by: Author) -> Row:
        """The only change there is. Raises `Invalid`."""
        known = self.books["Payments"].get(id)
        if known is None:
            raise Invalid("Payment not found")
        if known["Status"] == "DELETED":
            raise Invalid("This payment is already deleted")
        if known["IsReconciled"]:
            raise Invalid("A reconciled payment cannot be deleted")
        self.books.open_day(known["Date"])
        changed = self.books.put("Payments", {**known, "Status": "DELETED"})
        self.apply(changed, -known["Amount"])
        self.note(changed, by=by, action="delete")
        return changed

    def note(self, row: Row, *, by: Author, action: Action) -> None:
        if row["PaymentType"] in ("ACCRECPAYMENT", "ARCREDITPAYMENT"):
            record = reading.customer_payment(self.books.shown(row))
            self.books.simulator.append_ledger(
                organisation=self.books.id,
                by=by,
                action=action,
                record=msgspec.structs.replace(record, exchange_rate=row["CurrencyRate"]),
                settles=[(record.settles, record.document_id, record.amount)],
            )

    def _document(self, given: Mapping[str, Any]) -> tuple[Kind, Row]:
        for kind in (INVOICES, CREDIT_NOTES):
            named = given.get(kind.collection[:-1]) or {}
            number = named.get(kind.number_key) or given.get(kind.number_key)
            entry = self.books.index(kind.collection).get(str(number)) if number else None
            id = named.get(kind.id_key) or (entry or {}).get("id")
            found = self.books[kind.collection].get(str(id)) if id else None
            if found is not None:
                return kind, found
        raise Invalid("The invoice or credit note could not be found")

    def _in_bank(self, amount: Decimal, currency: str, rate: Decimal, account: Row) -> Decimal:
        """What arrives in the account: at the payment's rate when it is in the base currency."""
        if account.get("CurrencyCode", self.books.base_currency) == currency:
            return amount
        return round_money(amount / rate)

    def _type(self, kind: Kind, document: Row) -> str:
        if kind is INVOICES:
            return f"{document['Type']}PAYMENT"
        return "ARCREDITPAYMENT" if document["Type"] == "ACCRECCREDIT" else "APCREDITPAYMENT"

    def document_stub(self, kind: Kind, document: Row) -> Row:
        keys = ("Type", kind.id_key, kind.number_key, "CurrencyCode", "Contact")
        stub: Row = {key: document[key] for key in keys if key in document}
        contact = self.books["Contacts"].get(stub["Contact"]["ContactID"])
        return stub | {
            "Contact": {key: (contact or {}).get(key, "") for key in ("ContactID", "Name")},
            "HasErrors": False,
        }

    def apply(self, payment: Row, amount: Decimal, *, at: dt.datetime | None = None) -> None:
        """Settle the document, or unsettle it with a negative amount."""
        for kind in (INVOICES, CREDIT_NOTES):
            named = payment.get(kind.collection[:-1]) or {}
            known = self.books[kind.collection].get(str(named.get(kind.id_key, "")))
            if known is None or known["Status"] not in ("AUTHORISED", "PAID"):
                continue
            others = [paid for paid in known["Payments"] if paid["PaymentID"] != payment["PaymentID"]]
            stub = {key: payment[key] for key in ("PaymentID", "Date", "Amount", "Reference")}
            changed = {**known, "Payments": [*others, stub] if amount > 0 else others}
            settle(self.books, kind, changed, amount, date=payment["Date"], at=at)


def settle(
    books: Books,
    kind: Kind,
    changed: Row,
    amount: Decimal,
    *,
    date: str,
    paid_key: str = "AmountPaid",
    at: dt.datetime | None = None,
) -> None:
    """Take `amount` off what is outstanding; nothing left means paid."""
    key = outstanding_key(kind)
    changed[key] = changed[key] - amount
    if kind is INVOICES:
        changed[paid_key] = changed[paid_key] + amount
    changed["Status"] = "AUTHORISED" if changed[key] else "PAID"
    changed.pop("FullyPaidOnDate", None)
    if not changed[key]:
        changed["FullyPaidOnDate"] = date
    books.put(kind.collection, changed, at=at)
    Documents(books, kind).tell(changed, is_new=False)


def allocate(books: Books, credit_note_id: str, given: Mapping[str, Any]) -> Row:
    """Use a credit note against an invoice. Raises `Invalid`."""
    note = books["CreditNotes"].get(credit_note_id)
    invoice = books["Invoices"].get(str((given.get("Invoice") or {}).get("InvoiceID", "")))
    if note is None or invoice is None:
        raise Invalid("The invoice or credit note could not be found")
    amount = number_of(given.get("Amount"), "Amount")
    date = ms_date(books.open_day(given.get("Date")))
    if not 0 < amount <= min(note["RemainingCredit"], invoice["AmountDue"]):
        raise Invalid("The allocation amount exceeds the amount outstanding on one of the documents")
    allocation: Row = {
        "AllocationID": books.new_id("Allocations"),
        "Amount": amount,
        "Date": date,
        "Invoice": {"InvoiceID": invoice["InvoiceID"], "InvoiceNumber": invoice["InvoiceNumber"]},
    }
    settle(books, CREDIT_NOTES, {**note, "Allocations": [*note["Allocations"], allocation]}, amount, date=date)
    settle(books, INVOICES, dict(invoice), amount, date=date, paid_key="AmountCredited")
    return allocation


@dataclass(frozen=True)
class Transfers:
    books: Books

    def check(self, given: Mapping[str, Any]) -> Row:
        """A transfer as it would be stored. Raises `Invalid`."""
        source = self.books.bank_account(given.get("FromBankAccount"))
        target = self.books.bank_account(given.get("ToBankAccount"))
        if source["AccountID"] == target["AccountID"]:
            raise Invalid("The bank accounts must be different: the transfer is not valid for one account")
        currency = str(source.get("CurrencyCode", self.books.base_currency))
        if target.get("CurrencyCode", self.books.base_currency) != currency:
            raise Invalid("The transfer is not valid between bank accounts in different currencies")
        amount, date = number_of(given.get("Amount"), "Amount"), self.books.open_day(given.get("Date"))
        if amount <= 0:
            raise Invalid("The transfer amount must be greater than zero")
        return {
            "FromBankAccount": account_stub(source),
            "ToBankAccount": account_stub(target),
            "Amount": amount,
            "Date": ms_date(date),
            "Reference": str(given.get("Reference", "")),
            "CurrencyRate": self.books.rate(currency, date),
            "FromIsReconciled": False,
            "ToIsReconciled": False,
            "HasAttachments": False,
            "Status": "AUTHORISED",
        }

    def keep(self, row: Row, *, by: Author, at: dt.datetime | None = None) -> Row:
        row.setdefault("BankTransferID", self.books.new_id("BankTransfers"))
        row |= {
            "FromBankTransactionID": self.books.new_id("BankTransactions"),
            "ToBankTransactionID": self.books.new_id("BankTransactions"),
            "CreatedDateUTC": ms_date(at or self.books.simulator.now()),
        }
        self.books.put("BankTransfers", row, at=at)
        self.note(row, by=by, action="create")
        return row

    def check_delete(self, given: Mapping[str, Any]) -> Row:
        known = self.books["BankTransfers"].get(str(given.get("BankTransferID", "")))
        if known is None:
            raise Invalid("The bank transfer could not be found")
        if known["Status"] == "DELETED":
            raise Invalid("This bank transfer is already deleted")
        self.books.open_day(known["Date"])
        return {**known, "Status": "DELETED"}

    def keep_deleted(self, row: Row, *, by: Author) -> Row:
        self.books.put("BankTransfers", row)
        self.note(row, by=by, action="delete")
        return row

    def note(self, row: Row, *, by: Author, action: Action) -> None:
        account = self.books.account(row["FromBankAccount"]) or {}
        currency = str(account.get("CurrencyCode", self.books.base_currency))
        record = msgspec.structs.replace(
            reading.bank_transfer(self.books.shown(row), currency), exchange_rate=row["CurrencyRate"]
        )
        self.books.simulator.append_ledger(organisation=self.books.id, by=by, action=action, record=record)
