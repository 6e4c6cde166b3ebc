"""What QuickBooks' own pages call each value, by its path in the standard record."""

from __future__ import annotations

from connectors.sdk.streams import Field

COMPANY = (
    Field("name", "Company name"),
    Field("base_currency", "Home currency"),
    Field("country", "Country"),
    Field("time_zone", "Time zone"),
    Field("books_closed_until", "Closing date", "date", "Account and settings, Advanced, Accounting, Close the books"),
)

LEDGER_ACCOUNT = (
    Field("code", "Account ID", hint="QuickBooks' own id; documents refer to it"),
    Field("name", "Account name", hint="With the account number in front where your chart has numbers"),
    Field("kind", "Account type", "choice"),
    Field("currency", "Currency"),
    Field("is_archived", "Inactive", "flag"),
    Field("can_receive_payments", "Can be deposited to", "flag"),
)

TAX_RATE = (
    Field("code", "Tax code ID"),
    Field("name", "Sales tax code"),
    Field("rate", "Rate", "number"),
    Field("is_archived", "Inactive", "flag"),
)

CUSTOMER = (
    Field("name", "Customer display name", hint="Used once among customers, suppliers and employees"),
    Field("company", "Company name"),
    Field("email", "Email"),
    Field("phone", "Phone number"),
    Field("tax_number", "Tax registration number"),
    Field("currency", "Currency", hint="Fixed once the customer has a transaction"),
    Field("address.line1", "Street address 1"),
    Field("address.line2", "Street address 2"),
    Field("address.city", "City"),
    Field("address.region", "State, county or province"),
    Field("address.postal_code", "ZIP code or postcode"),
    Field("address.country", "Country"),
    Field("is_archived", "Inactive", "flag"),
)

_DOCUMENT = (
    Field("reference", "Memo (hidden), first line", hint="Carries the posting's reference; customers do not see it"),
    Field("currency", "Currency"),
    Field("customer", "Customer", "party"),
    Field("customer.name", "Customer display name"),
    Field("customer.email", "Customer email"),
    Field("tax_mode", "Amounts are", "choice", "Exclusive of tax, inclusive of tax, or out of scope of tax"),
    Field("lines", "Lines", "lines"),
    Field("lines.description", "Description"),
    Field("lines.quantity", "Qty", "number"),
    Field("lines.amount", "Amount", "money"),
    Field("lines.ledger_account", "Income account", "choice", "The account behind the product or service"),
    Field("lines.tax_rate", "Sales tax", "choice", "VAT in the United Kingdom; TAX or NON in the United States"),
    Field("total", "Total", "money"),
    Field("tax_total", "Sales tax total", "money"),
    Field("status", "Status", "choice"),
    Field("memo", "Note to customer"),
)

INVOICE = (
    Field("number", "Invoice no.", hint="At most 21 characters"),
    Field("date", "Invoice date", "date"),
    Field("due_date", "Due date", "date"),
    *_DOCUMENT,
)

CREDIT_NOTE = (
    Field("number", "Credit memo or refund no.", hint="At most 21 characters"),
    Field("date", "Date", "date"),
    Field("refund_ledger_account", "Refund from", "choice", "Filled in: a refund receipt. Empty: a credit memo"),
    *_DOCUMENT,
)

CUSTOMER_PAYMENT = (
    Field("date", "Payment date", "date"),
    Field("reference", "Reference no.", hint="At most 21 characters; the whole of it is kept in the memo"),
    Field("currency", "Currency"),
    Field("amount", "Amount received", "money"),
    Field("ledger_account", "Deposit to", "choice"),
    Field("customer", "Customer", "party"),
    Field("customer.name", "Customer display name"),
    Field("document_number", "Invoice no. paid"),
    Field("status", "Status", "choice"),
)

BANK_TRANSFER = (
    Field("date", "Date", "date"),
    Field("amount", "Transfer amount", "money"),
    Field("currency", "Currency"),
    Field("from_ledger_account", "Transfer funds from", "choice"),
    Field("to_ledger_account", "Transfer funds to", "choice"),
    Field("reference", "Memo"),
)

EXPENSE = (
    Field("date", "Payment date", "date"),
    Field("reference", "Ref no.", hint="At most 21 characters; the whole of it is kept in the memo"),
    Field("currency", "Currency"),
    Field("amount", "Total", "money"),
    Field("paid_from_ledger_account", "Payment account", "choice"),
    Field("ledger_account", "Category", "choice"),
    Field("supplier", "Payee", "party"),
    Field("supplier.name", "Payee name"),
    Field("description", "Description"),
    Field("tax_rate", "Tax", "choice"),
    Field("status", "Status", "choice"),
)
