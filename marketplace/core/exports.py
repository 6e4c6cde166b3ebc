"""Lists as CSV files that open in a spreadsheet, safely."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal
from tempfile import SpooledTemporaryFile
from typing import Any

from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase

#: A cell of text that begins like this would run as a formula in a spreadsheet.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_CENT = Decimal("0.01")
#: What is longer waits on the disk while it is sent, so that no list is too long for the memory.
MOST_IN_MEMORY = 1024 * 1024


def csv_response(file_name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> HttpResponseBase:
    """The whole list as an attachment; written at once, because the tenant's context closes with the view."""
    file = SpooledTemporaryFile(MOST_IN_MEMORY)  # noqa: SIM115 -- the response closes it
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")  # spreadsheets know UTF-8 by the mark it begins with
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(map(_cells, rows))
    text.detach()
    length = file.tell()
    file.seek(0)
    kind = "text/csv; charset=utf-8"
    if length <= MOST_IN_MEMORY:
        with file:
            response: HttpResponseBase = HttpResponse(file.read(), content_type=kind)
    else:
        response = FileResponse(file, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return response


def _cells(row: Sequence[Any]) -> list[str]:
    return [value if type(value) is str and value[:1] not in _FORMULA_STARTS else _cell(value) for value in row]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:.2f}" if value == value.quantize(_CENT) else f"{value.normalize():f}"
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
