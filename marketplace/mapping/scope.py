"""The pilot's filter: which records are in scope, by conditions over the source's own fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from connectors.sdk.records import Record
from marketplace.mapping.steps import as_text

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


def is_in_scope(scope: Sequence[Mapping[str, str]], record: Record) -> bool:
    """Whether all conditions hold. No condition: everything is in scope."""
    return all(_holds(condition, record) for condition in scope)


def _holds(condition: Mapping[str, str], record: Record) -> bool:
    value = reach(record, condition["path"])
    return _OPERATORS[condition["operator"]](value, condition["value"])


def reach(record: Any, path: str) -> Any:
    """The value at a dotted path; of a list, all its values."""
    value = record
    for part in path.split("."):
        if isinstance(value, tuple):
            value = tuple(getattr(element, part, None) for element in value)
        else:
            value = getattr(value, part, None)
    return value


def _texts(value: Any) -> list[str]:
    parts = value if isinstance(value, tuple) else (value,)
    return [as_text(part).strip().lower() for part in parts]


def _number(text: Any) -> Decimal:
    try:
        return Decimal(as_text(text))
    except InvalidOperation:
        return Decimal(0)


_OPERATORS: dict[str, Callable[[Any, str], bool]] = {
    "is": lambda value, wanted: wanted.strip().lower() in _texts(value),
    "is_not": lambda value, wanted: wanted.strip().lower() not in _texts(value),
    "contains": lambda value, wanted: any(wanted.strip().lower() in text for text in _texts(value)),
    "at_least": lambda value, wanted: _number(value) >= _number(wanted),
    "at_most": lambda value, wanted: _number(value) <= _number(wanted),
    "on_or_after": lambda value, wanted: as_text(value) >= wanted,
    "on_or_before": lambda value, wanted: as_text(value) <= wanted,
}
