"""Transforms a form offers between a source field and its target."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

LONGEST_TEXT = 4000
LONGEST_NUMBER = 60  # digits; no amount comes near it


def as_text(value: Any) -> str:
    """How any value reads in a text field; nothing reads as empty."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(as_text(part) for part in value)[:LONGEST_TEXT]
    if isinstance(value, Decimal):
        if abs(value.adjusted()) > LONGEST_NUMBER:
            return str(value)  # with an exponent: written out, it could be of any length
        return format(value.normalize() if value == value.to_integral() else value, "f")
    if isinstance(value, dt.datetime):
        return value.date().isoformat()
    return str(value)[:LONGEST_TEXT]


def as_local(value: Any, zone: ZoneInfo) -> Any:
    """An instant as the tenant's clock shows it, so that its text and its day are the tenant's."""
    return value.astimezone(zone) if isinstance(value, dt.datetime) else value


def as_date(value: Any, zone: ZoneInfo) -> dt.date | None:
    """The calendar day of a value: of an instant, in the tenant's zone."""
    if isinstance(value, dt.datetime):
        return value.astimezone(zone).date()
    if isinstance(value, dt.date):
        return value
    return dt.date.fromisoformat(value) if isinstance(value, str) and value else None


def add_days(value: Any, days: str) -> Any:
    """Days later; for due dates."""
    return value + dt.timedelta(days=int(days)) if isinstance(value, dt.date) else value


def replaced(value: Any, old: Any, new: Any) -> str:
    """Never longer than a text may be, however often the old text occurs and however long the new one is."""
    new = as_text(new)
    return as_text(value).replace(as_text(old), new, LONGEST_TEXT // max(1, len(new)) + 1)[:LONGEST_TEXT]


STEPS: dict[str, Callable[..., Any]] = {
    "prefix": lambda value, text: f"{text}{as_text(value)}" if as_text(value) else "",
    "suffix": lambda value, text: f"{as_text(value)}{text}" if as_text(value) else "",
    "upper": lambda value: as_text(value).upper(),
    "lower": lambda value: as_text(value).lower(),
    "trim": lambda value: as_text(value).strip(" #"),
    "first": lambda value, count: as_text(value)[: int(count)],
    "replace": replaced,
    "add_days": add_days,
}

#: What the form calls each transform, and what it needs.
STEP_LABELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "prefix": ("Put in front", ("Text",)),
    "suffix": ("Put behind", ("Text",)),
    "upper": ("In capitals", ()),
    "lower": ("In small letters", ()),
    "trim": ("Without spaces and # around it", ()),
    "first": ("Only the first characters", ("How many",)),
    "replace": ("Replace", ("This", "By this")),
    "add_days": ("Days later", ("Days",)),
}

#: Transforms whose argument counts something.
COUNTING_STEPS = frozenset({"first", "add_days"})
