"""QuickBooks' sales documents (invoice, credit memo, refund receipt) to standard records, taxes per line worked out."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from connectors.providers.quickbooks.reading import (
    NO_CURRENCY,
    country_code,
    custom_fields,
    day,
    is_deleted,
    is_voided,
    money,
    note_reference,
    ref,
    ref_name,
    tax_code,
    text,
    updated_at,
)
from connectors.sdk.records import CreditNote, DocumentLine, Invoice, Party

Json = dict[str, Any]
CENT = Decimal("0.01")


def _shared_values(row: Json) -> Json:
    """What invoices, credit memos and refund receipts have in common."""
    if is_deleted(row):
        stamp = updated_at(row)
        return {
            "id": text(row, "Id"),
            "date": stamp.date(),
            "updated_at": stamp,
            "currency": NO_CURRENCY,
            "customer": Party(),
            "total": Decimal(0),
            "status": "void",
        }
    lines, mode = document_lines(row)
    return {
        "id": text(row, "Id"),
        "custom": custom_fields(row),
        "number": str(row.get("DocNumber") or ""),
        "reference": note_reference(row),
        "date": day(text(row, "TxnDate")),
        "due_date": day(row["DueDate"]) if row.get("DueDate") else None,
        "updated_at": updated_at(row),
        "currency": text(row["CurrencyRef"], "value"),
        "customer": _party(row),
        "tax_mode": mode,
        "lines": lines,
        "total": money(row["TotalAmt"]),
        "tax_total": _tax_total(row),
        "memo": str((row.get("CustomerMemo") or {}).get("value", "")),
    }


def _party(row: Json) -> Party:
    place = row.get("ShipAddr") or row.get("BillAddr") or {}
    return Party(
        id=ref(row, "CustomerRef"),
        name=ref_name(row, "CustomerRef"),
        email=str((row.get("BillEmail") or {}).get("Address", "")),
        country=country_code(str(place.get("Country", ""))),
    )


def _tax_total(row: Json) -> Decimal:
    return money((row.get("TxnTaxDetail") or {}).get("TotalTax", 0))


def invoice(row: Json) -> Invoice:
    values = _shared_values(row)
    if "status" not in values:
        settled = money(row.get("Balance", 0)) == 0
        values["status"] = "void" if is_voided(row, values["total"]) else "paid" if settled else "open"
    return Invoice(**values)


def credit_memo(row: Json) -> CreditNote:
    values = _shared_values(row)
    if "status" not in values:
        left = money(row.get("RemainingCredit", row.get("Balance", 0)))
        values["status"] = "void" if is_voided(row, values["total"]) else "open" if left else "paid"
    return CreditNote(**values)


def refund_receipt(row: Json) -> CreditNote:
    """A credit note whose money went back at once."""
    values = _shared_values(row)
    if "status" not in values:
        values["status"] = "void" if is_voided(row, values["total"]) else "paid"
        values["refund_ledger_account"] = ref(row, "DepositToAccountRef")
    return CreditNote(**values)


TaxMode = Literal["inclusive", "exclusive", "none"]
_MODES: dict[str, TaxMode] = {"TaxInclusive": "inclusive", "TaxExcluded": "exclusive", "NotApplicable": "none"}


def document_lines(row: Json) -> tuple[tuple[DocumentLine, ...], TaxMode]:
    """The lines that carry money; QuickBooks' own subtotal line is left out, a discount becomes a negative line."""
    rows = [line for line in row.get("Line", []) if line.get("DetailType") in _LINE_READERS]
    mode = _tax_mode(row, rows)
    taxes = line_taxes(rows, row.get("TxnTaxDetail") or {}, mode)
    lines = [_LINE_READERS[line["DetailType"]](line, tax, mode) for line, tax in zip(rows, taxes, strict=True)]
    return tuple(lines), mode


def _tax_mode(row: Json, lines: list[Json]) -> TaxMode:
    """Companies in the United States have no such choice: there, tax is on top or there is none."""
    said = str(row.get("GlobalTaxCalculation") or "")
    if said:
        return _MODES[said]
    return "exclusive" if any(tax_code(line.get("SalesItemLineDetail") or {}) for line in lines) else "none"


def _sales_line(line: Json, tax: Decimal, mode: TaxMode) -> DocumentLine:
    detail = line["SalesItemLineDetail"]
    net = money(line.get("Amount", 0))
    return DocumentLine(
        description=str(line.get("Description") or ref_name(detail, "ItemRef")),
        quantity=money(detail.get("Qty", 1)),
        amount=net + tax if mode == "inclusive" else net,
        ledger_account=ref(detail, "ItemAccountRef"),
        tax_rate=tax_code(detail),
        tax_amount=tax,
    )


def _discount_line(line: Json, tax: Decimal, mode: TaxMode) -> DocumentLine:
    return DocumentLine(
        description=str(line.get("Description") or "Discount"),
        amount=-money(line.get("Amount", 0)),
        ledger_account=ref(line.get("DiscountLineDetail") or {}, "DiscountAccountRef"),
    )


_LINE_READERS: dict[str, Callable[[Json, Decimal, TaxMode], DocumentLine]] = {
    "SalesItemLineDetail": _sales_line,
    "DiscountLineDetail": _discount_line,
}


def line_taxes(rows: list[Json], detail: Json, mode: TaxMode) -> list[Decimal]:
    """QuickBooks tells tax per rate, not per line: a rate's tax is spread over the lines it was worked out on."""
    taxes = [Decimal(0)] * len(rows)
    if mode == "inclusive":
        return [_inclusive_tax(line) for line in rows]
    groups: dict[str, list[int]] = {}
    for number, line in enumerate(rows):
        groups.setdefault(ref(line.get("SalesItemLineDetail") or {}, "TaxCodeRef"), []).append(number)
    for tax_line in detail.get("TaxLine", []):
        taxable = money((tax_line.get("TaxLineDetail") or {}).get("NetAmountTaxable", 0))
        for numbers in groups.values():
            nets = [money(rows[number].get("Amount", 0)) for number in numbers]
            if sum(nets) == taxable:
                for number, share in zip(numbers, spread(money(tax_line["Amount"]), nets), strict=True):
                    taxes[number] += share
                break
    return taxes


def _inclusive_tax(line: Json) -> Decimal:
    gross = (line.get("SalesItemLineDetail") or {}).get("TaxInclusiveAmt")
    return Decimal(0) if gross is None else money(gross) - money(line.get("Amount", 0))


def spread(amount: Decimal, weights: list[Decimal]) -> list[Decimal]:
    """`amount` in proportion to `weights`, to the cent, adding up exactly."""
    total, shares, running, given = sum(weights), [], Decimal(0), Decimal(0)
    for weight in weights:
        running += weight
        upto = (amount * running / total).quantize(CENT) if total else Decimal(0)
        shares.append(upto - given)
        given = upto
    return shares
