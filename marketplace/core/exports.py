"""Lists as CSV files that open in a spreadsheet, safely."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from django.http import HttpResponse

#: A cell of text that begins like this would run as a formula in a spreadsheet.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_response(file_name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> HttpResponse:
    """The whole list as an attachment; written at once, because the tenant's context closes with the view."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{file_name}"'
    response.write("\ufeff")  # without it spreadsheets take UTF-8 for something else
    writer = csv.writer(response)
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return response


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:.2f}" if value == value.quantize(Decimal("0.01")) else f"{value.normalize():f}"
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
