"""The pilot's filter: which records are in scope, by conditions over the source's own fields."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from connectors.sdk.records import Record
from marketplace.mapping.models import Flow, Stage
from marketplace.mapping.plan import Excluded
from marketplace.mapping.steps import as_local, as_text

#: What the form calls each condition.
OPERATOR_LABELS = {
    "is": "is",
    "is_not": "is not",
    "contains": "contains",
    "at_least": "is at least",
    "at_most": "is at most",
    "on_or_after": "is on or after",
    "on_or_before": "is on or before",
}


def check_agreed(flow: Flow, record: Record, occurred_on: dt.date | None, zone: ZoneInfo) -> None:
    """A flow posts from its start date on, and in the pilot only what is in scope. Raises `Excluded`."""
    if occurred_on and occurred_on < flow.start_date:
        raise Excluded("before_start", f"It is dated before this flow's start on {flow.start_date:%-d %B %Y}.")
    if flow.stage == Stage.PILOT and not is_in_scope(flow.scope, record, zone):
        raise Excluded("outside_pilot", "It is outside the pilot's scope.")


def is_in_scope(scope: Sequence[Mapping[str, str]], record: Record, zone: ZoneInfo) -> bool:
    """Whether all conditions hold; instants count by the tenant's day. No condition: everything is in scope."""
    return all(_holds(condition, record, zone) for condition in scope)


def _holds(condition: Mapping[str, str], record: Record, zone: ZoneInfo) -> bool:
    values = [as_local(value, zone) for value in reach(record, condition["path"])]
    return _OPERATORS[condition["operator"]](values, condition["value"].strip().lower())


def reach(record: Any, path: str) -> list[Any]:
    """The values at a dotted path: one, or those of every element of the lists on the way."""
    values = [record]
    for part in path.split("."):
        values = [found for value in values for found in _elements(getattr(value, part, None))]
    return values


def _elements(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple) else (value,)


def _text(value: Any) -> str:
    return as_text(value).strip().lower()


def amount_of(text: str) -> Decimal | None:
    """A number as a person types it; None when it is none."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def _any_amount(values: list[Any], holds: Callable[[Decimal], bool]) -> bool:
    amounts = [amount_of(_text(value)) for value in values]
    return any(amount is not None and holds(amount) for amount in amounts)


def _any_day(values: list[Any], holds: Callable[[str], bool]) -> bool:
    return any(_text(value) and holds(_text(value)) for value in values)


_ZERO = Decimal(0)
_OPERATORS: dict[str, Callable[[list[Any], str], bool]] = {
    "is": lambda values, wanted: wanted in map(_text, values),
    "is_not": lambda values, wanted: wanted not in map(_text, values),
    "contains": lambda values, wanted: any(wanted in _text(value) for value in values),
    "at_least": lambda values, wanted: _any_amount(values, lambda found: found >= (amount_of(wanted) or _ZERO)),
    "at_most": lambda values, wanted: _any_amount(values, lambda found: found <= (amount_of(wanted) or _ZERO)),
    "on_or_after": lambda values, wanted: _any_day(values, lambda found: found >= wanted),
    "on_or_before": lambda values, wanted: _any_day(values, lambda found: found <= wanted),
}
