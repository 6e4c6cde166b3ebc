"""Xero's validation messages as refusals a bookkeeper can act on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from connectors.sdk.errors import RecordRejected

#: The first pattern that fits decides: (pattern, code, what the bookkeeper can do).
KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"lock(ed)? ?date|period lock|books are locked",
        "closed_period",
        "Move the lock date in Xero or use a later date.",
    ),
    (r"archived", "archived_account", "Restore it in Xero or choose another one in the mapping."),
    (
        r"must be unique|already (assigned|exists|in use)|duplicate",
        "duplicate",
        "Look at the one that is already in Xero.",
    ),
    (
        r"not a valid (code|account|tax)|not valid for|does not exist|(could|can)not be found|could not find",
        "missing_reference",
        "Choose one that exists in Xero.",
    ),
    (r"currency", "missing_reference", "Add the currency in Xero or check the bank account."),
    (r"exceeds|amount|total|greater than", "amount", "Check the amounts of this record."),
)


def messages_of(element: Mapping[str, Any]) -> list[str]:
    """The validation messages of one returned object."""
    errors = element.get("ValidationErrors") or []
    return [str(error.get("Message", "")).strip() for error in errors if error.get("Message")]


def is_refused(element: Mapping[str, Any]) -> bool:
    """Whether Xero did not take this object of a batch."""
    if element.get("StatusAttributeString") == "ERROR":
        return True
    return bool(element.get("HasErrors") or element.get("HasValidationErrors") or messages_of(element))


def refusal(messages: Iterable[str], *, detail: str = "") -> RecordRejected:
    """One refusal for all the messages about one record."""
    texts = [text.rstrip(".") for text in dict.fromkeys(messages)] or ["it gave no reason"]
    said = ". ".join(texts)
    for pattern, code, advice in KNOWN:
        if re.search(pattern, said, re.IGNORECASE):
            return RecordRejected(f"Xero refused this: {said}. {advice}", code=code, detail=detail)
    return RecordRejected(f"Xero refused this: {said}.", detail=detail)


def refusal_of(element: Mapping[str, Any]) -> RecordRejected:
    return refusal(messages_of(element), detail="ValidationException")
