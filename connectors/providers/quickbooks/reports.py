"""QuickBooks' trial balance, taken from the report its pages show."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from connectors.sdk.errors import UnexpectedResponse
from connectors.sdk.reports import Balance, TrialBalance

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")  # fmt: skip


def year_begins(as_of: dt.date, month: str) -> dt.date:
    """The first day of the financial year a day lies in."""
    first = dt.date(as_of.year, MONTHS.index(month) + 1 if month in MONTHS else 1, 1)
    return first if first <= as_of else first.replace(year=as_of.year - 1)


def trial_balance(answer: Mapping[str, Any], as_of: dt.date) -> TrialBalance:
    try:
        titles = [column["ColTitle"] for column in answer["Columns"]["Column"]]
        debit, credit = titles.index("Debit"), titles.index("Credit")
        rows = [row["ColData"] for row in answer["Rows"].get("Row", []) if "ColData" in row]
        balances = tuple(_balance(cells, debit, credit) for cells in rows)
        currency = str(answer["Header"]["Currency"])
    except (KeyError, IndexError, TypeError, ValueError, InvalidOperation) as error:
        raise UnexpectedResponse(
            "QuickBooks answered a trial balance we cannot read.", detail=repr(error)[:200]
        ) from error
    return TrialBalance(as_of=as_of, currency=currency, balances=balances)


def _balance(cells: list[dict[str, Any]], debit: int, credit: int) -> Balance:
    amount = Decimal(cells[debit].get("value") or 0) - Decimal(cells[credit].get("value") or 0)
    return Balance(account_id=cells[0]["id"], name=cells[0]["value"], amount=amount)
