"""Two documents laid side by side, and how far two sets of them agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from marketplace.core.formatting import day_text, money_text, percent_text
from marketplace.cutover.gate import MatchRate
from marketplace.cutover.models import Pair
from marketplace.cutover.words import accounts_text
from marketplace.posting.models import Posting
from marketplace.sync.models import Record

Rows = list[tuple[str, Any, Any]]


def side_rows(pair: Pair, accounts: Mapping[str, str]) -> Rows:
    """Field by field, ours and theirs; a side that is missing stays empty. `accounts` names the ledger's accounts by their codes."""
    ours, theirs = _ours(pair.posting, accounts), _theirs(pair.entry, accounts)
    names = list(dict.fromkeys([*ours, *theirs]))
    return [(name, ours.get(name), theirs.get(name)) for name in names]


def _ours(posting: Posting | None, accounts: Mapping[str, str]) -> dict[str, str]:
    if posting is None:
        return {}
    return {
        "Date": day_text(posting.occurred_on),
        "Customer": posting.party,
        "Amount": money_text(posting.amount, posting.currency),
        "Tax": money_text(posting.tax_amount, posting.currency),
        "Currency": posting.currency,
        "Ledger accounts": accounts_text(posting.ledger_account, accounts),
        **_lines(posting.document, posting.currency),
    }


def _theirs(entry: Record | None, accounts: Mapping[str, str]) -> dict[str, str]:
    if entry is None:
        return {}
    return {
        "Date": day_text(entry.occurred_on),
        "Customer": entry.party,
        "Amount": money_text(entry.amount, entry.currency),
        "Tax": money_text(entry.tax_amount, entry.currency),
        "Currency": entry.currency,
        "Ledger accounts": accounts_text(entry.ledger_account, accounts),
        **_lines(entry.body, entry.currency),
    }


def _lines(document: Mapping[str, Any], currency: str) -> dict[str, str]:
    return {
        f"Line {place}": f"{line['description']}, {money_text(Decimal(str(line['amount'])), currency)}"
        for place, line in enumerate(document.get("lines", ()), start=1)
    }


def money_rows(rate: MatchRate) -> Sequence[tuple[str, str, str]]:
    """Per currency: what agrees, of what was compared, as a share."""
    return [
        (money_text(agreed, currency), money_text(compared, currency), percent_text(agreed / compared))
        for currency, (compared, agreed) in sorted(rate.money.items())
        if compared
    ]
