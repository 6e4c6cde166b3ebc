"""The data types of a QuickBooks company."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from connectors.providers.quickbooks import labels
from connectors.providers.quickbooks.batches import (
    Listed,
    Prepared,
    Written30,
    by_number,
    company_client,
    document_references,
    documents_of,
    each,
    number_of,
    party_references,
    typed,
)
from connectors.providers.quickbooks.client import QuickBooksClient, quoted
from connectors.providers.quickbooks.listing import Entity
from connectors.providers.quickbooks.manifest import PAGE_SIZE
from connectors.providers.quickbooks.names import display_name, name_key, remember_accounts
from connectors.providers.quickbooks.rates import at_day_rates, purchase_percents
from connectors.providers.quickbooks.reading import (
    NO_TAX,
    company,
    customer,
    deposit,
    ledger_account,
    money,
    payment,
    purchase,
    read_rows,
    tax_rate,
    transfer,
)
from connectors.providers.quickbooks.reading_documents import credit_memo, invoice, refund_receipt
from connectors.providers.quickbooks.writing import (
    NUMBER_LENGTH,
    References,
    credit_note_body,
    customer_body,
    expense_body,
    invoice_body,
    payment_body,
    taxed_with,
    transfer_body,
)
from connectors.sdk.client import Client
from connectors.sdk.records import (
    BankTransfer,
    Company,
    CreditNote,
    Customer,
    CustomerPayment,
    Expense,
    Invoice,
    LedgerAccount,
    TaxRate,
)
from connectors.sdk.streams import Cursor, Draft, Page, Stream

Json = dict[str, Any]
_ACTIVE_OR_NOT = "Active in (true, false)"


class Companies(Stream):
    """The company itself, from its profile and its preferences in one call."""

    data_type = "company"
    label = "Company settings"
    record = Company
    fields = labels.COMPANY
    page_size = 1
    deletes = "never"
    poll_seconds = 6 * 3600

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        quickbooks = company_client(client)
        profile, preferences = quickbooks.queries(["select * from CompanyInfo", "select * from Preferences"])
        realm = quickbooks.access.organisation_id
        rows = [_company_row(realm, profile, preferences)]
        records, rejected = read_rows(rows, _read_company)
        yield Page(records=records, rejected=rejected, cursor={"is_complete": True}, total=1, is_last=True)

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        return next(self.pages(client, None))


def _company_row(realm: str, profile: Json, preferences: Json) -> Json:
    """Two objects as one row; a change of either changes its version."""
    info = profile.get("CompanyInfo", [{}])[0]
    chosen = preferences.get("Preferences", [{}])[0]
    stamps = [part.get("MetaData", {}).get("LastUpdatedTime", "") for part in (info, chosen)]
    tokens = [str(part.get("SyncToken", "")) for part in (info, chosen)]
    return {
        "Id": realm,
        "SyncToken": "/".join(tokens),
        "MetaData": {"LastUpdatedTime": max(stamps)},
        "CompanyInfo": info,
        "Preferences": chosen,
    }


def _read_company(row: Json) -> Company:
    return company(row["Id"], row["CompanyInfo"], row["Preferences"])


class TaxRates(Stream):
    """All tax codes with their rates in one call; there is no list of changes."""

    data_type = "tax_rate"
    label = "Sales tax codes"
    record = TaxRate
    fields = labels.TAX_RATE
    page_size = PAGE_SIZE
    deletes = "flag"
    poll_seconds = 6 * 3600

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        quickbooks = company_client(client)
        start = 1
        percents: dict[str, Decimal] = {}
        while True:
            codes, rates = self._ask(quickbooks, start)
            percents |= {rate["Id"]: money(rate.get("RateValue", 0)) for rate in rates}
            records, rejected = read_rows(filter(_is_a_tax, codes), partial(tax_rate, percent_by_rate=percents))
            is_last = len(codes) < self.page_size
            yield Page(records=records, rejected=rejected, cursor={"is_complete": is_last}, is_last=is_last)
            if is_last:
                return
            start += self.page_size

    def _ask(self, client: QuickBooksClient, start: int) -> tuple[list[Json], list[Json]]:
        """A page of codes; the rates they refer to come whole with the first."""
        page = f"select * from TaxCode where {_ACTIVE_OR_NOT} startposition {start} maxresults {self.page_size}"
        if start > 1:
            return client.query(page).get("TaxCode", []), []
        rates = f"select * from TaxRate where {_ACTIVE_OR_NOT} maxresults {PAGE_SIZE}"
        first, second = client.queries([page, rates])
        return first.get("TaxCode", []), second.get("TaxRate", [])

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        wanted = set(external_ids)
        found = [record for page in self.pages(client, None) for record in page.records if record.external_id in wanted]
        return Page(records=tuple(found), cursor={}, is_last=True)


def _is_a_tax(code: Json) -> bool:
    """The code NON of companies in the United States says "no tax", which a standard record says by naming no code."""
    return code.get("Id") != NO_TAX


class LedgerAccounts(Listed):
    data_type = "ledger_account"
    label = "Chart of accounts"
    record = LedgerAccount
    fields = labels.LEDGER_ACCOUNT
    deletes = "flag"
    poll_seconds = 3600
    has_feed = False
    entities = (Entity("Account", ledger_account, _ACTIVE_OR_NOT),)


class Customers(Written30):
    data_type = "customer"
    label = "Customers"
    record = Customer
    fields = labels.CUSTOMER
    deletes = "flag"
    has_feed = False
    entities = (Entity("Customer", customer, _ACTIVE_OR_NOT),)
    web_page = {"Customer": "/app/customerdetail?nameId={id}"}
    answers_record = True

    def prepare(self, client: QuickBooksClient, drafts: Sequence[Draft], *, create: bool, key: str) -> list[Prepared]:
        return each(drafts, lambda draft: ("Customer", customer_body(typed(draft, Customer))))

    def search(self, drafts: Sequence[Draft]) -> list[tuple[Entity, str]]:
        names = [display_name(found.name) for found in documents_of(drafts, Customer)]
        return [by_number(self.entities[0], "DisplayName", names)]

    def is_found(self, draft: Draft, row: Json) -> bool:
        return name_key(row["DisplayName"]) == name_key(display_name(typed(draft, Customer).name))

    def void_item(self, entity: str, row: Json) -> Json:
        """Customers cannot be deleted; they are made inactive."""
        body = {"Id": row["Id"], "SyncToken": row["SyncToken"], "sparse": True, "Active": False}
        return {"operation": "update", entity: body}


class Invoices(Written30):
    data_type = "invoice"
    label = "Invoices"
    record = Invoice
    fields = labels.INVOICE
    deletes = "feed"
    entities = (Entity("Invoice", invoice),)
    web_page = {"Invoice": "/app/invoice?txnId={id}"}

    def prepare(self, client: QuickBooksClient, drafts: Sequence[Draft], *, create: bool, key: str) -> list[Prepared]:
        references = document_references(client, documents_of(drafts, Invoice), create=create, key=key)
        return each(
            at_day_rates(client, drafts),
            lambda draft: ("Invoice", invoice_body(typed(draft, Invoice), draft.reference, references)),
        )

    def search(self, drafts: Sequence[Draft]) -> list[tuple[Entity, str]]:
        return [by_number(self.entities[0], "DocNumber", map(number_of, drafts))]

    def void_item(self, entity: str, row: Json) -> Json:
        return {"operation": "void", entity: {"Id": row["Id"], "SyncToken": row["SyncToken"]}}


class CreditNotes(Written30):
    """Credit memos, and refund receipts for what was paid back at once."""

    data_type = "credit_note"
    label = "Credit memos and refund receipts"
    record = CreditNote
    fields = labels.CREDIT_NOTE
    deletes = "feed"
    settles_on_document = True
    entities = (Entity("CreditMemo", credit_memo), Entity("RefundReceipt", refund_receipt))
    web_page = {"CreditMemo": "/app/creditmemo?txnId={id}", "RefundReceipt": "/app/refundreceipt?txnId={id}"}

    def prepare(self, client: QuickBooksClient, drafts: Sequence[Draft], *, create: bool, key: str) -> list[Prepared]:
        references = document_references(client, documents_of(drafts, CreditNote), create=create, key=key)
        priced = at_day_rates(client, drafts)
        return each(priced, lambda draft: credit_note_body(typed(draft, CreditNote), draft.reference, references))

    def search(self, drafts: Sequence[Draft]) -> list[tuple[Entity, str]]:
        memos, receipts = self.entities
        paid_back = [draft for draft in drafts if typed(draft, CreditNote).refund_ledger_account]
        others = [draft for draft in drafts if not typed(draft, CreditNote).refund_ledger_account]
        return [
            by_number(entity, "DocNumber", map(number_of, some))
            for entity, some in ((memos, others), (receipts, paid_back))
            if some
        ]


class CustomerPayments(Written30):
    data_type = "customer_payment"
    label = "Payments received"
    record = CustomerPayment
    fields = labels.CUSTOMER_PAYMENT
    deletes = "feed"
    entities = (Entity("Payment", payment),)
    web_page = {"Payment": "/app/recvpayment?txnId={id}"}

    def prepare(self, client: QuickBooksClient, drafts: Sequence[Draft], *, create: bool, key: str) -> list[Prepared]:
        payments = documents_of(drafts, CustomerPayment)
        parties = [(one.customer, one.currency) for one in payments]
        references = References(
            parties=party_references(client, "Customer", parties, create=create, key=key),
            documents=_invoice_ids(client, payments),
        )
        return each(
            at_day_rates(client, drafts),
            lambda draft: ("Payment", payment_body(typed(draft, CustomerPayment), draft.reference, references)),
        )

    def search(self, drafts: Sequence[Draft]) -> list[tuple[Entity, str]]:
        return [by_number(self.entities[0], "PaymentRefNum", (draft.reference[:NUMBER_LENGTH] for draft in drafts))]

    def void_item(self, entity: str, row: Json) -> Json:
        body = {"Id": row["Id"], "SyncToken": row["SyncToken"], "sparse": True}
        return {"operation": "update", "optionsData": "include=void", entity: body}


def _invoice_ids(client: QuickBooksClient, payments: Sequence[CustomerPayment]) -> dict[str, str]:
    """Invoices known only by number, looked up together."""
    numbers = [one.document_number for one in payments if one.document_number and not one.document_id]
    if not numbers:
        return {}
    entity, statement = by_number(
        Entity("Invoice", invoice), "DocNumber", (number[:NUMBER_LENGTH] for number in numbers)
    )
    ids = {row["DocNumber"]: row["Id"] for row in client.query(statement).get(entity.name, [])}
    return {number: ids[number[:NUMBER_LENGTH]] for number in numbers if number[:NUMBER_LENGTH] in ids}


class BankTransfers(Written30):
    """Transfers have no number to search by: they are found by date and recognised by their memo."""

    data_type = "bank_transfer"
    label = "Transfers"
    record = BankTransfer
    fields = labels.BANK_TRANSFER
    deletes = "feed"
    entities = (Entity("Transfer", transfer),)
    web_page = {"Transfer": "/app/transfer?txnId={id}"}

    def prepare(self, client: QuickBooksClient, drafts: Sequence[Draft], *, create: bool, key: str) -> list[Prepared]:
        priced = at_day_rates(client, drafts)
        return each(priced, lambda draft: ("Transfer", transfer_body(typed(draft, BankTransfer), draft.reference)))

    def search(self, drafts: Sequence[Draft]) -> list[tuple[Entity, str]]:
        return by_day(self.entities[0], documents_of(drafts, BankTransfer))


def by_day(entity: Entity, documents: Sequence[BankTransfer] | Sequence[Expense]) -> list[tuple[Entity, str]]:
    """For what has no number: everything of these days, to be recognised by its memo."""
    days = sorted({one.date.isoformat() for one in documents})
    return [
        (entity, f"select * from {entity.name} where TxnDate = {quoted(day)} orderby Id maxresults {PAGE_SIZE}")
        for day in days
    ]


class Expenses(Written30):
    """Purchases. Money that came back to a bank account is written as a deposit; deposits are not listed, because most of
    them are takings."""

    data_type = "expense"
    label = "Expenses"
    record = Expense
    fields = labels.EXPENSE
    deletes = "feed"
    entities = (Entity("Purchase", purchase),)
    also_written = (Entity("Deposit", deposit),)
    web_page = {"Purchase": "/app/expense?txnId={id}", "Deposit": "/app/deposit?txnId={id}"}

    def prepare(self, client: QuickBooksClient, drafts: Sequence[Draft], *, create: bool, key: str) -> list[Prepared]:
        expenses = documents_of(drafts, Expense)
        parties = [(one.supplier, one.currency) for one in expenses]
        references = References(
            parties=party_references(client, "Vendor", parties, create=create, key=key),
            card_accounts=_card_accounts(client, expenses),
            purchase_taxes=purchase_percents(client, taxed_with(expenses)),
        )
        priced = at_day_rates(client, drafts)
        return each(priced, lambda draft: expense_body(typed(draft, Expense), draft.reference, references))

    def search(self, drafts: Sequence[Draft]) -> list[tuple[Entity, str]]:
        """Deposits have no number to search by."""
        by_reference = by_number(self.entities[0], "DocNumber", (draft.reference[:NUMBER_LENGTH] for draft in drafts))
        back = [draft for draft in drafts if typed(draft, Expense).amount < 0]
        return [by_reference, *by_day(self.also_written[0], documents_of(back, Expense))]


def _card_accounts(client: QuickBooksClient, expenses: Sequence[Expense]) -> frozenset[str]:
    """QuickBooks books spending from a credit card differently; known once the chart was read for another document. Money that
    came back is another kind of document then, so the chart is read for it."""
    if any(one.amount < 0 and one.paid_from_ledger_account not in client.known("Account") for one in expenses):
        answer = client.query(f"select * from Account where {_ACTIVE_OR_NOT} maxresults {PAGE_SIZE}")
        remember_accounts(client, answer.get("Account", []))
    accounts = client.known("Account")
    return frozenset(id for id, account in accounts.items() if account["type"] == "Credit Card")


STREAMS: tuple[Stream, ...] = (
    Companies(),
    LedgerAccounts(),
    TaxRates(),
    Customers(),
    Invoices(),
    CreditNotes(),
    CustomerPayments(),
    BankTransfers(),
    Expenses(),
)

#: The record types behind QuickBooks' own names, for webhooks.
DATA_TYPES: dict[str, str] = {
    entity.name: stream.data_type for stream in STREAMS if isinstance(stream, Listed) for entity in stream.entities
}
