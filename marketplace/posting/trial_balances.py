"""The ledger's own trial balance, read before and after a reversal and kept with it.

It is kept as JSON: the day it is `as_of`, the `currency` where the ledger names it, `before` and `after` (account -> name and amount),
`expected` (account -> what the entries taken back booked on it, turned round), the `problem` that kept it from being read, and whether
that `needs_consent`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from connectors.sdk.client import Client
from connectors.sdk.errors import ConfigurationError, ConnectorError, TransientError
from connectors.sdk.reports import TrialBalance
from marketplace.core.formatting import day_text
from marketplace.mapping.options import account_name
from marketplace.mapping.plan import Ledger

Kept = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """`problem`: why there is no report; `is_passing` if it can be read a little later, `needs_consent` if a person must allow it first.
    Without a problem: the ledger offers none."""

    report: TrialBalance | None = None
    problem: str = ""
    is_passing: bool = False
    needs_consent: bool = False

    @property
    def told(self) -> Kept:
        return {"problem": self.problem, "needs_consent": self.needs_consent}


def read_report(client: Client, as_of: dt.date) -> Reading:
    try:
        return Reading(client.trial_balance(as_of))
    except ConnectorError as error:
        return Reading(
            problem=error.user_message,
            is_passing=isinstance(error, TransientError),
            needs_consent=isinstance(error, ConfigurationError),
        )


def day_of_report(today: dt.date, days: Iterable[dt.date], closed_until: dt.date | None) -> dt.date:
    """A day by which everything that goes, and every entry against it, is in the books."""
    first_open = [closed_until + dt.timedelta(days=1)] if closed_until else []
    return max([today, *days, *first_open])


def with_before(kept: Mapping[str, Any], reading: Reading, as_of: dt.date) -> Kept:
    """How the books stood before: the latest reading that succeeded."""
    if reading.report is None:
        return {**kept, **reading.told} if reading.problem else dict(kept)
    return {
        "as_of": as_of.isoformat(),
        "currency": reading.report.currency,
        "before": _accounts(reading.report),
        "problem": "",
    }


def with_after(kept: Mapping[str, Any], reading: Reading, expected: Mapping[str, Decimal] | None) -> Kept:
    """`expected` is None where it cannot be told, such as in several currencies."""
    if reading.report is None:
        return {**kept, **reading.told}
    told = None if expected is None else {account: str(amount) for account, amount in expected.items()}
    return {**kept, "after": _accounts(reading.report), "expected": told, "problem": ""}


def _accounts(report: TrialBalance) -> dict[str, list[str]]:
    return {one.account_id: [one.name, str(one.amount)] for one in report.balances}


OTHER = ""  # what is expected on accounts the entries do not name, such as that of the sales tax


def expected_of(effect: Iterable[Mapping[str, str]], ledger: Ledger, currency: str) -> dict[str, Decimal] | None:
    """By account, what the reversal takes off; None when a part of it is in another currency than the report."""
    ids = {account_name(account): account.id for account in ledger.ledger_accounts.values()}
    sums: dict[str, Decimal] = {}
    for row in effect:
        if row["currency"] != currency:
            return None
        id = ids.get(row["account"], OTHER)
        sums[id] = sums.get(id, Decimal(0)) + Decimal(row["reversal"])
    return {id: amount for id, amount in sums.items() if amount}


# --- as the page shows it ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """One line of the ledger's report: before, after, and what was expected to change."""

    name: str
    before: Decimal
    after: Decimal

    @property
    def difference(self) -> Decimal:
        return self.after - self.before


@dataclass(frozen=True)
class Comparison:
    """Accounts that stood and stand at nought are left out. `is_as_planned` is None where that cannot be told."""

    as_of: dt.date
    currency: str
    moved: list[Account]
    equal: list[Account]
    is_as_planned: bool | None

    @property
    def note(self) -> str:
        return f"Its own report as at {day_text(self.as_of)}; debits are positive, credits negative"


def comparison_of(kept: Mapping[str, Any], base_currency: str) -> Comparison | None:
    """None until both reports were read."""
    if "before" not in kept or "after" not in kept:
        return None
    before, after = kept["before"], kept["after"]
    found = {
        id: Account((after.get(id) or before[id])[0], _amount(before, id), _amount(after, id))
        for id in {**before, **after}
    }
    accounts = sorted(found.values(), key=lambda one: one.name)
    return Comparison(
        as_of=dt.date.fromisoformat(kept["as_of"]),
        currency=kept["currency"] or base_currency,
        moved=[one for one in accounts if one.difference],
        equal=[one for one in accounts if one.before and not one.difference],
        is_as_planned=_is_as_planned(kept.get("expected"), {id: one.difference for id, one in found.items()}),
    )


def _amount(accounts: Mapping[str, list[str]], id: str) -> Decimal:
    return Decimal(accounts[id][1]) if id in accounts else Decimal(0)


def _is_as_planned(expected: Mapping[str, str] | None, moved: Mapping[str, Decimal]) -> bool | None:
    """Every account the entries name moved by just that much, and the others by what they do not name, such as sales tax."""
    if expected is None:
        return None
    named = {id: Decimal(amount) for id, amount in expected.items() if id != OTHER}
    others = [amount for id, amount in moved.items() if amount and id not in named]
    unnamed = Decimal(expected.get(OTHER, "0"))
    is_other_right = sum(others, Decimal(0)) == unnamed and len(others) <= (1 if unnamed else 0)
    return is_other_right and all(moved.get(id, Decimal(0)) == amount for id, amount in named.items())
