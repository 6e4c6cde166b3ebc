"""QuickBooks' query language, as far as it goes: one entity, conditions joined by AND, one page."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property, lru_cache
from typing import Any

from connectors.providers.quickbooks.simulator_faults import Faulted, unreadable_query

Json = dict[str, Any]

MAXIMUM = 1000
DEFAULT = 100

_TOKEN = re.compile(r"\s*('(?:[^'\\]|\\.)*'|<=|>=|<|>|=|\(|\)|,|\*|[A-Za-z0-9_.+-]+)")


@dataclass(frozen=True)
class Condition:
    path: str
    operator: str
    values: tuple[str, ...]

    @cached_property
    def plain(self) -> frozenset[str]:
        return frozenset(value.casefold() for value in self.values)

    def holds(self, row: Json) -> bool:
        found = value_at(row, self.path)
        if found is None:
            return False
        if self.operator == "LIKE":
            pattern = ".*".join(re.escape(part) for part in self.values[0].split("%"))
            return re.fullmatch(pattern, str(found), re.I | re.S) is not None
        if self.operator == "IN" and isinstance(found, str):
            return found.casefold() in self.plain
        if self.operator == "IN":
            return any(_equal(found, value) for value in self.values)
        return _COMPARES[self.operator](*_comparable(found, self.values[0]))


@dataclass(frozen=True)
class Query:
    entity: str
    is_count: bool
    conditions: tuple[Condition, ...]
    order: tuple[tuple[str, bool], ...]  # path, descending
    start: int
    size: int

    def asks_for_inactive(self) -> bool:
        return any(condition.path == "Active" for condition in self.conditions)


_COMPARES: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: bool(left == right),
    "<": lambda left, right: bool(left < right),
    ">": lambda left, right: bool(left > right),
    "<=": lambda left, right: bool(left <= right),
    ">=": lambda left, right: bool(left >= right),
}


def value_at(row: Json, path: str) -> Any:
    """A dotted path; a reference stands for its id."""
    found: Any = row
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found.get("value") if isinstance(found, dict) else found


def _equal(found: Any, value: str) -> bool:
    left, right = _comparable(found, value)
    return bool(left == right)


def _comparable(found: Any, value: str) -> tuple[Any, Any]:
    """Both sides in the type of what the row holds; texts compare without regard to case."""
    if isinstance(found, bool):
        return found, value.lower() == "true"
    try:
        if isinstance(found, int | Decimal):
            return Decimal(found), Decimal(value)
        if re.match(r"\d{4}-\d\d-\d\dT", str(found)):
            return moment(str(found)), moment(value)
    except (InvalidOperation, ValueError) as error:
        raise unreadable_query(f"Invalid value {value}") from error
    return str(found).casefold(), value.casefold()


@lru_cache(maxsize=100_000)
def moment(value: str) -> dt.datetime:
    """An instant; QuickBooks reads one without a zone, or a day alone, in its server's zone."""
    found = dt.datetime.fromisoformat(value)
    return found if found.tzinfo else found.replace(tzinfo=dt.timezone(-dt.timedelta(hours=8)))


def parse(statement: str) -> Query:
    """Raises `Faulted` (4000) on anything outside the language."""
    return _Parser(statement).query()


class _Parser:
    def __init__(self, statement: str) -> None:
        self.tokens = list(_tokens(statement.strip().rstrip(";")))
        self.at = 0

    def query(self) -> Query:
        self._need("SELECT")
        is_count = self._selection()
        self._need("FROM")
        entity = self._next()
        conditions = tuple(self._conditions()) if self._take("WHERE") else ()
        order = tuple(self._order()) if self._take("ORDERBY") or self._take("ORDER") else ()
        start = self._number() if self._take("STARTPOSITION") else 1
        size = self._number() if self._take("MAXRESULTS") else DEFAULT
        if self.at < len(self.tokens):
            raise unreadable_query(f"Encountered unexpected {self.tokens[self.at]}")
        if size > MAXIMUM or size < 1 or start < 1:
            raise Faulted("4001", "Invalid query", f"QueryValidationError: maxresults is between 1 and {MAXIMUM}")
        return Query(entity, is_count, conditions, order, start, size)

    def _selection(self) -> bool:
        if self._take("COUNT"):
            for token in ("(", "*", ")"):
                self._need(token)
            return True
        self._next()
        while self._take(","):
            self._next()
        return False

    def _conditions(self) -> Iterator[Condition]:
        while True:
            path = self._next()
            operator = self._next().upper()
            if operator == "IN":
                yield Condition(path, "IN", tuple(self._list()))
            elif operator in (*_COMPARES, "LIKE"):
                yield Condition(path, operator, (self._value(),))
            else:
                raise unreadable_query(f"Encountered {operator}")
            if not self._take("AND"):
                return

    def _list(self) -> Iterator[str]:
        self._need("(")
        yield self._value()
        while self._take(","):
            yield self._value()
        self._need(")")

    def _order(self) -> Iterator[tuple[str, bool]]:
        self._take("BY")
        while True:
            path = self._next()
            is_descending = self._take("DESC")
            if not is_descending:
                self._take("ASC")
            yield path, is_descending
            if not self._take(","):
                return

    def _value(self) -> str:
        token = self._next()
        return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith("'") else token

    def _number(self) -> int:
        token = self._next()
        if not token.isdigit():
            raise unreadable_query(f"Encountered {token}")
        return int(token)

    def _next(self) -> str:
        if self.at >= len(self.tokens):
            raise unreadable_query("Encountered <EOF>")
        self.at += 1
        return self.tokens[self.at - 1]

    def _take(self, word: str) -> bool:
        is_there = self.at < len(self.tokens) and self.tokens[self.at].upper() == word
        self.at += is_there
        return is_there

    def _need(self, word: str) -> None:
        if not self._take(word):
            found = self.tokens[self.at] if self.at < len(self.tokens) else "<EOF>"
            raise unreadable_query(f'Encountered "{found}", was expecting {word}')


def _tokens(statement: str) -> Iterator[str]:
    at = 0
    while at < len(statement):
        match = _TOKEN.match(statement, at)
        if match is None:
            raise unreadable_query(f"Lexical error at column {at}")
        yield match.group(1)
        at = match.end()
        if not statement[at:].strip():
            return


def run(query: Query, rows: list[Json], *, has_active: bool) -> Json:
    """The `QueryResponse`: name lists leave inactive entries out unless the query asks for them."""
    if has_active and not query.asks_for_inactive():
        rows = [row for row in rows if row.get("Active", True)]
    found = [row for row in rows if all(condition.holds(row) for condition in query.conditions)]
    if query.is_count:
        return {"totalCount": len(found)}
    for path, is_descending in reversed(query.order or (("Id", False),)):
        found.sort(key=lambda row: _sort_key(value_at(row, path)), reverse=is_descending)
    page = found[query.start - 1 : query.start - 1 + query.size]
    return {query.entity: page, "startPosition": query.start, "maxResults": len(page)} if page else {}


def _sort_key(value: Any) -> tuple[int, Any]:
    if isinstance(value, int | Decimal):
        return 0, value
    text = str(value)
    if text.isdigit():
        return 0, int(text)
    return (1, moment(text).timestamp()) if re.match(r"\d{4}-\d\d-\d\dT", text) else (2, text.casefold())
