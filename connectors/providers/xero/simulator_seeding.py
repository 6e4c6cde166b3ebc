"""Standard records as native objects of a simulated organisation, as if staff had entered them in Xero's pages."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec

from connectors.providers.xero import writing
from connectors.providers.xero.simulator_books import Books, Row, account_stub, ms_date, tax_row
from connectors.providers.xero.simulator_charts import ACCOUNT_CLASSES, Tax
from connectors.providers.xero.simulator_documents import (
    BANK_TRANSACTIONS,
    CREDIT_NOTES,
    INVOICES,
    Documents,
    Kind,
)
from connectors.providers.xero.simulator_payments import Payments, Transfers
from connectors.sdk.records import (
    BankTransfer,
    Company,
    CreditNote,
    Customer,
    CustomerPayment,
    Document,
    DocumentLine,
    Expense,
    Invoice,
    LedgerAccount,
    Party,
    Record,
    TaxRate,
)
from connectors.sdk.streams import Draft
from connectors.testing import Action, Author

STATUSES = {"draft": "DRAFT", "open": "AUTHORISED", "paid": "PAID", "void": "VOIDED"}
ACCOUNT_TYPES = {
    "bank": "BANK",
    "asset": "CURRENT",
    "liability": "CURRLIAB",
    "equity": "EQUITY",
    "income": "REVENUE",
    "expense": "EXPENSE",
    "receivable": "CURRENT",
    "payable": "CURRLIAB",
}
SYSTEM_ACCOUNTS = {"receivable": "DEBTORS", "payable": "CREDITORS"}
MODES = {"inclusive": "Inclusive", "exclusive": "Exclusive", "none": "NoTax"}


class Seeding:
    """Takes records as they are: no lock date or missing account stands in the way of what staff did earlier."""

    def __init__(self, books: Books, by: Author) -> None:
        self.books = books
        self.by = by

    def put(self, record: Record) -> str:
        """Returns the native id. Raises TypeError for a data type that Xero does not have."""
        match record:
            case Company():
                return self._company(record)
            case LedgerAccount():
                return self._ledger_account(record)
            case TaxRate():
                return self._tax_rate(record)
            case Customer():
                return self._customer(record)
            case Invoice() | CreditNote():
                return self._document(record, INVOICES if isinstance(record, Invoice) else CREDIT_NOTES)
            case CustomerPayment():
                return self._payment(record)
            case BankTransfer():
                return self._transfer(record)
            case Expense():
                return self._expense(record)
        raise TypeError(f"Xero keeps no {record.data_type}")

    def _note(self, record: Record, id: str, *, is_known: bool) -> str:
        action: Action = "update" if is_known else "create"
        if is_known and getattr(record, "status", "") == "void":
            action = "void"
        changes: Row = {"id": id}
        if hasattr(record, "exchange_rate"):
            changes["exchange_rate"] = self.books.rate(record.currency, record.date)  # type: ignore[attr-defined]
        noted = msgspec.structs.replace(record, **changes)
        self.books.simulator.append_ledger(
            organisation=self.books.id,
            by=self.by,
            action=action,
            record=noted,
            settles=[(noted.settles, noted.document_id, noted.amount)] if isinstance(noted, CustomerPayment) else (),
        )
        return id

    def _at(self, record: Any) -> dt.datetime:
        return record.updated_at or self.books.simulator.now()

    def _company(self, record: Company) -> str:
        changes = {"name": record.name, "time_zone": record.time_zone or "UTC"}
        closed = str(record.books_closed_until) if record.books_closed_until else None
        self.books.simulator.open_organisation({"id": self.books.id, **changes, "books_closed_until": closed})
        return self.books.id

    def _ledger_account(self, record: LedgerAccount) -> str:
        known = self.books["Accounts"].get(record.id) or self.books.account({"Code": record.code}) or {}
        id = known.get("AccountID") or record.id or self.books.new_id("Accounts")
        kind = ACCOUNT_TYPES[record.kind]
        row: Row = {
            "TaxType": "NONE",
            "ShowInExpenseClaims": False,
            "HasAttachments": False,
            "Type": kind,
            "Class": ACCOUNT_CLASSES[kind],
            **known,
            "AccountID": id,
            "Code": record.code,
            "Name": record.name,
            "Status": "ARCHIVED" if record.is_archived else "ACTIVE",
            "EnablePaymentsToAccount": record.can_receive_payments and kind != "BANK",
        }
        if record.kind in SYSTEM_ACCOUNTS:
            row["SystemAccount"] = SYSTEM_ACCOUNTS[record.kind]
        if kind == "BANK":
            row |= {"BankAccountType": "BANK", "CurrencyCode": record.currency or self.books.base_currency}
        if not record.code or record.code == id:
            del row["Code"]
        self.books.put_account(row)
        return self._note(record, id, is_known=bool(known))

    def _tax_rate(self, record: TaxRate) -> str:
        is_known = record.code in self.books["TaxRates"]
        percent = f"{(record.rate * 100).normalize():f}"
        status = "DELETED" if record.is_archived else "ACTIVE"
        row = tax_row(Tax(record.code, record.name, percent, "OUTPUT"))
        self.books.put("TaxRates", row | {"Status": status})
        return self._note(record, record.code, is_known=is_known)

    def _customer(self, record: Customer) -> str:
        known = self.books["Contacts"].get(record.id)
        row: Row = {
            "IsSupplier": False,
            "IsCustomer": False,
            "HasAttachments": False,
            **(known or {}),
            "EmailAddress": "",
            "TaxNumber": "",
            "Addresses": [],
            "Phones": [],
            **writing.contact(Draft(key="", reference="", document=record)),
            "ContactStatus": "ARCHIVED" if record.is_archived else "ACTIVE",
        }
        row.setdefault("ContactID", record.id or self.books.new_id("Contacts"))
        self.books.put_contact(row, at=self._at(record))
        self.books.simulator.tell(
            self.books.id,
            category="CONTACT",
            collection="Contacts",
            id=row["ContactID"],
            is_new=known is None,
        )
        return self._note(record, row["ContactID"], is_known=known is not None)

    def _contact_id(self, party: Party, role: str) -> str:
        """The contact of a document, also an archived one; entered when new."""
        by_name = self.books.index("contacts").get(party.name.strip().casefold())
        id = party.id or (by_name or {}).get("id") or self.books.new_id("Contacts")
        known = self.books["Contacts"].get(id)
        if known is None or not known[role]:
            blank: Row = {"IsSupplier": False, "IsCustomer": False, "Addresses": [], "Phones": []}
            named = {"Name": party.name or "Unnamed", "EmailAddress": party.email, "ContactStatus": "ACTIVE"}
            self.books.put_contact({**blank, "ContactID": id, **named, **(known or {}), role: True})
        return str(id)

    def _document(self, record: Document, kind: Kind) -> str:
        books = self.books
        known = books[kind.collection].get(record.id)
        documents = Documents(books, kind)
        row: Row = {
            "Payments": [],
            "HasErrors": False,
            "SentToContact": False,
            "HasAttachments": False,
            "CurrencyRate": books.rate(record.currency),
            **(known or {}),
            "Type": kind.our_type,
            kind.id_key: record.id or books.new_id(kind.collection),
            kind.number_key: record.number or (known or {}).get(kind.number_key, ""),
            "Contact": {"ContactID": self._contact_id(record.customer, "IsCustomer")},
            "Date": ms_date(record.date),
            "DateString": f"{record.date}T00:00:00",
            "Reference": record.reference,
            "CurrencyCode": record.currency,
            "Status": STATUSES[record.status],
            "LineAmountTypes": MODES[record.tax_mode],
            "LineItems": self._lines(record),
            "SubTotal": record.total - record.tax_total,
            "TotalTax": record.tax_total,
            "Total": record.total,
        }
        row[kind.number_key] = row[kind.number_key] or documents.next_number(row)
        paid = sum((payment["Amount"] for payment in row["Payments"]), Decimal("0.00"))
        is_settled = record.status in ("paid", "void")
        left = Decimal("0.00") if is_settled else record.total - paid
        if kind is INVOICES:
            due = record.due_date or record.date
            row |= {"DueDate": ms_date(due), "DueDateString": f"{due}T00:00:00"}
            row |= {"AmountDue": left, "AmountPaid": paid, "AmountCredited": Decimal("0.00")}
            row["IsDiscounted"] = False
        else:
            row |= {"RemainingCredit": left, "Allocations": row.get("Allocations", [])}
        books.index(kind.collection).put(row[kind.number_key], {"id": row[kind.id_key]})
        books.put(kind.collection, row, at=self._at(record))
        documents.tell(row, is_new=known is None)
        return self._note(record, row[kind.id_key], is_known=known is not None)

    def _lines(self, record: Document) -> list[Row]:
        rows = [self._line(line, is_taxed=record.tax_mode != "none") for line in record.lines]
        if record.memo:
            rows.append({"LineItemID": self.books.new_id("LineItems"), "Description": record.memo})
        return rows

    def _line(self, line: DocumentLine, *, is_taxed: bool) -> Row:
        row: Row = {
            "LineItemID": self.books.new_id("LineItems"),
            "Description": line.description,
            "Quantity": line.quantity,
            "UnitAmount": (line.amount / (line.quantity or 1)).quantize(Decimal("0.0001")),
            "LineAmount": line.amount,
            "TaxType": (line.tax_rate or "NONE") if is_taxed else "NONE",
            "TaxAmount": line.tax_amount,
            "Tracking": [],
        }
        account = self.books.account({"AccountID": line.ledger_account}) or self.books.account(
            {"Code": line.ledger_account}
        )
        row["AccountCode"] = (account or {}).get("Code", line.ledger_account)
        if account:
            row["AccountID"] = account["AccountID"]
        return row | {"ItemCode": line.sku} if line.sku else row

    def _bank(self, ledger_account: str, currency: str) -> Row:
        """A bank account by code or id, opened when it is not there."""
        found = self.books.account({"AccountID": ledger_account}) or self.books.account({"Code": ledger_account})
        if found is not None:
            return found
        opened = LedgerAccount(
            id="", code=ledger_account, name=f"Account {ledger_account}", kind="bank", currency=currency
        )
        account = self.books["Accounts"].get(self._ledger_account(opened))
        assert account is not None
        return account

    def _payment(self, record: CustomerPayment) -> str:
        books, payments = self.books, Payments(self.books)
        if record.id in books["Payments"]:
            if record.status == "void":
                payments.delete(record.id, by=self.by)
            return record.id
        kind = CREDIT_NOTES if record.settles == "credit_note" else INVOICES
        account = self._bank(record.ledger_account, record.currency)
        row: Row = {
            "PaymentID": record.id or books.new_id("Payments"),
            "Date": ms_date(record.date),
            "Amount": record.amount,
            "BankAmount": record.amount,
            "CurrencyRate": books.rate(record.currency, record.date),
            "Reference": record.reference,
            "PaymentType": "ACCRECPAYMENT" if kind is INVOICES else "ARCREDITPAYMENT",
            "Status": "DELETED" if record.status == "void" else "AUTHORISED",
            "HasAccount": True,
            "HasValidationErrors": False,
            "IsReconciled": False,
            "Account": {key: account[key] for key in ("AccountID", "Code") if account.get(key)},
            kind.collection[:-1]: self._settled(record, kind),
        }
        record = msgspec.structs.replace(record, document_id=row[kind.collection[:-1]].get(kind.id_key, ""))
        books.put("Payments", row, at=self._at(record))
        if record.status == "open":
            payments.apply(row, record.amount, at=self._at(record))
        return self._note(record, row["PaymentID"], is_known=False)

    def _settled(self, record: CustomerPayment, kind: Kind) -> Row:
        """The document a payment names; one entered as paid becomes open for its payment."""
        entry = self.books.index(kind.collection).get(record.document_number)
        id = record.document_id or str((entry or {}).get("id", ""))
        known = self.books[kind.collection].get(id)
        if known is None:
            contact = {"ContactID": self._contact_id(record.customer, "IsCustomer"), "Name": record.customer.name}
            named = {kind.id_key: id, kind.number_key: record.document_number}
            return {**named, "Type": kind.our_type, "CurrencyCode": record.currency, "Contact": contact}
        if known["Status"] == "PAID" and not known["Payments"]:
            left = {"AmountDue": known["Total"]} if kind is INVOICES else {"RemainingCredit": known["Total"]}
            self.books.put(kind.collection, {**known, "Status": "AUTHORISED", **left})
        return Payments(self.books).document_stub(kind, known)

    def _transfer(self, record: BankTransfer) -> str:
        transfers = Transfers(self.books)
        known = self.books["BankTransfers"].get(record.id)
        if known is not None:
            if record.status == "void":
                transfers.keep_deleted({**known, "Status": "DELETED"}, by=self.by)
            return record.id
        row: Row = {
            "BankTransferID": record.id or self.books.new_id("BankTransfers"),
            "FromBankAccount": account_stub(self._bank(record.from_ledger_account, record.currency)),
            "ToBankAccount": account_stub(self._bank(record.to_ledger_account, record.currency)),
            "Amount": record.amount,
            "Date": ms_date(record.date),
            "Reference": record.reference,
            "CurrencyRate": self.books.rate(record.currency, record.date),
            "FromIsReconciled": False,
            "ToIsReconciled": False,
            "HasAttachments": False,
            "Status": "DELETED" if record.status == "void" else "AUTHORISED",
        }
        return str(transfers.keep(row, by=self.by, at=self._at(record))["BankTransferID"])

    def _expense(self, record: Expense) -> str:
        books = self.books
        known = books["BankTransactions"].get(record.id)
        line = DocumentLine(
            description=record.description,
            amount=record.amount,
            ledger_account=record.ledger_account,
            tax_rate=record.tax_rate,
        )
        row: Row = {
            **(known or {}),
            "Type": "SPEND",
            "BankTransactionID": record.id or books.new_id("BankTransactions"),
            "Contact": {"ContactID": self._contact_id(record.supplier, "IsSupplier")},
            "BankAccount": account_stub(self._bank(record.paid_from_ledger_account, record.currency)),
            "Date": ms_date(record.date),
            "DateString": f"{record.date}T00:00:00",
            "Reference": record.reference,
            "CurrencyCode": record.currency,
            "CurrencyRate": books.rate(record.currency, record.date),
            "Status": "DELETED" if record.status == "void" else "AUTHORISED",
            "LineAmountTypes": "Inclusive" if record.tax_rate else "NoTax",
            "LineItems": [self._line(line, is_taxed=bool(record.tax_rate))],
            "SubTotal": record.amount,
            "TotalTax": Decimal("0.00"),
            "Total": record.amount,
            "IsReconciled": False,
            "HasAttachments": False,
        }
        books.put(BANK_TRANSACTIONS.collection, row, at=self._at(record))
        return self._note(record, row["BankTransactionID"], is_known=known is not None)
