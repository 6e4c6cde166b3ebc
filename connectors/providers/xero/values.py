"""Xero's ways of writing instants, days, countries and references to ledger accounts."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from babel import Locale
from babel.core import get_global

_MS_DATE = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")
_GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def moment(value: Any) -> dt.datetime | None:
    """`/Date(1776297600000+0000)/` or ISO text as an aware datetime; None when absent. Raises ValueError.

    The offset in Microsoft's form only says how the instant was displayed; the number is always UTC.
    """
    if not value:
        return None
    text = str(value)
    if found := _MS_DATE.fullmatch(text):
        return _EPOCH + dt.timedelta(milliseconds=int(found[1]))
    parsed = dt.datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)


def day(value: Any) -> dt.date | None:
    """A calendar day; Xero sends it as midnight UTC whatever the organisation's time zone."""
    at = moment(value)
    return at.date() if at else None


def money(value: Any) -> Decimal:
    """Raises ValueError where an amount is missing or not a number."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError(f"{value!r} is not an amount")
    return Decimal(value)


def is_guid(text: str) -> bool:
    return _GUID.fullmatch(text) is not None


def account_reference(ledger_account: str) -> dict[str, str]:
    """How a payment or bank line names a ledger account: those without a code go by their id."""
    return {"AccountID": ledger_account} if is_guid(ledger_account) else {"Code": ledger_account}


def account_code(account: Mapping[str, Any] | None) -> str:
    """The inverse: the code, or the id of an account that has none."""
    account = account or {}
    return str(account.get("Code") or account.get("AccountID") or "")


@cache
def _countries() -> tuple[dict[str, str], dict[str, str]]:
    names = {code: name for code, name in Locale("en").territories.items() if len(code) == 2}
    return names, {name.casefold(): code for code, name in names.items()}


def country_name(code: str) -> str:
    """Xero keeps countries as text for people."""
    return _countries()[0].get(code, code)


def country_code(name: str) -> str:
    """The ISO code of what somebody typed as country, or empty when it is not one we know."""
    names, codes = _countries()
    text = name.strip()
    return text.upper() if text.upper() in names else codes.get(text.casefold(), "")


@cache
def _time_zones() -> dict[str, str]:
    windows = get_global("windows_zone_mapping")
    return {re.sub("[^A-Z0-9]", "", name.upper()): zone for name, zone in windows.items()}


def time_zone(name: str) -> str:
    """Xero writes Windows' names in capitals and without spaces; empty for one that has no IANA name."""
    return _time_zones().get(name, "")


def time_zone_name(zone: str) -> str:
    """The inverse of `time_zone`."""
    return next((name for name, known in _time_zones().items() if known == zone), "UTC")


def quoted(text: str) -> str:
    """A string in a `where` filter, which has no way to escape its own quotes."""
    return '"' + text.replace('"', "").replace("\\", "") + '"'
