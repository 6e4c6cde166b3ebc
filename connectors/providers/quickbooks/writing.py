"""Standard documents to QuickBooks' JSON. Amounts leave as exact Decimals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from connectors.providers.quickbooks.names import Wanted, display_name
from connectors.sdk.errors import RecordRejected
from connectors.sdk.records import (
    Address,
    BankTransfer,
    CreditNote,
    Customer,
    CustomerPayment,
    Document,
    DocumentLine,
    Expense,
    Party,
)

Json = dict[str, Any]

NUMBER_LENGTH = 21
CENT = Decimal("0.01")
#: The tax codes of companies in the United States; everywhere else codes are numbers and lines may include tax.
UNITED_STATES_CODES = {"TAX", "NON"}


@dataclass(frozen=True)
class References:
    """Ids of what the documents of one batch name. An id may be the reason why there is none."""

    parties: Mapping[Wanted, str | RecordRejected] = field(default_factory=dict)
    items: Mapping[str, str | RecordRejected] = field(default_factory=dict)
    no_tax_code: str = ""
    documents: Mapping[str, str] = field(default_factory=dict)
    card_accounts: frozenset[str] = frozenset()
    purchase_taxes: Mapping[str, Decimal] = field(default_factory=dict)  # per cent by tax code

    def party(self, party: Party, currency: str) -> Json:
        """Raises `RecordRejected` when the party could not be found or created."""
        if party.id:
            return {"value": party.id}
        name = display_name(party.name)
        if not name:
            raise RecordRejected("The document names no customer. Choose one in the mapping.", code="missing_reference")
        return _reference(self.parties.get((name, currency)), name)

    def item(self, ledger_account: str) -> Json:
        """Raises `RecordRejected` when the account has no item and none could be made."""
        return _reference(self.items.get(ledger_account), f"Ledger account {ledger_account}")


def _reference(found: str | RecordRejected | None, name: str) -> Json:
    """A preview shows by name what would be created first."""
    if isinstance(found, RecordRejected):
        raise found
    return {"value": found} if found else {"name": name}


def wanted_party(party: Party, currency: str) -> Wanted:
    return ("" if party.id else display_name(party.name), currency)


def document_number(number: str, reference: str) -> str:
    return (number or reference)[:NUMBER_LENGTH]


def present(body: Json) -> Json:
    """`body` without what was left at its default."""
    return {name: value for name, value in body.items() if value not in (None, "", {}, [])}


def sales_document(document: Document, reference: str, references: References) -> Json:
    """Shared by invoices, credit memos and refund receipts."""
    is_american = any(line.tax_rate in UNITED_STATES_CODES for line in document.lines)
    return present(
        {
            "DocNumber": document_number(document.number, reference),
            "TxnDate": document.date.isoformat(),
            "CurrencyRef": {"value": document.currency},
            "ExchangeRate": document.exchange_rate,
            "CustomerRef": references.party(document.customer, document.currency),
            "BillEmail": present({"Address": document.customer.email}),
            "CustomerMemo": present({"value": document.memo}),
            "PrivateNote": reference,
            "GlobalTaxCalculation": "" if is_american else _tax_calculation(document),
            "Line": [_line(line, document, references, is_american) for line in document.lines],
            "TxnTaxDetail": {"TotalTax": document.tax_total} if _is_taxed(document) else {},
        }
    )


def _is_taxed(document: Document) -> bool:
    return document.tax_mode != "none" and any(line.tax_rate for line in document.lines)


def _tax_calculation(document: Document) -> str:
    return {"inclusive": "TaxInclusive", "exclusive": "TaxExcluded", "none": "NotApplicable"}[document.tax_mode]


def _line(line: DocumentLine, document: Document, references: References, is_american: bool) -> Json:
    """QuickBooks takes the amount without tax; the amount with tax goes beside it, so neither is worked out again.

    Outside the United States it wants a tax code on every line, so a line without tax gets the code that says so.
    """
    is_inclusive = document.tax_mode == "inclusive"
    no_code = "" if is_american or document.tax_mode == "none" else references.no_tax_code
    detail = {
        "ItemRef": references.item(line.ledger_account),
        "Qty": line.quantity if line.quantity != 1 else None,
        "TaxCodeRef": present({"value": line.tax_rate or no_code}),
        "TaxInclusiveAmt": line.amount if is_inclusive and not is_american else None,
    }
    return {
        "DetailType": "SalesItemLineDetail",
        "Amount": line.amount - line.tax_amount if is_inclusive else line.amount,
        "Description": line.description,
        "SalesItemLineDetail": present(detail),
    }


def invoice_body(document: Document, reference: str, references: References) -> Json:
    due = document.due_date.isoformat() if document.due_date else ""
    return present(sales_document(document, reference, references) | {"DueDate": due})


def credit_note_body(document: CreditNote, reference: str, references: References) -> tuple[str, Json]:
    """Paid back at once: a refund receipt from that account. Otherwise a credit memo."""
    body = sales_document(document, reference, references)
    if document.refund_ledger_account:
        return "RefundReceipt", body | {"DepositToAccountRef": {"value": document.refund_ledger_account}}
    return "CreditMemo", body


def payment_body(payment: CustomerPayment, reference: str, references: References) -> Json:
    if payment.settles == "credit_note":
        raise RecordRejected(
            "QuickBooks pays a credit note back as a refund receipt: name the account on the credit note itself.",
            code="other",
        )
    document_id = payment.document_id or references.documents.get(payment.document_number, "")
    if not document_id and payment.document_number:
        raise RecordRejected(
            f"Invoice {payment.document_number} is not in QuickBooks, so its payment cannot be entered.",
            code="missing_reference",
        )
    links = [{"TxnId": document_id, "TxnType": "Invoice"}] if document_id else []
    return present(
        {
            "CustomerRef": references.party(payment.customer, payment.currency),
            "TotalAmt": payment.amount,
            "TxnDate": payment.date.isoformat(),
            "CurrencyRef": {"value": payment.currency},
            "ExchangeRate": payment.exchange_rate,
            "DepositToAccountRef": present({"value": payment.ledger_account}),
            "PaymentRefNum": reference[:NUMBER_LENGTH],
            "PrivateNote": reference,
            "Line": [{"Amount": payment.amount, "LinkedTxn": links}] if links else [],
        }
    )


def transfer_body(transfer: BankTransfer, reference: str) -> Json:
    return {
        "FromAccountRef": {"value": transfer.from_ledger_account},
        "ToAccountRef": {"value": transfer.to_ledger_account},
        "Amount": transfer.amount,
        "TxnDate": transfer.date.isoformat(),
        "CurrencyRef": {"value": transfer.currency},
        "PrivateNote": reference,
        **present({"ExchangeRate": transfer.exchange_rate}),
    }


def expense_body(expense: Expense, reference: str, references: References) -> tuple[str, Json]:
    """A purchase. Money that came back (a negative amount) is a credit on a card, and a deposit into any other account."""
    if expense.amount < 0 and expense.paid_from_ledger_account not in references.card_accounts:
        return "Deposit", _deposit_body(expense, reference, references)
    return "Purchase", _purchase_body(expense, reference, references)


def _deposit_body(expense: Expense, reference: str, references: References) -> Json:
    """The tax of what was bought comes back with it. Lines of a deposit tell no amount with tax, so the line is without, and the tax
    beside it makes the whole what came back to the cent."""
    is_taxed, net = _is_taxed_purchase(expense), _without_tax(expense, references)
    taxed = {"TaxCodeRef": {"value": expense.tax_rate}, "TaxApplicableOn": "Purchase"} if is_taxed else {}
    whole = {"GlobalTaxCalculation": "TaxExcluded", "TxnTaxDetail": {"TotalTax": -expense.amount - net}}
    detail = {
        "AccountRef": {"value": expense.ledger_account},
        "Entity": _supplier(expense, references),
        **taxed,
    }
    line = {
        "DetailType": "DepositLineDetail",
        "Amount": net,
        "Description": expense.description,
        "DepositLineDetail": present(detail),
    }
    return {
        "DepositToAccountRef": {"value": expense.paid_from_ledger_account},
        "TxnDate": expense.date.isoformat(),
        "CurrencyRef": {"value": expense.currency},
        "PrivateNote": reference,
        "Line": [present(line)],
        **(whole if is_taxed else {}),
        **present({"ExchangeRate": expense.exchange_rate}),
    }


def taxed_with(expenses: Iterable[Expense]) -> list[str]:
    """The purchase tax codes these expenses name."""
    return [one.tax_rate for one in expenses if _is_taxed_purchase(one)]


def _is_taxed_purchase(expense: Expense) -> bool:
    return expense.tax_rate != "" and expense.tax_rate not in UNITED_STATES_CODES


def _without_tax(expense: Expense, references: References) -> Decimal:
    """What was spent or came back, without its tax: QuickBooks takes every line so. Raises `RecordRejected` for a code that has no
    rate for purchases there."""
    gross, code = abs(expense.amount), expense.tax_rate
    if not _is_taxed_purchase(expense):
        return gross
    if code not in references.purchase_taxes:
        raise RecordRejected(
            f"The tax code {code} is not one for purchases in QuickBooks. Choose another in the mapping.",
            code="missing_reference",
        )
    return (gross / (1 + references.purchase_taxes[code] / 100)).quantize(CENT, ROUND_HALF_UP)


def _supplier(expense: Expense, references: References) -> Json:
    named = expense.supplier != Party()
    return references.party(expense.supplier, expense.currency) | {"type": "Vendor"} if named else {}


def _purchase_body(expense: Expense, reference: str, references: References) -> Json:
    includes_tax = _is_taxed_purchase(expense)
    detail = {
        "AccountRef": {"value": expense.ledger_account},
        "TaxCodeRef": present({"value": expense.tax_rate}),
        "TaxInclusiveAmt": abs(expense.amount) if includes_tax else None,
    }
    line = {
        "DetailType": "AccountBasedExpenseLineDetail",
        "Amount": _without_tax(expense, references),
        "Description": expense.description,
        "AccountBasedExpenseLineDetail": present(detail),
    }
    is_card = expense.paid_from_ledger_account in references.card_accounts
    return present(
        {
            "AccountRef": {"value": expense.paid_from_ledger_account},
            "PaymentType": "CreditCard" if is_card else "Cash",
            "Credit": True if expense.amount < 0 else None,
            "EntityRef": _supplier(expense, references),
            "TxnDate": expense.date.isoformat(),
            "CurrencyRef": {"value": expense.currency},
            "ExchangeRate": expense.exchange_rate,
            "DocNumber": reference[:NUMBER_LENGTH],
            "PrivateNote": reference,
            "GlobalTaxCalculation": "TaxInclusive" if includes_tax else "NotApplicable",
            "Line": [present(line)],
        }
    )


def customer_body(customer: Customer) -> Json:
    """In an update, what is sent as an empty text is emptied and what is not sent stays."""
    filled = present(
        {
            "DisplayName": display_name(customer.name),
            "CompanyName": customer.company,
            "PrimaryEmailAddr": present({"Address": customer.email}),
            "PrimaryPhone": present({"FreeFormNumber": customer.phone}),
            "PrimaryTaxIdentifier": customer.tax_number,
            "CurrencyRef": present({"value": customer.currency}),
            "BillAddr": present(_address(customer.address)),
            "Active": False if customer.is_archived else None,
        }
    )
    empty = {
        "email": ("PrimaryEmailAddr", {"Address": ""}),
        "phone": ("PrimaryPhone", {"FreeFormNumber": ""}),
        "tax_number": ("PrimaryTaxIdentifier", ""),
        "address": ("BillAddr", _address(Address())),
    }
    return filled | dict(empty[name] for name in customer.emptied)


def _address(address: Address) -> Json:
    return {
        "Line1": address.line1,
        "Line2": address.line2,
        "City": address.city,
        "CountrySubDivisionCode": address.region,
        "PostalCode": address.postal_code,
        "Country": address.country,
    }


def total_of(row: Json) -> Decimal | None:
    """QuickBooks' own sum, where the object has one."""
    value = row.get("TotalAmt", row.get("Amount"))
    return None if value is None else Decimal(value)


def is_money_back(entity: str, row: Json) -> bool:
    """Whether an expense is one the other way round; QuickBooks' sums have no sign."""
    return entity == "Deposit" or bool(row.get("Credit"))
