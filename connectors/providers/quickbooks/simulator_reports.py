"""The trial balance of a simulated company, worked out from its append-only ledger."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import partial
from typing import Any

from connectors.providers.quickbooks import simulator_faults as faults
from connectors.providers.quickbooks.simulator_books import Books
from connectors.providers.quickbooks.simulator_chart import EXCHANGE_GAIN, RECEIVABLE, RETAINED_EARNINGS, TAX_PAYABLE
from connectors.testing.ledger import EXCHANGE, TAX, Ledger
from connectors.testing.ledger import RECEIVABLE as RECEIVABLES

Json = dict[str, Any]
OF_A_YEAR = ("Revenue", "Expense")
KNOWN = {RECEIVABLES: RECEIVABLE, TAX: TAX_PAYABLE, EXCHANGE: EXCHANGE_GAIN}
ZERO = Decimal(0)


def trial_balance_report(books: Books, *, ledger: Ledger, args: Any, time: str) -> Json:
    """Accounts of a year since `start_date`, the others since ever; what was earned before stands as retained earnings."""
    start, end = (_day(args, name) for name in ("start_date", "end_date"))
    rate = partial(_in_home, books)
    ever = ledger.moved(books.realm, until=end, in_base=rate)
    since = ledger.moved(books.realm, until=end, since=start, in_base=rate)
    sums: dict[str, Decimal] = {}
    for named, amount in ever.items():
        id = KNOWN.get(named, named)
        is_of_year = books.get("Account", id)["Classification"] in OF_A_YEAR
        kept = since.get(named, ZERO) if is_of_year else amount
        for account, part in ((id, kept), (RETAINED_EARNINGS, amount - kept)):
            sums[account] = sums.get(account, ZERO) + part
    rows = sorted(
        (books.get("Account", id) | {"_amount": amount} for id, amount in sums.items() if amount), key=_number
    )
    total = f"{sum((row['_amount'] for row in rows if row['_amount'] > 0), ZERO):.2f}"
    return {
        "Header": {
            "Time": time,
            "ReportName": "TrialBalance",
            "ReportBasis": "Accrual",
            "StartPeriod": start.isoformat(),
            "EndPeriod": end.isoformat(),
            "SummarizeColumnsBy": "Total",
            "Currency": books.home,
            "Option": [{"Name": "NoReportData", "Value": "false" if rows else "true"}],
        },
        "Columns": {
            "Column": [
                {"ColTitle": "", "ColType": "Account"},
                {"ColTitle": "Debit", "ColType": "Money"},
                {"ColTitle": "Credit", "ColType": "Money"},
            ]
        },
        "Rows": {
            "Row": [
                *({"ColData": [{"value": row["Name"], "id": row["Id"]}, *_sides(row["_amount"])]} for row in rows),
                {
                    "type": "Section",
                    "group": "GrandTotal",
                    "Summary": {"ColData": [{"value": "TOTAL"}, {"value": total}, {"value": total}]},
                },
            ]
        },
    }


def _day(args: Any, name: str) -> dt.date:
    try:
        return dt.date.fromisoformat(str(args.get(name, "")))
    except ValueError as error:
        raise faults.invalid_value(name, args.get(name)) from error


def _in_home(books: Books, currency: str, amount: Decimal, rate: Decimal | None) -> Decimal:
    return round(amount * (rate or books.rate(currency)), 2)


def _number(row: Json) -> str:
    return str(row.get("AcctNum", row["Name"]))


def _sides(amount: Decimal) -> list[Json]:
    text = f"{abs(amount):.2f}"
    return [{"value": text if amount > 0 else ""}, {"value": "" if amount > 0 else text}]
