"""Standard documents as Xero's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeVar

from connectors.providers.xero.reading import NO_TAX, address_shown, phone_shown
from connectors.providers.xero.values import account_reference, country_name, is_guid
from connectors.sdk.records import (
    Address,
    BankTransfer,
    CreditNote,
    Customer,
    CustomerPayment,
    Document,
    DocumentLine,
    Expense,
    Invoice,
    Party,
    Record,
)
from connectors.sdk.streams import Draft

Body = dict[str, Any]
Kind = TypeVar("Kind", bound=Record)

AMOUNT_TYPES = {"inclusive": "Inclusive", "exclusive": "Exclusive", "none": "NoTax"}
CENT = Decimal("0.01")
RATE = Decimal("0.000001")
UNIT = Decimal("0.0001")  # the finest unit amount, with unitdp=4


def reference_of(draft: Draft, limit: int = 255) -> str:
    """What we can look the document up by: written and searched for in exactly this form."""
    return draft.reference.replace('"', "").replace("\\", "")[:limit]


def invoice(draft: Draft) -> Body:
    document = _expect(draft, Invoice)
    # An approved invoice needs a due date.
    body = {
        "Type": "ACCREC",
        **_document(draft, document),
        "DueDate": str(document.due_date or document.date),
    }
    if document.number:
        body["InvoiceNumber"] = document.number
    return body


def credit_note(draft: Draft) -> Body:
    document = _expect(draft, CreditNote)
    body = {"Type": "ACCRECCREDIT", **_document(draft, document)}
    if document.number:
        body["CreditNoteNumber"] = document.number
    return body


def _document(draft: Draft, document: Document) -> Body:
    is_taxed = document.tax_mode != "none"
    lines = [_line(line, is_taxed=is_taxed) for line in document.lines]
    if document.memo:
        lines.append({"Description": document.memo})
    return {
        "Contact": _contact(document.customer),
        "Date": str(document.date),
        "LineAmountTypes": AMOUNT_TYPES[document.tax_mode],
        "LineItems": lines,
        "Reference": reference_of(draft),
        "CurrencyCode": document.currency,
        "Status": "DRAFT" if draft.as_draft or document.status == "draft" else "AUTHORISED",
        **_rate(document.exchange_rate),
    }


def _rate(exchange_rate: Decimal | None) -> Body:
    """Left out, Xero takes the rate of the day."""
    return {} if exchange_rate is None else {"CurrencyRate": exchange_rate}


def _contact(party: Party) -> Body:
    """By id when we know it; else Xero finds the contact by its name or creates it."""
    if party.id:
        return {"ContactID": party.id}
    contact = {"Name": party.name}
    return contact | {"EmailAddress": party.email} if party.email else contact


def _line(line: DocumentLine, *, is_taxed: bool) -> Body:
    quantity, unit_amount, suffix = _per_unit(line)
    account = "AccountID" if is_guid(line.ledger_account) else "AccountCode"
    body: Body = {
        "Description": line.description + suffix,
        "Quantity": quantity,
        "UnitAmount": unit_amount,
        "LineAmount": line.amount,
        account: line.ledger_account,
    }
    if is_taxed:
        body |= {"TaxType": line.tax_rate or NO_TAX, "TaxAmount": line.tax_amount}
    return body


def _per_unit(line: DocumentLine) -> tuple[Decimal, Decimal, str]:
    """Quantity, unit amount, and what to add to the description.

    Xero multiplies again and refuses a line that gives another amount, so where four decimals do not hold
    the price, the line is one piece and says in words how many.
    """
    if line.quantity > 0:
        unit = (line.amount / line.quantity).quantize(UNIT, ROUND_HALF_UP)
        if (unit * line.quantity).quantize(CENT, ROUND_HALF_UP) == line.amount:
            return line.quantity, unit, ""
    return Decimal(1), line.amount, f" (quantity {line.quantity.normalize():f})"


def customer_payment(draft: Draft) -> Body:
    payment = _expect(draft, CustomerPayment)
    kind = "CreditNote" if payment.settles == "credit_note" else "Invoice"
    by_number = {f"{kind}Number": payment.document_number}
    return {
        kind: {f"{kind}ID": payment.document_id} if payment.document_id else by_number,
        "Account": account_reference(payment.ledger_account),
        "Date": str(payment.date),
        "Amount": payment.amount,
        "Reference": reference_of(draft),
        **_rate(payment.exchange_rate or _rate_of(payment)),
    }


def _rate_of(payment: CustomerPayment) -> Decimal | None:
    """The rate at which a payment comes to what it came to in the base currency; Xero takes six decimals."""
    if not payment.base_amount:
        return None
    return (payment.amount / payment.base_amount).quantize(RATE, ROUND_HALF_UP)


def bank_transfer(draft: Draft) -> Body:
    transfer = _expect(draft, BankTransfer)
    return {
        "FromBankAccount": account_reference(transfer.from_ledger_account),
        "ToBankAccount": account_reference(transfer.to_ledger_account),
        "Amount": transfer.amount,
        "Date": str(transfer.date),
        "Reference": reference_of(draft),
    }


def expense(draft: Draft) -> Body:
    """The amount is what left the account, so it includes any tax; a negative one came back to it."""
    spent = _expect(draft, Expense)
    account = "AccountID" if is_guid(spent.ledger_account) else "AccountCode"
    line: Body = {
        "Description": spent.description or spent.reference or draft.reference,
        "Quantity": Decimal(1),
        "UnitAmount": abs(spent.amount),
        account: spent.ledger_account,
    }
    if spent.tax_rate:
        line["TaxType"] = spent.tax_rate
    return {
        "Type": "RECEIVE" if spent.amount < 0 else "SPEND",
        "Contact": _contact(spent.supplier),
        "BankAccount": account_reference(spent.paid_from_ledger_account),
        "Date": str(spent.date),
        "LineAmountTypes": "Inclusive" if spent.tax_rate else "NoTax",
        "LineItems": [line],
        "Reference": reference_of(draft),
        "CurrencyCode": spent.currency,
        **_rate(spent.exchange_rate),
    }


def contact(draft: Draft) -> Body:
    """Only what is known is sent, so that nothing in Xero is emptied."""
    person = _expect(draft, Customer)
    body: Body = {"Name": person.name}
    if draft.reference:
        body["ContactNumber"] = reference_of(draft, 50)
    if person.email:
        body["EmailAddress"] = person.email
    if person.phone:
        empty = {"PhoneAreaCode": "", "PhoneCountryCode": ""}
        body["Phones"] = [{"PhoneType": "DEFAULT", "PhoneNumber": person.phone[:50], **empty}]
    if person.tax_number:
        body["TaxNumber"] = person.tax_number
    if person.currency:
        body["DefaultCurrency"] = person.currency
    if person.address != Address():
        body["Addresses"] = [_address(person.address)]
    if person.is_archived:
        body["ContactStatus"] = "ARCHIVED"
    return body


def emptied_contact(draft: Draft, row: Mapping[str, Any]) -> Body:
    """Xero empties what is sent as an empty text. Of several telephone numbers and addresses, only the one we read is emptied."""
    names = _expect(draft, Customer).emptied
    body: Body = {key: "" for name, key in (("email", "EmailAddress"), ("tax_number", "TaxNumber")) if name in names}
    phone, address = phone_shown(row.get("Phones") or ()), address_shown(row.get("Addresses") or ())
    if "phone" in names and phone:
        blank = dict.fromkeys(("PhoneNumber", "PhoneAreaCode", "PhoneCountryCode"), "")
        body["Phones"] = [{"PhoneType": phone["PhoneType"], **blank}]
    if "address" in names and address:
        body["Addresses"] = [_address(Address()) | {"AddressType": address["AddressType"]}]
    return body


def _address(address: Address) -> Body:
    """As the billing address, whole: the parts of an address make no sense one by one."""
    return {
        "AddressType": "POBOX",
        "AddressLine1": address.line1,
        "AddressLine2": address.line2,
        "City": address.city,
        "Region": address.region,
        "PostalCode": address.postal_code,
        "Country": country_name(address.country),
    }


def _expect(draft: Draft, kind: type[Kind]) -> Kind:
    if not isinstance(draft.document, kind):
        raise TypeError(f"{type(draft.document).__name__} is not a {kind.__name__}")
    return draft.document
