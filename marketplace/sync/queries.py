"""Lists of what we have read."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from django.db.models import Count, F, Q, QuerySet
from django.db.models.expressions import OrderBy

from connectors.registry import connector
from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.installations.models import Connection
from marketplace.sync.models import Record, RejectedRow

SORTS = {"date": "occurred_on", "number": "number", "party": "party", "amount": "amount"}


@dataclass(frozen=True)
class Shelf:
    """One data type of one connection, with how many records of it we have."""

    connection: Connection
    data_type: str
    label: str
    count: int


def shelves() -> list[tuple[Connection, list[Shelf]]]:
    """Every connection with its data types, in the providers' own words; two statements."""
    counts: dict[tuple[uuid.UUID, str], int] = {
        (row["connection_id"], row["data_type"]): row["count"]
        for row in Record.objects.values("connection_id", "data_type").annotate(count=Count("id")).order_by()
    }
    found = []
    for connection in Connection.objects.order_by("connected_at"):
        read = connector(connection.connector)
        labels = {stream.data_type: stream.label for stream in read.streams}
        here = [
            Shelf(connection, data_type, labels.get(data_type, DATA_TYPE_NAMES[data_type][1].capitalize()), count)
            for (connection_id, data_type), count in sorted(counts.items(), key=lambda item: _place(labels, item[0][1]))
            if connection_id == connection.pk
        ]
        found.append((connection, here))
    return found


def _place(labels: dict[str, str], data_type: str) -> tuple[int, str]:
    """In the order the connector lists its streams."""
    order = list(labels)
    return (order.index(data_type) if data_type in order else len(order), data_type)


def records_of(
    connection: Connection,
    data_type: str,
    *,
    text: str = "",
    first: dt.date | None = None,
    last: dt.date | None = None,
    sort: str = "",
) -> QuerySet[Record]:
    found = Record.objects.filter(connection=connection, data_type=data_type).defer("body", "raw")
    for word in text.split():
        found = found.filter(
            Q(number__icontains=word)
            | Q(reference__icontains=word)
            | Q(party__icontains=word)
            | Q(external_id__icontains=word)
        )
    if first:
        found = found.filter(occurred_on__gte=first)
    if last:
        found = found.filter(occurred_on__lte=last)
    return found.order_by(*_order(sort))


def _order(sort: str) -> tuple[OrderBy, str]:
    column = SORTS.get(sort.removeprefix("-"))
    if column is None:
        return (F("occurred_on").desc(nulls_last=True), "-id")
    expression = F(column)
    return (expression.desc(nulls_last=True) if sort.startswith("-") else expression.asc(nulls_last=True), "id")


def open_rejections() -> QuerySet[RejectedRow]:
    return RejectedRow.objects.filter(resolved_at=None).select_related("connection").order_by("-at", "-id")
