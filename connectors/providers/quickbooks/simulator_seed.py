"""Standard records put into a simulated company as people there would have entered them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from connectors.providers.quickbooks.simulator_books import Books
from connectors.providers.quickbooks.simulator_chart import account_body
from connectors.providers.quickbooks.simulator_documents import Documents
from connectors.sdk.records import (
    BankTransfer,
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

Json = dict[str, Any]

ACCOUNT_TYPES = {
    "bank": ("Bank", "Checking"),
    "asset": ("Other Current Asset", "OtherCurrentAssets"),
    "liability": ("Other Current Liability", "OtherCurrentLiabilities"),
    "equity": ("Equity", "OwnersEquity"),
    "income": ("Income", "SalesOfProductIncome"),
    "expense": ("Expense", "OtherMiscellaneousServiceCost"),
    "receivable": ("Accounts Receivable", "AccountsReceivable"),
    "payable": ("Accounts Payable", "AccountsPayable"),
}
MODES = {"inclusive": "TaxInclusive", "exclusive": "TaxExcluded", "none": "NotApplicable"}


class Unseedable(ValueError):
    """The record is of a type QuickBooks has nothing for."""


class Seeder:
    """One company's clerk."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.documents = Documents(books)

    def enter(self, record: Record, at: dt.datetime) -> tuple[str, Json, str]:
        """Create the record, or bring the one with its id up to date: entity, row and what was done."""
        entity, body = self._native(record)
        known = self.books.rows(entity).get(record.id) if record.id else None
        if known is not None:
            return self._change(entity, body, known, record)
        if entity in ("Customer", "Account", "TaxCode"):
            return entity, self._enter_entry(entity, body, record, at), "create"
        row = self.documents.create(entity, body, id=record.id, at=at, is_staff=True, allow_duplicates=True)
        return entity, self._settle(entity, row, record), "create"

    def _change(self, entity: str, body: Json, known: Json, record: Record) -> tuple[str, Json, str]:
        lock = {"Id": known["Id"], "SyncToken": known["SyncToken"]}
        if getattr(record, "status", "") == "void":
            return self._take_back(entity, known)
        if entity in ("Customer", "Account"):
            return entity, self.books.update_entry(entity, {**body, **lock, "sparse": True}), "update"
        if entity == "TaxCode":
            return entity, self.books.save(entity, {**known, **body}), "update"
        return entity, self.documents.update(entity, {**body, **lock, "sparse": True}), "update"

    def _take_back(self, entity: str, known: Json) -> tuple[str, Json, str]:
        lock = {"Id": known["Id"], "SyncToken": known["SyncToken"]}
        if entity in ("Invoice", "Payment"):
            return entity, self.documents.void(entity, lock), "void"
        self.documents.delete(entity, lock)
        return entity, known, "delete"

    def _enter_entry(self, entity: str, body: Json, record: Record, at: dt.datetime) -> Json:
        if entity == "TaxCode":
            id = record.id or str(getattr(record, "code", ""))
            self.books.add("TaxRate", self._rate_body(record), id=id, at=at)
            return self.books.add(entity, body, id=id, at=at)
        id = record.id or (str(getattr(record, "code", "")) if entity == "Account" else "")
        return self.books.create_entry(entity, body, id=id, at=at)

    def _settle(self, entity: str, row: Json, record: Record) -> Json:
        """A paid invoice was paid into undeposited funds; a void one was voided after it was entered."""
        status = getattr(record, "status", "")
        if status == "void":
            return self._take_back(entity, row)[1]
        if entity == "Invoice" and status == "paid" and row["TotalAmt"]:
            line = {"Amount": row["TotalAmt"], "LinkedTxn": [{"TxnId": row["Id"], "TxnType": "Invoice"}]}
            body = {
                "CustomerRef": row["CustomerRef"],
                "CurrencyRef": row["CurrencyRef"],
                "TotalAmt": row["TotalAmt"],
                "TxnDate": row["TxnDate"],
                "Line": [line],
            }
            self.documents.create("Payment", body, is_staff=True)
        return self.books.get(entity, row["Id"])

    # ------------------------------------------------------------------ standard to native

    def _native(self, record: Record) -> tuple[str, Json]:
        match record:
            case Customer():
                return "Customer", self._customer(record)
            case LedgerAccount():
                kind, subtype = ACCOUNT_TYPES[record.kind]
                currency = record.currency or self.books.home
                body = account_body("", record.name, kind, subtype, currency)
                return "Account", body | {"Active": not record.is_archived}
            case TaxRate():
                return "TaxCode", self._tax_code(record)
            case Invoice():
                due = {"DueDate": record.due_date.isoformat()} if record.due_date else {}
                return "Invoice", self._document(record) | due
            case CreditNote():
                return self._credit_note(record)
            case CustomerPayment():
                return "Payment", self._payment(record)
            case BankTransfer():
                return "Transfer", {
                    "FromAccountRef": {"value": record.from_ledger_account},
                    "ToAccountRef": {"value": record.to_ledger_account},
                    "Amount": record.amount,
                    **self._heading(record.date, record.currency, record.reference),
                }
            case Expense():
                return "Purchase", self._purchase(record)
        raise Unseedable(f"QuickBooks has nothing for a record of type {record.data_type}")

    def _heading(self, date: dt.date, currency: str, reference: str) -> Json:
        return {"TxnDate": date.isoformat(), "CurrencyRef": {"value": currency}, "PrivateNote": reference}

    def _customer(self, record: Customer) -> Json:
        place = record.address
        return {
            "DisplayName": record.name,
            "CompanyName": record.company,
            "PrimaryEmailAddr": {"Address": record.email} if record.email else {},
            "PrimaryPhone": {"FreeFormNumber": record.phone} if record.phone else {},
            "PrimaryTaxIdentifier": record.tax_number,
            "BillAddr": {
                "Line1": place.line1,
                "Line2": place.line2,
                "City": place.city,
                "CountrySubDivisionCode": place.region,
                "PostalCode": place.postal_code,
                "Country": place.country,
            },
            "CurrencyRef": {"value": record.currency or self.books.home},
            "Active": not record.is_archived,
        }

    def _tax_code(self, record: TaxRate) -> Json:
        detail = {"TaxRateRef": {"value": record.id or record.code}, "TaxTypeApplicable": "TaxOnAmount", "TaxOrder": 0}
        return {
            "Name": record.name,
            "Active": not record.is_archived,
            "Taxable": True,
            "TaxGroup": True,
            "SalesTaxRateList": {"TaxRateDetail": [detail] if record.is_for_sales else []},
            "PurchaseTaxRateList": {"TaxRateDetail": [detail]},
        }

    def _rate_body(self, record: Record) -> Json:
        percent = getattr(record, "rate", Decimal(0)) * 100
        return {"Name": getattr(record, "name", ""), "RateValue": percent, "AgencyRef": {"value": "1"}, "Active": True}

    def _document(self, record: Document) -> Json:
        is_taxed = any(line.tax_rate for line in record.lines)
        return {
            "DocNumber": record.number,
            "CustomerRef": {"value": self._person("Customer", record.customer, record.currency)},
            "BillEmail": {"Address": record.customer.email} if record.customer.email else {},
            "CustomerMemo": {"value": record.memo} if record.memo else {},
            "GlobalTaxCalculation": MODES[record.tax_mode],
            "Line": [self._line(line, record) for line in record.lines],
            "TxnTaxDetail": {"TotalTax": record.tax_total} if is_taxed else {},
            **self._heading(record.date, record.currency, record.reference),
        }

    def _line(self, line: DocumentLine, record: Document) -> Json:
        untaxed = "" if self.books.is_american or record.tax_mode == "none" else "10"
        code = line.tax_rate or untaxed
        detail: Json = {"ItemRef": {"value": self._item(line.ledger_account)}}
        if code:
            detail["TaxCodeRef"] = {"value": code}
        if line.quantity != 1:
            detail["Qty"] = line.quantity
        net = line.amount
        if record.tax_mode == "inclusive":
            detail["TaxInclusiveAmt"] = line.amount
            net = line.amount - line.tax_amount
        return {
            "Description": line.description,
            "Amount": net,
            "DetailType": "SalesItemLineDetail",
            "SalesItemLineDetail": detail,
        }

    def _credit_note(self, record: CreditNote) -> tuple[str, Json]:
        body = self._document(record)
        if record.refund_ledger_account:
            return "RefundReceipt", body | {"DepositToAccountRef": {"value": record.refund_ledger_account}}
        return "CreditMemo", body

    def _payment(self, record: CustomerPayment) -> Json:
        kind = "CreditMemo" if record.settles == "credit_note" else "Invoice"
        linked = self.books.rows(kind).get(record.document_id) if record.document_id else None
        who = linked["CustomerRef"]["value"] if linked else self._person("Customer", record.customer, record.currency)
        links = [{"TxnId": record.document_id, "TxnType": kind}] if linked else []
        return {
            "CustomerRef": {"value": who},
            "TotalAmt": record.amount,
            "PaymentRefNum": record.reference[:21],
            "DepositToAccountRef": {"value": record.ledger_account},
            "Line": [{"Amount": record.amount, "LinkedTxn": links}] if links else [],
            **self._heading(record.date, record.currency, record.reference),
        }

    def _purchase(self, record: Expense) -> Json:
        payee = record.supplier
        named = {"value": self._person("Vendor", payee, record.currency), "type": "Vendor"} if payee != Party() else {}
        account = self.books.get("Account", record.paid_from_ledger_account)
        detail: Json = {"AccountRef": {"value": record.ledger_account}}
        if record.tax_rate:
            detail |= {"TaxCodeRef": {"value": record.tax_rate}, "TaxInclusiveAmt": abs(record.amount)}
        line = {
            "Description": record.description,
            "Amount": abs(record.amount),
            "DetailType": "AccountBasedExpenseLineDetail",
            "AccountBasedExpenseLineDetail": detail,
        }
        return {
            "AccountRef": {"value": account["Id"]},
            "PaymentType": "CreditCard" if account["AccountType"] == "Credit Card" else "Cash",
            "Credit": record.amount < 0,
            "EntityRef": named,
            "DocNumber": record.reference[:21],
            "GlobalTaxCalculation": "TaxInclusive" if record.tax_rate else "NotApplicable",
            "Line": [line],
            **self._heading(record.date, record.currency, record.reference),
        }

    # ------------------------------------------------------------------ what documents name

    def _person(self, kind: str, party: Party, currency: str) -> str:
        """The clerk opens a customer or supplier who is not there yet."""
        if party.id and party.id in self.books.rows(kind):
            return party.id
        name = party.name or f"{kind} {party.id or 'unknown'}"
        for wanted in (name, f"{name} ({currency})"):
            holder = self.books.person_named(wanted)
            if holder and holder[0] == kind and holder[1]["CurrencyRef"]["value"] == currency:
                return str(holder[1]["Id"])
        free = f"{name} ({currency})" if self.books.person_named(name) else name
        body: Json = {"DisplayName": free, "CurrencyRef": {"value": currency}}
        if party.email:
            body["PrimaryEmailAddr"] = {"Address": party.email}
        return str(self.books.create_entry(kind, body, id=party.id)["Id"])

    def _item(self, account: str) -> str:
        for row in self.books.rows("Item").values():
            if row["IncomeAccountRef"]["value"] == account:
                return str(row["Id"])
        name = self.books.active("Account", account)["Name"]
        body = {"Name": name, "Type": "Service", "IncomeAccountRef": {"value": account}}
        return str(self.books.create_entry("Item", body)["Id"])
