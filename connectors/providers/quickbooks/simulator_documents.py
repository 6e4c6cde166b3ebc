"""Transactions of a simulated company: how each is checked, worked out, changed, voided and deleted."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from connectors.providers.quickbooks import simulator_faults as faults
from connectors.providers.quickbooks.simulator_books import READ_ONLY, Books
from connectors.providers.quickbooks.simulator_chart import DEFAULT_ITEM, RECEIVABLE, UNDEPOSITED
from connectors.providers.quickbooks.simulator_money import DEPOSITABLE, deposit, purchase, transfer
from connectors.providers.quickbooks.simulator_rules import currency_of, exchange_rate, in_home_currency, line_tax
from connectors.providers.quickbooks.simulator_tax import UNTOLD, ZERO, TaxedLine, amount, line_amount, net_of, totals

Json = dict[str, Any]

SALES = ("Invoice", "CreditMemo", "RefundReceipt")
NUMBER_LENGTH = 21
LOCATED = (
    "BillAddr",
    "ShipAddr",
    "BillEmail",
    "CustomerMemo",
    "CustomField",
    "PrivateNote",
    "SalesTermRef",
    "ClassRef",
)


class Documents:
    """Every write of a transaction."""

    def __init__(self, books: Books) -> None:
        self.books = books

    # ------------------------------------------------------------------ create, update, void, delete

    def create(
        self,
        entity: str,
        body: Json,
        *,
        id: str = "",
        at: dt.datetime | None = None,
        allow_duplicates: bool = False,
        is_staff: bool = False,
    ) -> Json:
        """People in the company may pass the closing date with its password; the API may not. On their pages QuickBooks fills in the
        exchange rate of the day; from the API, a rate that is left out is 1."""
        if is_staff and not body.get("ExchangeRate"):
            currency = self.books.reference(body, "CurrencyRef") or self.books.home
            body = {**body, "ExchangeRate": self.books.rate(currency, self.books.date(body))}
        document = self._build(entity, body)
        if not is_staff:
            self.books.check_open(document["TxnDate"])
            _check_credit(document)
        if entity in SALES:
            self._number(entity, document, "", allow_duplicates)
        if entity == "Payment":
            self._check_balances(document, {"Line": []})
        row = self.books.add(entity, document, id=id, at=at)
        if entity == "Payment":
            self._apply(row, sign=-1)
        return row

    def update(self, entity: str, body: Json) -> Json:
        row = self.books.locked(entity, body)
        self.books.check_open(row["TxnDate"])
        self.books.check_unreconciled(row)
        kept = row if body.get("sparse") else {name: row[name] for name in READ_ONLY}
        changes = {name: value for name, value in body.items() if name not in READ_ONLY}
        document = self._build(entity, {**kept, **changes})
        self.books.check_open(document["TxnDate"])
        if entity in SALES:
            self._number(entity, document, row["Id"], False)
            document = self._keep_settled(entity, document, row)
        if entity == "Payment":
            self._check_balances(document, row)
            self._apply(row, sign=1)
        saved = self.books.save(entity, {**{name: row[name] for name in READ_ONLY}, **document})
        if entity == "Payment":
            self._apply(saved, sign=-1)
        return saved

    def void(self, entity: str, body: Json) -> Json:
        """Amounts become zero, the number stays."""
        row = self.books.locked(entity, body)
        self.books.check_open(row["TxnDate"])
        self.books.check_unreconciled(row)
        if entity == "Payment":
            self._apply(row, sign=1)
        if entity == "Invoice":
            self._release_payments(row)
        note = f"Voided - {row['PrivateNote']}" if row.get("PrivateNote") else "Voided"
        zeroed: Json = {name: ZERO for name in ("TotalAmt", "Balance", "UnappliedAmt", "HomeTotalAmt") if name in row}
        lines = [{**line, "Amount": ZERO} for line in row["Line"]] if entity == "Invoice" else []
        for line in lines:
            detail = line.get("SalesItemLineDetail")
            if detail:
                line["SalesItemLineDetail"] = {
                    name: ZERO if name in ("UnitPrice", "TaxInclusiveAmt") else value for name, value in detail.items()
                }
        cleared: Json = {"Line": lines, "LinkedTxn": [], "PrivateNote": note}
        if "TxnTaxDetail" in row:
            cleared["TxnTaxDetail"] = {"TotalTax": ZERO}
        return self.books.save(entity, {**row, **zeroed, **cleared})

    def delete(self, entity: str, body: Json) -> Json:
        row = self.books.locked(entity, body)
        self.books.check_open(row["TxnDate"])
        self.books.check_unreconciled(row)
        if entity == "Payment":
            self._apply(row, sign=1)
        if entity == "Invoice":
            self._release_payments(row)
        return self.books.remove(entity, row)

    # ------------------------------------------------------------------ one transaction worked out

    def _build(self, entity: str, body: Json) -> Json:
        if entity in SALES:
            return self._sales(entity, body)
        if entity == "Payment":
            return self._payment(body)
        return {"Transfer": transfer, "Purchase": purchase, "Deposit": deposit}[entity](self.books, body)

    def _sales(self, entity: str, body: Json) -> Json:
        books = self.books
        customer = self._customer(body)
        currency = currency_of(books, body, customer)
        mode = "" if books.is_american else str(body.get("GlobalTaxCalculation") or "TaxExcluded")
        lines, taxed = self._lines(body, mode)
        detail = body.get("TxnTaxDetail") or {}
        override = detail.get("TotalTax")
        summed = totals(taxed, mode=mode, override=None if override in (None, "") else amount(override, "TotalTax"))
        subtotal = {"Amount": summed.subtotal, "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}}
        date = books.date(body)
        document = {
            **{name: body[name] for name in LOCATED if body.get(name)},
            "DocNumber": str(body.get("DocNumber") or ""),
            "TxnDate": date,
            "CustomerRef": {"value": customer["Id"], "name": customer["DisplayName"]},
            "CurrencyRef": {"value": currency},
            "Line": [*lines, subtotal],
            "TxnTaxDetail": {"TotalTax": summed.tax, **({"TaxLine": summed.tax_lines} if summed.tax_lines else {})},
            "TotalAmt": summed.total,
            "ApplyTaxAfterDiscount": False,
            "PrintStatus": body.get("PrintStatus") or "NotSet",
            "EmailStatus": body.get("EmailStatus") or "NotSet",
            **({"GlobalTaxCalculation": mode} if mode else {}),
            **in_home_currency(books, body, currency, summed.total),
        }
        return document | self._settlement(entity, body, document)

    def _settlement(self, entity: str, body: Json, document: Json) -> Json:
        """What a kind of sales document has beyond the others."""
        if entity == "RefundReceipt":
            paid_from = self.books.account(body, "DepositToAccountRef", DEPOSITABLE)
            return {"DepositToAccountRef": self.books.account_ref(paid_from), "Balance": ZERO}
        if entity == "CreditMemo":
            return {"RemainingCredit": document["TotalAmt"], "Balance": document["TotalAmt"]}
        due = body.get("DueDate")
        default = dt.date.fromisoformat(document["TxnDate"]) + dt.timedelta(days=30)
        return {
            "DueDate": str(due) if due else default.isoformat(),
            "Balance": document["TotalAmt"],
            "ARAccountRef": {"value": RECEIVABLE},
            "LinkedTxn": [],
            "Deposit": ZERO,
        }

    def _keep_settled(self, entity: str, document: Json, row: Json) -> Json:
        """An edited document keeps what was paid on it."""
        if entity == "RefundReceipt":
            return document
        paid = row["TotalAmt"] - row["Balance"]
        open_amount = document["TotalAmt"] - paid
        if open_amount < 0:
            raise faults.business("Business Validation Error: The amount is less than what was already paid.")
        settled: Json = {"Balance": open_amount}
        if entity == "CreditMemo":
            settled["RemainingCredit"] = open_amount
        return {**document, **settled, "LinkedTxn": row.get("LinkedTxn", [])}

    def _number(self, entity: str, document: Json, own_id: str, allow_duplicates: bool) -> None:
        """Numbers are unique per kind of document; without one the next is given."""
        self.books.check_length(document, "DocNumber", NUMBER_LENGTH)
        number = document["DocNumber"] or self.books.next_number(entity)
        document["DocNumber"] = number
        holder = self.books.numbered(entity, number)
        if holder is None or holder["Id"] == own_id or allow_duplicates:
            return
        if not str(holder.get("PrivateNote", "")).startswith("Voided"):
            raise faults.duplicate_number(number, entity, holder["Id"])

    def _customer(self, body: Json) -> Json:
        id = self.books.reference(body, "CustomerRef")
        if not id:
            raise faults.missing("CustomerRef")
        return self.books.active("Customer", id)

    # ------------------------------------------------------------------ lines

    def _lines(self, body: Json, mode: str) -> tuple[list[Json], list[TaxedLine]]:
        sent = [line for line in body.get("Line") or [] if line.get("DetailType") != "SubTotalLineDetail"]
        if not sent:
            raise faults.missing("Line")
        lines, taxed = [], []
        for number, line in enumerate(sent, 1):
            if line.get("DetailType") != "SalesItemLineDetail":
                raise faults.invalid_value("DetailType", line.get("DetailType"))
            kept, sums = self._sales_line(line, mode)
            lines.append({"Id": str(number), "LineNum": number, **kept})
            taxed.append(sums)
        return lines, taxed

    def _sales_line(self, line: Json, mode: str) -> tuple[Json, TaxedLine]:
        books, detail = self.books, line.get("SalesItemLineDetail") or {}
        item = books.active("Item", books.reference(detail, "ItemRef") or DEFAULT_ITEM)
        account = books.active("Account", item["IncomeAccountRef"]["value"])
        code, rates = line_tax(books, detail, mode)
        net, gross = line_amount(line), None
        if mode == "TaxInclusive":
            said = detail.get("TaxInclusiveAmt")
            gross = net if said in (None, "") else amount(said, "TaxInclusiveAmt")
            net = net_of(gross, rates, net)
        quantity = amount(detail["Qty"], "Qty") if detail.get("Qty") not in UNTOLD else None
        kept = {
            "ItemRef": {"value": item["Id"], "name": item["Name"]},
            "ItemAccountRef": books.account_ref(account),
            **({"Qty": quantity, "UnitPrice": _price(detail, net, quantity)} if quantity else {}),
            **({"TaxCodeRef": {"value": code}} if code else {}),
            **({"TaxInclusiveAmt": gross} if gross is not None else {}),
        }
        description = {"Description": line["Description"]} if line.get("Description") else {}
        row = {**description, "Amount": net, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": kept}
        return row, TaxedLine(net, gross, rates)

    # ------------------------------------------------------------------ payments

    def _payment(self, body: Json) -> Json:
        books = self.books
        customer = self._customer(body)
        currency = currency_of(books, body, customer)
        if body.get("TotalAmt") in (None, ""):
            raise faults.missing("TotalAmt")
        total = amount(body["TotalAmt"], "TotalAmt")
        if total < 0:
            raise faults.business("Business Validation Error: The transaction amount must be 0 or greater.")
        books.check_length(body, "PaymentRefNum", NUMBER_LENGTH)
        deposit = books.reference(body, "DepositToAccountRef") or UNDEPOSITED
        account = books.account({"DepositToAccountRef": {"value": deposit}}, "DepositToAccountRef", DEPOSITABLE)
        lines = [line for line in body.get("Line") or [] if line.get("LinkedTxn")]
        applied = sum((amount(line.get("Amount"), "Line.Amount") for line in lines), ZERO)
        if applied > total:
            raise faults.business("Business Validation Error: You can't apply more than the amount received.")
        return {
            **{name: body[name] for name in ("PrivateNote", "PaymentRefNum", "PaymentMethodRef") if body.get(name)},
            "TxnDate": books.date(body),
            "CustomerRef": {"value": customer["Id"], "name": customer["DisplayName"]},
            "CurrencyRef": {"value": currency},
            "DepositToAccountRef": {"value": account["Id"]},
            "TotalAmt": total,
            "UnappliedAmt": total - applied,
            "ProcessPayment": False,
            "Line": [self._payment_line(line, customer["Id"]) for line in lines],
            **exchange_rate(books, body, currency),
        }

    def _payment_line(self, line: Json, customer_id: str) -> Json:
        links = [{"TxnId": str(link.get("TxnId", "")), "TxnType": link.get("TxnType")} for link in line["LinkedTxn"]]
        for link in links:
            if link["TxnType"] not in ("Invoice", "CreditMemo"):
                raise faults.invalid_value("TxnType", link["TxnType"])
            found = self.books.rows(link["TxnType"]).get(link["TxnId"])
            if found is None:
                raise faults.not_found()
            if found["CustomerRef"]["value"] != customer_id:
                raise faults.business("Business Validation Error: The linked transaction belongs to another customer.")
        return {"Amount": amount(line.get("Amount"), "Line.Amount"), "LinkedTxn": links}

    def _apply(self, payment: Json, *, sign: int) -> None:
        """Lower (-1) or restore (+1) the balances of the documents a payment settles."""
        for line in payment["Line"]:
            for link in line["LinkedTxn"]:
                row = self.books.rows(link["TxnType"]).get(link["TxnId"])
                if row is None:
                    continue
                balance = row["Balance"] + sign * line["Amount"]
                others = [one for one in row.get("LinkedTxn", []) if one["TxnId"] != payment["Id"]]
                own = [{"TxnId": payment["Id"], "TxnType": "Payment"}] if sign < 0 else []
                settled = {"Balance": balance, "LinkedTxn": [*others, *own]}
                if link["TxnType"] == "CreditMemo":
                    settled["RemainingCredit"] = balance
                self.books.save(link["TxnType"], {**row, **settled}, is_edit=False)

    def _check_balances(self, payment: Json, before: Json) -> None:
        """A payment settles no more than is open, apart from what it settled before."""
        freed = _settled_by(before)
        for (kind, id), settled in _settled_by(payment).items():
            row = self.books.rows(kind).get(id)
            if row is not None and settled > row["Balance"] + freed.get((kind, id), ZERO):
                raise faults.business(
                    "Business Validation Error: You can't apply more than the open balance of the transaction."
                )

    def _release_payments(self, invoice: Json) -> None:
        """Payments of a document that goes become unapplied."""
        for link in invoice.get("LinkedTxn", []):
            payment = self.books.rows("Payment").get(link["TxnId"])
            if payment is None:
                continue
            kept = [line for line in payment["Line"] if all(one["TxnId"] != invoice["Id"] for one in line["LinkedTxn"])]
            applied = sum((line["Amount"] for line in kept), ZERO)
            unapplied = payment["TotalAmt"] - applied
            self.books.save("Payment", {**payment, "Line": kept, "UnappliedAmt": unapplied}, is_edit=False)


def _check_credit(document: Json) -> None:
    if document.get("Credit") and document["PaymentType"] != "CreditCard":
        raise faults.business("Business Validation Error: Credit is valid only for CreditCard transactions.")


def _settled_by(payment: Json) -> dict[tuple[str, str], Decimal]:
    settled: dict[tuple[str, str], Decimal] = {}
    for line in payment["Line"]:
        for link in line["LinkedTxn"]:
            key = (link["TxnType"], link["TxnId"])
            settled[key] = settled.get(key, ZERO) + line["Amount"]
    return settled


def _price(detail: Json, net: Decimal, quantity: Decimal) -> Decimal:
    if detail.get("UnitPrice") not in UNTOLD:
        return amount(detail["UnitPrice"], "UnitPrice")
    return round(net / quantity, 7)
