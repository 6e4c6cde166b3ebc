"""Xero's list parameters: the `where` language, `order`, ids, paging and If-Modified-Since."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from connectors.providers.xero.values import moment

Row = dict[str, Any]
Test = Callable[[Row], bool]

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<join>&&|\|\||\bAND\b|\bOR\b) | (?P<op>==|!=|>=|<=|=|>|<)
    | (?P<call>(?:guid|DateTime)\s*\([^)]*\)) | (?P<text>"[^"]*") | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<method>\.(?:Contains|StartsWith|EndsWith)\(\s*"[^"]*"\s*\))
    | (?P<paren>[()]) | (?P<path>[A-Za-z]\w*(?:\.(?!Contains\b|StartsWith\b|EndsWith\b)[A-Za-z]\w*)*)
    )""",
    re.VERBOSE | re.IGNORECASE,
)


class QueryParseError(ValueError):
    """A filter Xero cannot read: 400 with the type QueryParseException."""


class Where:
    """Recursive descent over `a==b AND (c>=d OR e.Contains("f"))`."""

    def __init__(self, text: str) -> None:
        self._tokens = self._split(text)
        self._at = 0

    @staticmethod
    def _split(text: str) -> list[tuple[str, str]]:
        tokens, position = [], 0
        while position < len(text.rstrip()):
            found = _TOKEN.match(text, position)
            if found is None or found.lastgroup is None:
                raise QueryParseError(f"unexpected text at position {position}")
            tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()
        return tokens

    def parse(self) -> Test:
        test = self._any()
        if self._at != len(self._tokens):
            raise QueryParseError(f"unexpected {self._tokens[self._at][1]}")
        return test

    def _any(self) -> Test:
        tests = [self._all()]
        while self._take_join("OR", "||"):
            tests.append(self._all())
        return lambda row: any(test(row) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._take_join("AND", "&&"):
            tests.append(self._one())
        return lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        kind, text = self._next()
        if text == "(":
            test = self._any()
            if self._next()[1] != ")":
                raise QueryParseError("a bracket is not closed")
            return test
        if kind != "path":
            raise QueryParseError(f"{text} is not a field")
        kind, operator = self._next()
        if kind == "method":
            return _method(text, operator)
        if kind != "op":
            raise QueryParseError(f"{operator} is not an operator")
        return _comparison(text, operator, _literal(*self._next()))

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise QueryParseError("unexpected end")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take_join(self, *words: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][1].upper() in words:
            self._at += 1
            return True
        return False


def _method(path: str, call: str) -> Test:
    name, _, wanted = call[1:].partition("(")
    needle = wanted.strip(' )"')
    tests: dict[str, Callable[[str], bool]] = {
        "contains": lambda value: needle in value,
        "startswith": lambda value: value.startswith(needle),
        "endswith": lambda value: value.endswith(needle),
    }
    test = tests[name.strip().lower()]
    return lambda row: test(str(_value(row, path) or ""))


def _comparison(path: str, operator: str, wanted: Any) -> Test:
    def test(row: Row) -> bool:
        value = _comparable(_value(row, path), wanted)
        match operator:
            case "==" | "=":
                return bool(value == wanted)
            case "!=":
                return bool(value != wanted)
        if value is None or wanted is None:
            return False
        order = (value > wanted) - (value < wanted)
        outcomes: dict[str, bool] = {">": order > 0, ">=": order >= 0, "<": order < 0, "<=": order <= 0}
        return outcomes[operator]

    return test


def _literal(kind: str, text: str) -> Any:
    match kind:
        case "text":
            return text[1:-1]
        case "number":
            return Decimal(text)
        case "call":
            name, _, inside = text.partition("(")
            inside = inside.rstrip(")").strip()
            if name.strip().lower() == "guid":
                return inside.strip('"').lower()
            return dt.datetime(*(int(part) for part in inside.split(",")), tzinfo=dt.UTC)  # type: ignore[misc, arg-type]
        case "path" if text.lower() in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text.lower()]
    raise QueryParseError(f"{text} is not a value")


def _value(row: Row, path: str) -> Any:
    value: Any = row
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _comparable(value: Any, wanted: Any) -> Any:
    if isinstance(wanted, dt.datetime):
        return moment(value)
    if isinstance(wanted, str) and value is None:
        return ""
    if isinstance(wanted, Decimal) and isinstance(value, int | Decimal):
        return Decimal(value)
    return value


def ordered(rows: list[Row], order: str) -> list[Row]:
    """`UpdatedDateUTC ASC, Name DESC`: rows that are equal keep their order."""
    for part in reversed([part.strip() for part in order.split(",") if part.strip()]):
        path, _, direction = part.partition(" ")
        rows = sorted(
            rows,
            key=lambda row, path=path: _sortable(_value(row, path)),  # type: ignore[misc]
            reverse=direction.strip().upper() in ("DESC", "DESCENDING"),
        )
    return rows


def _sortable(value: Any) -> tuple[int, Any]:
    if value is None:
        return (0, "")
    if isinstance(value, str) and value.startswith("/Date("):
        return (1, moment(value))
    return (1, value)


def since(header: str) -> dt.datetime:
    """If-Modified-Since as ISO or RFC 1123, UTC where it does not say. Raises QueryParseError."""
    try:
        parsed = dt.datetime.fromisoformat(header)
    except ValueError:
        try:
            parsed = parsedate_to_datetime(header)
        except ValueError as error:
            raise QueryParseError(f"{header} is not a date") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)


def page_of(rows: Sequence[Row], params: Mapping[str, str]) -> tuple[list[Row], Row]:
    """The page asked for and what Xero says about all of them. Raises QueryParseError."""
    try:
        number, size = int(params.get("page", 1)), int(params.get("pageSize", 100))
    except ValueError as error:
        raise QueryParseError("page and pageSize are whole numbers") from error
    if number < 1 or not 1 <= size <= 1000:
        raise QueryParseError("page begins with 1 and pageSize goes from 1 to 1000")
    start = (number - 1) * size
    pages = -(-len(rows) // size)
    told = {"page": number, "pageSize": size, "pageCount": pages, "itemCount": len(rows)}
    return list(rows[start : start + size]), told
