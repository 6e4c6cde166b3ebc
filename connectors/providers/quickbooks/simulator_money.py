"""Money moved and spent in a simulated company: transfers, deposits and purchases."""

from __future__ import annotations

from typing import Any

from connectors.providers.quickbooks import simulator_faults as faults
from connectors.providers.quickbooks.simulator_books import Books
from connectors.providers.quickbooks.simulator_rules import currency_of, exchange_rate, line_tax
from connectors.providers.quickbooks.simulator_tax import (
    Rate,
    TaxedLine,
    Totals,
    amount,
    line_amount,
    net_of,
    totals,
)

Json = dict[str, Any]

DEPOSITABLE = ("Bank", "Other Current Asset")
PAYING = {"Cash": ("Bank",), "Check": ("Bank",), "CreditCard": ("Credit Card",)}


def transfer(books: Books, body: Json) -> Json:
    source, target = books.account(body, "FromAccountRef"), books.account(body, "ToAccountRef")
    if source["Id"] == target["Id"]:
        raise faults.business("Business Validation Error: A transfer needs two different accounts.")
    if {source["Classification"], target["Classification"]} & {"Revenue", "Expense"}:
        raise faults.business("Business Validation Error: Transfers are between balance sheet accounts only.")
    if body.get("Amount") in (None, ""):
        raise faults.missing("Amount")
    total = amount(body["Amount"], "Amount")
    if total <= 0:
        raise faults.business("Business Validation Error: The transaction amount must be greater than 0.")
    currency = books.currency(body, books.home)
    return {
        **({"PrivateNote": body["PrivateNote"]} if body.get("PrivateNote") else {}),
        "TxnDate": books.date(body),
        "CurrencyRef": {"value": currency},
        "FromAccountRef": books.account_ref(source),
        "ToAccountRef": books.account_ref(target),
        "Amount": total,
        **exchange_rate(books, body, currency),
    }


def deposit(books: Books, body: Json) -> Json:
    """Money straight into an account, not the takings that wait among the undeposited funds."""
    account = books.account(body, "DepositToAccountRef", DEPOSITABLE)
    currency = books.currency(body, books.home)
    mode = "" if books.is_american else str(body.get("GlobalTaxCalculation") or "NotApplicable")
    if not body.get("Line"):
        raise faults.missing("Line")
    lines, taxed = [], []
    for number, line in enumerate(body["Line"], 1):
        row, sums = _deposit_line(books, line, str(number), mode)
        lines.append(row)
        taxed.append(sums)
    override = (body.get("TxnTaxDetail") or {}).get("TotalTax")
    summed = totals(taxed, mode=mode, override=None if override in (None, "") else amount(override, "TotalTax"))
    if summed.total <= 0:
        raise faults.business("Business Validation Error: The transaction amount must be greater than 0.")
    return {
        **({"PrivateNote": body["PrivateNote"]} if body.get("PrivateNote") else {}),
        "TxnDate": books.date(body),
        "CurrencyRef": {"value": currency},
        "DepositToAccountRef": books.account_ref(account),
        "Line": lines,
        "TotalAmt": summed.total,
        **_told_tax(summed, mode),
        **exchange_rate(books, body, currency),
    }


def _deposit_line(books: Books, line: Json, id: str, mode: str) -> tuple[Json, TaxedLine]:
    if line.get("DetailType") != "DepositLineDetail":
        raise faults.invalid_value("DetailType", line.get("DetailType"))
    detail = line.get("DepositLineDetail") or {}
    account, entity = books.account(detail, "AccountRef"), detail.get("Entity") or {}
    payee = books.active(entity.get("type") or "Vendor", str(entity["value"])) if entity.get("value") else None
    named = {"value": payee["Id"], "name": payee["DisplayName"], "type": entity.get("type")} if payee else {}
    code, rates = _deposit_tax(books, detail, mode)
    row = {
        "Id": id,
        "LineNum": int(id),
        **({"Description": line["Description"]} if line.get("Description") else {}),
        "Amount": line_amount(line),
        "DetailType": "DepositLineDetail",
        "DepositLineDetail": {
            "AccountRef": books.account_ref(account),
            **({"Entity": named} if named else {}),
            **({"TaxCodeRef": {"value": code}, "TaxApplicableOn": detail["TaxApplicableOn"]} if code else {}),
        },
    }
    return row, TaxedLine(row["Amount"], None, rates)


def _deposit_tax(books: Books, detail: Json, mode: str) -> tuple[str, tuple[Rate, ...]]:
    """A line says itself whether its tax is of sales or of purchases. Lines tell no amount with tax."""
    if books.is_american or not books.reference(detail, "TaxCodeRef"):
        return "", ()
    applies_to = detail.get("TaxApplicableOn")
    if applies_to not in ("Sales", "Purchase"):
        raise faults.invalid_value("TaxApplicableOn", applies_to)
    if mode == "TaxInclusive":
        raise faults.invalid_value("GlobalTaxCalculation", mode)
    return line_tax(books, detail, mode, "PurchaseTaxRateList" if applies_to == "Purchase" else "SalesTaxRateList")


def _told_tax(summed: Totals, mode: str) -> Json:
    told: Json = {"TxnTaxDetail": {"TotalTax": summed.tax, "TaxLine": summed.tax_lines}} if summed.tax_lines else {}
    return told | ({"GlobalTaxCalculation": mode} if mode else {})


def purchase(books: Books, body: Json) -> Json:
    kind = str(body.get("PaymentType") or "")
    if kind not in PAYING:
        raise faults.missing("PaymentType") if not kind else faults.invalid_value("PaymentType", kind)
    account = books.account(body, "AccountRef", PAYING[kind])
    books.check_length(body, "DocNumber", 21)
    entity = body.get("EntityRef") or {}
    payee = books.active(entity.get("type") or "Vendor", str(entity["value"])) if entity.get("value") else None
    currency = currency_of(books, body, payee) if payee else books.currency(body, books.home)
    mode = "" if books.is_american else str(body.get("GlobalTaxCalculation") or "TaxExcluded")
    lines, taxed = _expense_lines(books, body, mode)
    summed = totals(taxed, mode=mode, override=None)
    named = (
        {"value": payee["Id"], "name": payee["DisplayName"], "type": entity.get("type") or "Vendor"} if payee else {}
    )
    return {
        **{name: body[name] for name in ("PrivateNote", "DocNumber", "CustomField") if body.get(name)},
        "TxnDate": books.date(body),
        "CurrencyRef": {"value": currency},
        "AccountRef": books.account_ref(account),
        "PaymentType": kind,
        "Credit": bool(body.get("Credit", False)),
        **({"EntityRef": named} if named else {}),
        "Line": lines,
        "TotalAmt": summed.total,
        **_told_tax(summed, mode),
        **exchange_rate(books, body, currency),
    }


def _expense_lines(books: Books, body: Json, mode: str) -> tuple[list[Json], list[TaxedLine]]:
    if not body.get("Line"):
        raise faults.missing("Line")
    lines, taxed = [], []
    for number, line in enumerate(body["Line"], 1):
        row, sums = _expense_line(books, line, str(number), mode)
        lines.append(row)
        taxed.append(sums)
    return lines, taxed


def _expense_line(books: Books, line: Json, id: str, mode: str) -> tuple[Json, TaxedLine]:
    if line.get("DetailType") != "AccountBasedExpenseLineDetail":
        raise faults.invalid_value("DetailType", line.get("DetailType"))
    detail = line.get("AccountBasedExpenseLineDetail") or {}
    account = books.account(detail, "AccountRef")
    is_untaxed = books.is_american or mode == "NotApplicable"
    code, rates = ("", ()) if is_untaxed else line_tax(books, detail, mode, "PurchaseTaxRateList")
    net, gross = line_amount(line), None
    if mode == "TaxInclusive":
        said = detail.get("TaxInclusiveAmt")
        gross = net if said in (None, "") else amount(said, "TaxInclusiveAmt")
        net = net_of(gross, rates, net)
    row = {
        "Id": id,
        **({"Description": line["Description"]} if line.get("Description") else {}),
        "Amount": net,
        "DetailType": "AccountBasedExpenseLineDetail",
        "AccountBasedExpenseLineDetail": {
            "AccountRef": books.account_ref(account),
            "BillableStatus": "NotBillable",
            "TaxCodeRef": {"value": code or "NON"},
            **({"TaxInclusiveAmt": gross} if gross is not None else {}),
        },
    }
    return row, TaxedLine(net, gross, rates)
