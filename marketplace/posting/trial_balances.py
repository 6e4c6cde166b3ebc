"""The ledger's own trial balance, read before and after a reversal and kept with it.

It is kept as JSON: the day it is `as_of`, the `currency` where the ledger names it, `before` and `after` (account -> name and amount),
`expected` (account -> what the entries taken back booked on it, turned round), `rounding` (account -> how far off that may be, because
the ledger itself converts what is in a foreign currency), the `problem` that kept it from being read, and whether
that `needs_consent`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from connectors.sdk.client import Client
from connectors.sdk.errors import ConfigurationError, ConnectorError, TransientError
from connectors.sdk.reports import TrialBalance
from marketplace.core.formatting import day_text
from marketplace.mapping.options import account_name
from marketplace.mapping.plan import Ledger

Kept = dict[str, Any]
ZERO = Decimal(0)


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


@dataclass(frozen=True)
class Expected:
    """By account: what a reversal takes off, and how far off that may be."""

    amounts: Mapping[str, Decimal]
    rounding: Mapping[str, Decimal]


def with_after(kept: Mapping[str, Any], reading: Reading, expected: Expected | None) -> Kept:
    """`expected` is None where it cannot be told."""
    if reading.report is None:
        return {**kept, **reading.told}
    told = {"expected": None if expected is None else _texts(expected.amounts)}
    told["rounding"] = _texts(expected.rounding) if expected is not None else {}
    return {**kept, **told, "after": _accounts(reading.report), "problem": ""}


def _texts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {account: str(amount) for account, amount in amounts.items()}


def _accounts(report: TrialBalance) -> dict[str, list[str]]:
    return {one.account_id: [one.name, str(one.amount)] for one in report.balances}


#: What is expected on accounts the entries do not name: that of the sales tax, and that of exchange gains and losses.
OTHER, EXCHANGE = "", "exchange"
CENT = Decimal("0.01")
Movements = Mapping[str, Decimal]


def expected_of(
    booked: Iterable[tuple[str, Mapping[str, str], Mapping[str, str]]], ledger: Ledger, currency: str
) -> Expected | None:
    """Of entries taken back: their currency, what they booked, and what that was in the base currency. None when some of it is in
    another currency than the report and cannot be converted."""
    ids = {account_name(account): account.id for account in ledger.ledger_accounts.values()} | {EXCHANGE: EXCHANGE}
    amounts: dict[str, Decimal] = {}
    rounding: dict[str, Decimal] = {}
    for own, movements, base_movements in booked:
        if own != currency and movements and not base_movements:
            return None
        for account, text in (movements if own == currency else base_movements).items():
            id = ids.get(account, OTHER)
            amounts[id] = amounts.get(id, ZERO) - Decimal(text)
            if own != currency:
                rounding[id] = rounding.get(id, ZERO) + CENT * max(1, len(base_movements) // 2)
    return Expected({id: amount for id, amount in amounts.items() if amount}, rounding)


def in_base(movements: Movements, rate: Decimal) -> dict[str, Decimal]:
    """What an entry books, in the base currency. What rounding leaves goes with its last account."""
    booked = {account: _converted(amount, rate) for account, amount in movements.items()}
    if booked:
        booked[list(booked)[-1]] -= sum(booked.values(), ZERO)
    return booked


def payment_in_base(movements: Movements, rate: Decimal, settled_at: Decimal, *, receivable: str) -> dict[str, Decimal]:
    """A payment books the money at its own rate and takes off what customers owe at the rate of what it pays: the difference is a gain
    or loss, which ledgers book by themselves."""
    booked = {
        account: _converted(amount, settled_at if account == receivable else rate)
        for account, amount in movements.items()
    }
    difference = sum(booked.values(), ZERO)
    return {**booked, EXCHANGE: -difference} if difference else booked


def _converted(amount: Decimal, rate: Decimal) -> Decimal:
    return (amount * rate).quantize(CENT, ROUND_HALF_UP)


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
    is_converted: bool = False  # a part of it is in a foreign currency

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
        is_as_planned=_is_as_planned(kept, {id: one.difference for id, one in found.items()}),
        is_converted=bool(kept.get("rounding")),
    )


def _amount(accounts: Mapping[str, list[str]], id: str) -> Decimal:
    return Decimal(accounts[id][1]) if id in accounts else Decimal(0)


def _is_as_planned(kept: Mapping[str, Any], moved: Movements) -> bool | None:
    """Every account the entries name moved by just that much, and the others by what they do not name: sales tax, exchange gains."""
    if kept.get("expected") is None:
        return None
    expected = {id: Decimal(text) for id, text in kept["expected"].items()}
    rounding = {id: Decimal(text) for id, text in kept.get("rounding", {}).items()}
    named = expected.keys() | rounding.keys()
    unnamed = [expected[id] for id in (OTHER, EXCHANGE) if expected.get(id)]
    others = [amount for id, amount in moved.items() if amount and id not in named]
    off = sum(rounding.values(), ZERO)
    is_other_right = abs(sum(others, ZERO) - sum(unnamed, ZERO)) <= off and len(others) <= len(unnamed) + bool(off)
    accounts = named - {OTHER, EXCHANGE}
    return is_other_right and all(
        abs(moved.get(id, ZERO) - expected.get(id, ZERO)) <= rounding.get(id, ZERO) for id in accounts
    )
