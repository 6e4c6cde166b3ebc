"""Reports of a ledger's own: what it says itself of its books."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class Balance:
    """One ledger account of a trial balance: debits positive, credits negative. `account_id` is the provider's."""

    account_id: str
    name: str
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class TrialBalance:
    """The provider's own report as at a day, in the organisation's base currency (empty when the provider does not name it).
    Accounts at zero may be absent."""

    as_of: dt.date
    currency: str
    balances: tuple[Balance, ...]
