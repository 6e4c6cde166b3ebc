"""What the API's lists can be narrowed by; a value that makes no sense is answered with 400 and says which."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import PageNumberPagination


class Pages(PageNumberPagination):
    """`?page=2&page_size=500`; answers count, next, previous and results."""

    page_size = 100
    max_page_size = 500
    page_size_query_param = "page_size"


def date_from(query: Mapping[str, str], name: str) -> dt.date | None:
    value = query.get(name, "")
    try:
        return dt.date.fromisoformat(value) if value else None
    except ValueError:
        raise ValidationError({name: "Give a day as YYYY-MM-DD."}) from None


def id_from(query: Mapping[str, str], name: str) -> uuid.UUID | None:
    value = query.get(name, "")
    try:
        return uuid.UUID(value) if value else None
    except ValueError:
        raise ValidationError({name: "Give the identity of a flow."}) from None


def choice_from(query: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    value = query.get(name, "")
    if value and value not in choices:
        raise ValidationError({name: f"Give one of: {', '.join(choices)}."})
    return value
