"""What Xero's own pages call each field of the standard records."""

from __future__ import annotations

from connectors.sdk.streams import Field

COMPANY = (
    Field("name", "Display name"),
    Field("base_currency", "Base currency", "choice"),
    Field("country", "Country", "choice"),
    Field("time_zone", "Time zone", "choice"),
    Field("books_closed_until", "Lock date", "date", "The later of the two lock dates in Financial settings"),
)

LEDGER_ACCOUNT = (
    Field("code", "Code"),
    Field("name", "Name"),
    Field("kind", "Account type", "choice"),
    Field("currency", "Currency", "choice", "Only bank accounts have one"),
    Field("is_archived", "Archived", "flag"),
    Field("can_receive_payments", "Enable payments to this account", "flag"),
)

TAX_RATE = (
    Field("code", "Tax type", "text", "Xero's own code of the rate, such as OUTPUT2"),
    Field("name", "Tax rate display name"),
    Field("rate", "Tax rate", "number"),
    Field("is_archived", "Deleted", "flag"),
)

CUSTOMER = (
    Field("name", "Contact name"),
    Field("email", "Email"),
    Field("phone", "Phone number"),
    Field("tax_number", "Tax number", "text", "In the United Kingdom: VAT number"),
    Field("currency", "Default currency", "choice"),
    Field("address.line1", "Billing address: street address or PO box"),
    Field("address.line2", "Billing address: second line"),
    Field("address.city", "Billing address: town / city"),
    Field("address.region", "Billing address: state / region"),
    Field("address.postal_code", "Billing address: postal / zip code"),
    Field("address.country", "Billing address: country", "choice"),
    Field("is_archived", "Archived", "flag"),
)

_DOCUMENT = (
    Field("reference", "Reference"),
    Field("customer", "Contact", "party"),
    Field("customer.name", "Contact name"),
    Field("customer.email", "Contact email"),
    Field("currency", "Currency", "choice"),
    Field("tax_mode", "Amounts are", "choice", "Tax exclusive, tax inclusive or no tax"),
    Field("lines", "Line items", "lines"),
    Field("lines.description", "Description"),
    Field("lines.quantity", "Qty.", "number"),
    Field("lines.amount", "Amount", "money"),
    Field("lines.ledger_account", "Account", "choice"),
    Field("lines.tax_rate", "Tax rate", "choice"),
    Field("lines.tax_amount", "Tax amount", "money"),
    Field("lines.sku", "Item"),
    Field("tax_total", "Total tax", "money"),
    Field("total", "Total", "money"),
    Field("status", "Status", "choice"),
    Field("memo", "Text line", "text", "A line item with a description and no amount"),
)

INVOICE = (
    Field("number", "Invoice number", "text", "Empty: Xero gives the next number"),
    Field("date", "Issue date", "date"),
    Field("due_date", "Due date", "date"),
    *_DOCUMENT,
)

CREDIT_NOTE = (
    Field("number", "Credit note number", "text", "Empty: Xero gives the next number"),
    Field("date", "Issue date", "date"),
    *_DOCUMENT,
)

CUSTOMER_PAYMENT = (
    Field("date", "Date paid", "date"),
    Field("amount", "Amount paid", "money"),
    Field("currency", "Currency", "choice"),
    Field("ledger_account", "Paid to", "choice", "A bank account, or one with payments enabled"),
    Field("document_number", "Invoice or credit note number"),
    Field("customer", "Contact", "party"),
    Field("reference", "Reference"),
    Field("status", "Status", "choice"),
)

BANK_TRANSFER = (
    Field("date", "Date", "date"),
    Field("amount", "Amount", "money"),
    Field("currency", "Currency", "choice"),
    Field("from_ledger_account", "From bank account", "choice"),
    Field("to_ledger_account", "To bank account", "choice"),
    Field("reference", "Reference"),
    Field("status", "Status", "choice"),
)

EXPENSE = (
    Field("date", "Date", "date"),
    Field("amount", "Total", "money"),
    Field("currency", "Currency", "choice"),
    Field("paid_from_ledger_account", "Bank account", "choice"),
    Field("ledger_account", "Account", "choice"),
    Field("supplier", "To", "party"),
    Field("supplier.name", "To (contact name)"),
    Field("description", "Description"),
    Field("reference", "Reference"),
    Field("tax_rate", "Tax rate", "choice"),
    Field("status", "Status", "choice"),
)
