"""A contact's fields as text, as two-way flows compare them: what a change says, and when two values are the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from connectors.sdk.records import Address, Customer

FIELDS = ("name", "email", "phone", "tax_number", "address")
ADDRESS_PARTS = ("line1", "line2", "city", "region", "postal_code", "country")
ANOTHER = "\N{SYMBOL FOR SUBSTITUTE}"  # in a base: whatever was known there, it is not what stands there now

Values = Mapping[str, str]


def texts_of(record: Customer) -> dict[str, str]:
    """A contact's fields as text. The address is one field: its parts make no sense from two sides."""
    address = [str(getattr(record.address, part)) for part in ADDRESS_PARTS]
    return {
        "name": record.name,
        "email": record.email,
        "phone": record.phone,
        "tax_number": record.tax_number,
        "address": "\n".join(part.replace("\n", " ") for part in address) if any(address) else "",
    }


def only(record: Customer, fields: Collection[str]) -> Customer:
    """The contact with nothing but these fields. What is left at its default is not sent; what is to be emptied is named."""
    kept: dict[str, Any] = {name: getattr(record, name) for name in FIELDS if name in fields}
    emptied = tuple(name for name, text in texts_of(record).items() if name in fields and not text)
    return Customer(**{"id": record.id, "name": "", "address": Address(), **kept}, emptied=emptied)


def said_by(change: Customer) -> dict[str, str]:
    """What a change says: the fields it fills, and those it empties."""
    return {name: text for name, text in texts_of(change).items() if text or name in change.emptied}


def fingerprint(name: str, text: str) -> str:
    """What is left of a value once a provider's own way of writing it is taken off. Equal fingerprints are the same value."""
    if text == ANOTHER:
        return text
    if name == "phone":
        return "".join(sign for sign in text if sign.isdigit()).removeprefix("00")
    if name == "email":
        return text.strip().casefold()
    if name == "tax_number":
        return "".join(sign for sign in text if sign.isalnum()).casefold()
    lines = [" ".join(line.split()) for line in text.split("\n")]
    if name == "address" and len(lines) == len(ADDRESS_PARTS):
        lines[-1] = lines[-1].upper()
    return "\n".join(lines)


def is_same(name: str, one: str, other: str) -> bool:
    return one == other or fingerprint(name, one) == fingerprint(name, other)


def is_echo(sent: str, held: str) -> bool:
    """Whether a value may be what a provider made of the one we sent: the same letters and digits, whatever else it did to it."""
    return _letters(sent) == _letters(held)


def _letters(text: str) -> str:
    return "".join(sign for sign in text if sign.isalnum()).casefold()
