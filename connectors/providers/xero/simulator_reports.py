"""The trial balance of a simulated organisation, worked out from its append-only ledger."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import partial

from connectors.providers.xero.simulator_books import Books, Row, milliseconds
from connectors.testing.ledger import EXCHANGE, RECEIVABLE, TAX

SECTIONS = {
    "REVENUE": "Revenue",
    "EXPENSE": "Expenses",
    "ASSET": "Assets",
    "LIABILITY": "Liabilities",
    "EQUITY": "Equity",
}
OF_A_YEAR = ("REVENUE", "EXPENSE")
SYSTEM = {RECEIVABLE: "DEBTORS", TAX: "GST", EXCHANGE: "REALISEDCURRENCYGAIN"}
#: The year ends on 31 March, as the organisation says of itself.
YEAR_BEGINS = 4
TITLES = ("Account", "Debit", "Credit", "YTD Debit", "YTD Credit")
ZERO = Decimal(0)


def trial_balance_report(books: Books, day: dt.date) -> Row:
    month, year = day.replace(day=1), day.replace(day=1, month=YEAR_BEGINS)
    if year > day:
        year = year.replace(year=day.year - 1)
    of_month, to_date = _sums(books, day, since=month), _to_date(books, day, year)
    rows = [_row(books, id, of_month.get(id, ZERO), amount) for id, amount in to_date.items()]
    sections = [
        {"RowType": "Section", "Title": title, "Rows": [row for kind, row in rows if kind == section]}
        for section, title in SECTIONS.items()
    ]
    total = sum((amount for amount in to_date.values() if amount > 0), ZERO)
    this_month = sum((amount for amount in of_month.values() if amount > 0), ZERO)
    sums = {"RowType": "SummaryRow", "Cells": _texts("Total", *map(_text, (this_month, this_month, total, total)))}
    return {
        "ReportID": "TrialBalance",
        "ReportName": "Trial Balance",
        "ReportType": "TrialBalance",
        "ReportTitles": ["Trial Balance", books.organisation["name"], f"As at {day:%-d %B %Y}"],
        "ReportDate": f"{day:%-d %B %Y}",
        "UpdatedDateUTC": f"/Date({milliseconds(books.simulator.now())})/",
        "Fields": [],
        "Rows": [
            {"RowType": "Header", "Cells": _texts(*TITLES)},
            *(section for section in sections if section["Rows"]),
            {"RowType": "Section", "Title": "", "Rows": [sums]},
        ],
    }


def _sums(books: Books, day: dt.date, since: dt.date = dt.date.min) -> dict[str, Decimal]:
    """By the account's id."""
    moved = books.simulator.ledger.moved(books.id, until=day, since=since, in_base=partial(_in_base, books))
    sums: dict[str, Decimal] = {}
    for named, amount in moved.items():
        id = _account_id(books, named)
        sums[id] = sums.get(id, ZERO) + amount
    return sums


def _to_date(books: Books, day: dt.date, year: dt.date) -> dict[str, Decimal]:
    """What earlier years earned stands among the retained earnings."""
    ever, this_year = _sums(books, day), _sums(books, day, since=year)
    retained = next(
        row["AccountID"] for row in books["Accounts"].values() if row.get("SystemAccount") == "RETAINEDEARNINGS"
    )
    sums: dict[str, Decimal] = {}
    for id, amount in ever.items():
        is_of_year = _account(books, id)["Class"] in OF_A_YEAR
        kept = this_year.get(id, ZERO) if is_of_year else amount
        sums[id] = sums.get(id, ZERO) + kept
        if amount != kept:
            sums[retained] = sums.get(retained, ZERO) + amount - kept
    return sums


def _in_base(books: Books, currency: str, amount: Decimal, rate: Decimal | None) -> Decimal:
    """What is in the base currency itself names a rate of one."""
    return (amount / (rate or books.rate(currency))).quantize(Decimal("0.01"))


def _account_id(books: Books, named: str) -> str:
    if named in SYSTEM:
        return next(
            str(row["AccountID"]) for row in books["Accounts"].values() if row.get("SystemAccount") == SYSTEM[named]
        )
    found = books.account({"Code": named}) or books.account({"AccountID": named})
    if found is None:
        raise KeyError(named)
    return str(found["AccountID"])


def _account(books: Books, id: str) -> Row:
    found = books["Accounts"].get(id)
    if found is None:
        raise KeyError(id)
    return found


def _row(books: Books, id: str, of_month: Decimal, to_date: Decimal) -> tuple[str, Row]:
    account = _account(books, id)
    name = f"{account['Name']} ({account['Code']})" if account.get("Code") else account["Name"]
    mark = [{"Value": id, "Id": "account"}]
    cells = [{**cell, "Attributes": mark} for cell in _texts(name, *_sides(of_month), *_sides(to_date))]
    return account["Class"], {"RowType": "Row", "Cells": cells}


def _sides(amount: Decimal) -> tuple[str, str]:
    """Debit and credit; nothing stands on the credit side as nought."""
    return (_text(amount), "") if amount > 0 else ("", _text(-amount))


def _text(amount: Decimal) -> str:
    return f"{amount:.2f}"


def _texts(*values: str) -> list[Row]:
    return [{"Value": value} for value in values]
