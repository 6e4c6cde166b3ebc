"""A record in its provider's own words: labelled values, and its lines as a table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from connectors.sdk.records import Party, decode
from connectors.sdk.records import Record as StandardRecord
from connectors.sdk.streams import Field
from marketplace.core.formatting import day_text, money_text
from marketplace.mapping.labels import option_words, stream_fields
from marketplace.mapping.scope import reach
from marketplace.sync.models import Record

FIGURES = ("money", "number")


@dataclass(frozen=True)
class RecordWords:
    """Facts of the record itself; then, for each list in it (lines, payments), a table."""

    facts: Sequence[tuple[str, str]]
    tables: Sequence[LineTable]


@dataclass(frozen=True)
class LineTable:
    title: str
    heads: Sequence[tuple[str, bool]]  # label, is a figure
    rows: Sequence[Sequence[tuple[str, bool]]]


def words_of(record: Record, zone: ZoneInfo) -> RecordWords:
    standard = decode(record.data_type, msgspec.json.encode(record.body))
    fields = stream_fields(record.connection.connector, record.data_type)
    currency = str(getattr(standard, "currency", ""))
    single: list[tuple[str, str]] = []
    lists: dict[str, list[Field]] = {}
    for field in fields:
        head = field.path.partition(".")[0]
        if isinstance(getattr(standard, head, None), tuple) and "." in field.path:
            lists.setdefault(head, []).append(field)
        elif field.kind != "lines" and (words := _joined(standard, field, currency, zone)):
            single.append((field.label, words))
    return RecordWords(single, [_table(standard, name, columns, currency, zone) for name, columns in lists.items()])


def _joined(record: Any, field: Field, currency: str, zone: ZoneInfo, path: str = "") -> str:
    return ", ".join(
        filter(None, (_text(value, field.kind, currency, zone) for value in reach(record, path or field.path)))
    )


def _table(record: StandardRecord, name: str, columns: Sequence[Field], currency: str, zone: ZoneInfo) -> LineTable:
    rows = [
        [
            (_joined(line, field, currency, zone, field.path.partition(".")[2]) or "–", field.kind in FIGURES)
            for field in columns
        ]
        for line in getattr(record, name)
    ]
    return LineTable(name.capitalize(), [(field.label, field.kind in FIGURES) for field in columns], rows)


def _text(value: Any, kind: str, currency: str, zone: ZoneInfo) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return money_text(value, currency) if kind == "money" else f"{value.normalize():f}"
    if isinstance(value, dt.datetime):
        return f"{day_text(value.astimezone(zone))}, {value.astimezone(zone):%H:%M}"
    if isinstance(value, dt.date):
        return day_text(value)
    if kind == "choice" and "_" in str(value):
        return option_words(str(value))
    if isinstance(value, Party):
        return ", ".join(filter(None, (value.name, value.email)))
    return str(value)
