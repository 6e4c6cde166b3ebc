"""What a simulated company holds, as standard records for the simulator's own append-only ledger.

Written apart from the connector's reading, so that a mistake there does not hide here.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from connectors.sdk.records import (
    BankTransfer,
    CreditNote,
    Customer,
    CustomerPayment,
    DocumentLine,
    Expense,
    Invoice,
    Party,
    Record,
)
from connectors.testing.ledger import Settlement

Json = dict[str, Any]


def as_record(entity: str, row: Json) -> Record | None:
    """None for what is not a document or customer."""
    match entity:
        case "Invoice":
            return Invoice(**_sale(row))
        case "CreditMemo":
            return CreditNote(**_sale(row))
        case "RefundReceipt":
            return CreditNote(**_sale(row), refund_ledger_account=row["DepositToAccountRef"]["value"])
        case "Payment":
            return CustomerPayment(
                **_common(row),
                amount=row["TotalAmt"],
                ledger_account=row["DepositToAccountRef"]["value"],
                customer=_party(row["CustomerRef"]),
            )
        case "Transfer":
            return BankTransfer(
                **_common(row),
                amount=row["Amount"],
                from_ledger_account=row["FromAccountRef"]["value"],
                to_ledger_account=row["ToAccountRef"]["value"],
            )
        case "Purchase":
            return _purchase(row)
        case "Deposit":
            detail = row["Line"][0]["DepositLineDetail"]
            return Expense(
                **_common(row),
                amount=-row["TotalAmt"],
                paid_from_ledger_account=row["DepositToAccountRef"]["value"],
                ledger_account=detail["AccountRef"]["value"],
                supplier=_party(detail.get("Entity")),
            )
        case "Customer":
            return Customer(id=row["Id"], name=row["DisplayName"], currency=row["CurrencyRef"]["value"])
    return None


def settlements(entity: str, row: Json) -> list[Settlement]:
    """Which documents a payment pays, and how much of each."""
    if entity != "Payment":
        return []
    kinds = {"Invoice": "invoice", "CreditMemo": "credit_note"}
    return [
        (kinds[link["TxnType"]], link["TxnId"], line["Amount"]) for line in row["Line"] for link in line["LinkedTxn"]
    ]


def tax_of(entity: str, row: Json) -> Decimal:
    """How much of what was spent is tax; of money that came back it is negative."""
    tax = Decimal((row.get("TxnTaxDetail") or {}).get("TotalTax", 0))
    if entity not in ("Purchase", "Deposit"):
        return Decimal(0)
    return -tax if entity == "Deposit" or row.get("Credit") else tax


def _common(row: Json) -> Json:
    return {
        "id": row["Id"],
        "reference": row.get("PrivateNote", ""),
        "date": dt.date.fromisoformat(row["TxnDate"]),
        "currency": row["CurrencyRef"]["value"],
        "exchange_rate": row.get("ExchangeRate"),
    }


def _party(reference: Json | None) -> Party:
    return Party(id=reference["value"], name=reference.get("name", "")) if reference else Party()


def _sale(row: Json) -> Json:
    lines = [line for line in row["Line"] if line["DetailType"] == "SalesItemLineDetail"]
    return {
        **_common(row),
        "number": row.get("DocNumber", ""),
        "customer": _party(row["CustomerRef"]),
        "total": row["TotalAmt"],
        "lines": tuple(
            DocumentLine(
                description=line.get("Description", ""),
                amount=line["Amount"],
                ledger_account=line["SalesItemLineDetail"]["ItemAccountRef"]["value"],
            )
            for line in lines
        ),
    }


def _purchase(row: Json) -> Expense:
    detail = row["Line"][0]["AccountBasedExpenseLineDetail"] if row["Line"] else {"AccountRef": {"value": ""}}
    return Expense(
        **_common(row),
        amount=-row["TotalAmt"] if row["Credit"] else row["TotalAmt"],
        paid_from_ledger_account=row["AccountRef"]["value"],
        ledger_account=detail["AccountRef"]["value"],
        supplier=_party(row.get("EntityRef")),
    )
