"""Xero's trial balance, taken from the report its pages show."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from connectors.sdk.errors import UnexpectedResponse
from connectors.sdk.reports import Balance, TrialBalance

DEBIT, CREDIT = "YTD Debit", "YTD Credit"


def trial_balance(answer: Mapping[str, Any], as_of: dt.date) -> TrialBalance:
    """Of the columns, the ones up to the day: the others are of its month alone. The report does not name its currency."""
    try:
        rows = answer["Reports"][0]["Rows"]
        (header,) = (row for row in rows if row["RowType"] == "Header")
        titles = [cell.get("Value", "") for cell in header["Cells"]]
        debit, credit = titles.index(DEBIT), titles.index(CREDIT)
        balances = tuple(_balance(row["Cells"], debit, credit) for row in _account_rows(rows))
    except (KeyError, IndexError, TypeError, ValueError, InvalidOperation) as error:
        raise UnexpectedResponse("Xero answered a trial balance we cannot read.", detail=repr(error)[:200]) from error
    return TrialBalance(as_of=as_of, currency="", balances=balances)


def _account_rows(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for section in rows:
        for row in section.get("Rows") or ():
            if row["RowType"] == "Row":
                yield row


def _balance(cells: list[dict[str, Any]], debit: int, credit: int) -> Balance:
    (account,) = (mark["Value"] for mark in cells[0]["Attributes"] if mark["Id"] == "account")
    amount = Decimal(cells[debit].get("Value") or 0) - Decimal(cells[credit].get("Value") or 0)
    return Balance(account_id=account, name=cells[0]["Value"], amount=amount)
