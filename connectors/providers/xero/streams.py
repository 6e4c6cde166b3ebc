"""The data types we read from Xero and the ones we write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import msgspec

from connectors.providers.xero import fields, reading, writing
from connectors.providers.xero.client import rows_of
from connectors.providers.xero.listing import Row, page_of
from connectors.providers.xero.resources import (
    BATCH_PARAMS,
    WholeList,
    WritableXeroStream,
    XeroStream,
    digest,
    xero,
)
from connectors.sdk import records
from connectors.sdk.client import Client
from connectors.sdk.errors import RecordRejected
from connectors.sdk.records import Record
from connectors.sdk.streams import Cursor, Draft, Field, Outcome, Page, SourceRecord, Stream, Written

#: Unit amounts keep four decimals, so that a price per piece multiplies back to the line's amount.
DOCUMENT_PARAMS = {**BATCH_PARAMS, "unitdp": "4"}


class Company(WholeList):
    data_type: ClassVar[str] = "company"
    label: ClassVar[str] = "Organisation"
    record: ClassVar[type[Record]] = records.Company
    fields: ClassVar[tuple[Field, ...]] = fields.COMPANY
    path: ClassVar[str] = "/Organisation"
    list_key: ClassVar[str] = "Organisations"
    id_key: ClassVar[str] = "OrganisationID"
    deletes: ClassVar[Literal["flag", "feed", "listing", "never"]] = "never"
    poll_seconds: ClassVar[int] = 3600
    knows_modified_since: ClassVar[bool] = False

    def read(self, row: Row) -> Record:
        return reading.company(row)

    def version(self, row: Row) -> str:
        return digest(row)


class LedgerAccounts(WholeList):
    data_type: ClassVar[str] = "ledger_account"
    label: ClassVar[str] = "Chart of accounts"
    record: ClassVar[type[Record]] = records.LedgerAccount
    fields: ClassVar[tuple[Field, ...]] = fields.LEDGER_ACCOUNT
    path: ClassVar[str] = "/Accounts"
    list_key: ClassVar[str] = "Accounts"
    id_key: ClassVar[str] = "AccountID"
    poll_seconds: ClassVar[int] = 3600

    def read(self, row: Row) -> Record:
        return reading.ledger_account(row)


class TaxRates(WholeList):
    data_type: ClassVar[str] = "tax_rate"
    label: ClassVar[str] = "Tax rates"
    record: ClassVar[type[Record]] = records.TaxRate
    fields: ClassVar[tuple[Field, ...]] = fields.TAX_RATE
    path: ClassVar[str] = "/TaxRates"
    list_key: ClassVar[str] = "TaxRates"
    id_key: ClassVar[str] = "TaxType"
    poll_seconds: ClassVar[int] = 3600
    knows_modified_since: ClassVar[bool] = False

    def read(self, row: Row) -> Record:
        return reading.tax_rate(row)


class Contacts(WritableXeroStream):
    """POST finds a contact by name when it exists, so a contact is never entered twice."""

    data_type: ClassVar[str] = "customer"
    label: ClassVar[str] = "Contacts"
    record: ClassVar[type[Record]] = records.Customer
    fields: ClassVar[tuple[Field, ...]] = fields.CUSTOMER
    path: ClassVar[str] = "/Contacts"
    list_key: ClassVar[str] = "Contacts"
    id_key: ClassVar[str] = "ContactID"
    params: ClassVar[dict[str, str]] = {"includeArchived": "true"}
    takes_ids: ClassVar[bool] = True
    create_method: ClassVar[str] = "POST"
    reference_key: ClassVar[str] = "ContactNumber"
    reference_length: ClassVar[int] = 50
    page_url: ClassVar[str] = "https://go.xero.com/Contacts/View/{id}"
    answers_record: ClassVar[bool] = True

    def read(self, row: Row) -> Record:
        return reading.customer(row)

    def write(self, draft: Draft) -> Row:
        return writing.contact(draft)

    def change(self, draft: Draft) -> Row:
        """A contact that is there keeps its own number: only the ones we create are found by ours."""
        return {name: value for name, value in self.write(draft).items() if name != self.reference_key}

    def emptied(self, draft: Draft, row: Row) -> Row:
        return writing.emptied_contact(draft, row)

    def is_void(self, row: Row) -> bool:
        return row.get("ContactStatus") == "ARCHIVED"

    def voided(self, row: Row) -> Row:
        return {"ContactStatus": "ARCHIVED"}


class Invoices(WritableXeroStream):
    data_type: ClassVar[str] = "invoice"
    label: ClassVar[str] = "Invoices"
    record: ClassVar[type[Record]] = records.Invoice
    fields: ClassVar[tuple[Field, ...]] = fields.INVOICE
    path: ClassVar[str] = "/Invoices"
    list_key: ClassVar[str] = "Invoices"
    id_key: ClassVar[str] = "InvoiceID"
    only: ClassVar[str] = 'Type=="ACCREC"'
    params: ClassVar[dict[str, str]] = {"unitdp": "4"}
    takes_ids: ClassVar[bool] = True
    write_params: ClassVar[dict[str, str]] = DOCUMENT_PARAMS
    number_key: ClassVar[str] = "InvoiceNumber"
    page_url: ClassVar[str] = "https://go.xero.com/AccountsReceivable/View.aspx?InvoiceID={id}"

    def read(self, row: Row) -> Record:
        return reading.invoice(row)

    def write(self, draft: Draft) -> Row:
        return writing.invoice(draft)

    def voided(self, row: Row) -> Row:
        return {"Status": "DELETED" if row.get("Status") in ("DRAFT", "SUBMITTED") else "VOIDED"}


class CreditNotes(WritableXeroStream):
    data_type: ClassVar[str] = "credit_note"
    label: ClassVar[str] = "Credit notes"
    record: ClassVar[type[Record]] = records.CreditNote
    fields: ClassVar[tuple[Field, ...]] = fields.CREDIT_NOTE
    path: ClassVar[str] = "/CreditNotes"
    list_key: ClassVar[str] = "CreditNotes"
    id_key: ClassVar[str] = "CreditNoteID"
    only: ClassVar[str] = 'Type=="ACCRECCREDIT"'
    params: ClassVar[dict[str, str]] = {"unitdp": "4"}
    write_params: ClassVar[dict[str, str]] = DOCUMENT_PARAMS
    number_key: ClassVar[str] = "CreditNoteNumber"
    page_url: ClassVar[str] = "https://go.xero.com/AccountsReceivable/ViewCreditNote.aspx?creditNoteID={id}"

    def read(self, row: Row) -> Record:
        return reading.credit_note(row)

    def write(self, draft: Draft) -> Row:
        return writing.credit_note(draft)

    def voided(self, row: Row) -> Row:
        return {"Status": "DELETED" if row.get("Status") in ("DRAFT", "SUBMITTED") else "VOIDED"}


class CustomerPayments(WritableXeroStream):
    data_type: ClassVar[str] = "customer_payment"
    label: ClassVar[str] = "Payments"
    record: ClassVar[type[Record]] = records.CustomerPayment
    fields: ClassVar[tuple[Field, ...]] = fields.CUSTOMER_PAYMENT
    path: ClassVar[str] = "/Payments"
    list_key: ClassVar[str] = "Payments"
    id_key: ClassVar[str] = "PaymentID"
    only: ClassVar[str] = 'PaymentType=="ACCRECPAYMENT" OR PaymentType=="ARCREDITPAYMENT"'
    void_batch_size: ClassVar[int] = 10  # they are deleted one by one
    total_key: ClassVar[str] = "Amount"

    def read(self, row: Row) -> Record:
        return reading.customer_payment(row)

    def write(self, draft: Draft) -> Row:
        return writing.customer_payment(draft)

    def is_same(self, draft: Draft, row: Row) -> bool:
        """Several payments of one sale may carry the same reference."""
        wanted, found = draft.document, reading.customer_payment(row)
        return isinstance(wanted, records.CustomerPayment) and (
            wanted.amount == found.amount
            and wanted.settles == found.settles
            and wanted.document_id in ("", found.document_id)
        )

    def update(self, client: Client, external_id: str, draft: Draft, *, version: str) -> Outcome:
        return RecordRejected("Xero does not let a payment be changed. Delete it and enter it again.")

    def send_void(self, client: Client, rows: Sequence[Row]) -> list[Outcome]:
        """Payments are deleted one by one."""
        return [self._delete(client, row) for row in rows]

    def _delete(self, client: Client, row: Row) -> Outcome:
        try:
            path = f"{self.path}/{row[self.id_key]}"
            answer = xero(client).send("POST", path, {"Status": "DELETED"}, {}, key=self.void_key([row]))
        except RecordRejected as refused:
            return refused
        return self.written(client, answer[self.list_key][0])


class BankTransfers(WholeList, WritableXeroStream):
    """Xero answers them in one piece and tells neither the currency nor when one last changed."""

    data_type: ClassVar[str] = "bank_transfer"
    label: ClassVar[str] = "Bank transfers"
    record: ClassVar[type[Record]] = records.BankTransfer
    fields: ClassVar[tuple[Field, ...]] = fields.BANK_TRANSFER
    path: ClassVar[str] = "/BankTransfers"
    list_key: ClassVar[str] = "BankTransfers"
    id_key: ClassVar[str] = "BankTransferID"
    params: ClassVar[dict[str, str]] = {"includeDeleted": "true"}
    total_key: ClassVar[str] = "Amount"
    write_params: ClassVar[dict[str, str]] = {}

    def read(self, row: Row) -> Record:
        return reading.bank_transfer(row, row["CurrencyCode"])

    def write(self, draft: Draft) -> Row:
        return writing.bank_transfer(draft)

    def version(self, row: Row) -> str:
        return digest({key: row.get(key) for key in ("BankTransferID", "Status", "Amount", "Reference")})

    def page(self, client: Client, rows: list[Row], cursor: Cursor) -> Page:
        """With the accounts' currencies, which take one more call when there is anything to read."""
        if not rows:
            return page_of([], self.source, self.id_key, cursor, is_last=True)
        answer = xero(client).get("/Accounts", {"where": 'Type=="BANK"'})
        accounts = {account["AccountID"]: account for account in rows_of(answer, "Accounts")}

        def read(row: Row) -> SourceRecord:
            return msgspec.structs.replace(self.source(_with_accounts(row, accounts)), raw=row)

        return page_of(rows, read, self.id_key, cursor, is_last=True)

    def rows(self, client: Client, external_ids: Sequence[str]) -> list[Row]:
        return XeroStream.rows(self, client, external_ids)

    def update(self, client: Client, external_id: str, draft: Draft, *, version: str) -> Outcome:
        return RecordRejected("Xero does not let a bank transfer be changed. Delete it and enter it again.")


class Expenses(WritableXeroStream):
    """Spent money. What came back is written as received money, which is not listed: most of it is takings."""

    data_type: ClassVar[str] = "expense"
    label: ClassVar[str] = "Spent money"
    record: ClassVar[type[Record]] = records.Expense
    fields: ClassVar[tuple[Field, ...]] = fields.EXPENSE
    path: ClassVar[str] = "/BankTransactions"
    list_key: ClassVar[str] = "BankTransactions"
    id_key: ClassVar[str] = "BankTransactionID"
    only: ClassVar[str] = 'Type=="SPEND"'
    ours: ClassVar[str] = 'Type=="SPEND" OR Type=="RECEIVE"'
    params: ClassVar[dict[str, str]] = {"unitdp": "4"}
    write_params: ClassVar[dict[str, str]] = DOCUMENT_PARAMS
    page_url: ClassVar[str] = "https://go.xero.com/Bank/ViewTransaction.aspx?bankTransactionID={id}"

    def read(self, row: Row) -> Record:
        return reading.expense(row)

    def write(self, draft: Draft) -> Row:
        return writing.expense(draft)

    def written(self, client: Client, element: Row) -> Written:
        found = super().written(client, element)
        if element.get("Type") != "RECEIVE" or found.total is None:
            return found
        return replace(found, total=-found.total)

    def voided(self, row: Row) -> Row:
        """Xero wants the required fields again, even to delete."""
        required: Row = {key: row[key] for key in ("Type", "Contact", "BankAccount", "LineItems") if key in row}
        return {**required, "Status": "DELETED"}


def _with_accounts(row: Row, accounts: Mapping[str, Row]) -> Row:
    """A transfer with its accounts in full, and the currency of the one the money leaves."""
    known: Row = {
        key: accounts.get(row[key].get("AccountID", ""), row[key]) for key in ("FromBankAccount", "ToBankAccount")
    }
    currency = known["FromBankAccount"].get("CurrencyCode")
    return {**row, **known, **({"CurrencyCode": currency} if currency else {})}


STREAMS: tuple[Stream, ...] = (
    Company(),
    LedgerAccounts(),
    TaxRates(),
    Contacts(),
    Invoices(),
    CreditNotes(),
    CustomerPayments(),
    BankTransfers(),
    Expenses(),
)
