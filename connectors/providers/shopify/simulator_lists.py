"""Shopify's lists: its search syntax, its sort keys, and cursors that stay right while objects change."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphql import GraphQLError

Body = dict[str, Any]

MAX_FIRST = 250
_TERM = re.compile(r"""(?:(\w+):\s*(>=|<=|>|<)?\s*)?('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|\S+)""")
_TIMES = {
    "updated_at": "updatedAt",
    "created_at": "createdAt",
    "processed_at": "processedAt",
    "issued_at": "issuedAt",
}
_SORTS = {
    "UPDATED_AT": "updatedAt",
    "CREATED_AT": "createdAt",
    "PROCESSED_AT": "processedAt",
    "ISSUED_AT": "issuedAt",
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": lambda a, b: bool(a >= b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    "<": lambda a, b: bool(a < b),
    "": lambda a, b: bool(a == b),
}


def matching(bodies: Sequence[Body], query: str | None) -> list[Body]:
    """The bodies a search finds; a field it does not know is no condition, as at Shopify."""
    if not query or not query.strip():
        return list(bodies)
    groups = [_TERM.findall(part) for part in re.split(r"\s+OR\s+", query.strip())]
    return [body for body in bodies if any(all(_matches(body, *term) for term in group) for group in groups)]


def _matches(body: Body, field: str, operator: str, quoted: str) -> bool:
    value = _unquoted(quoted)
    if not field:
        return bool(value == "AND" or value.lower() in _words(body))
    if field in _TIMES:
        return _TIMES[field] in body and _COMPARE[operator](_moment(body[_TIMES[field]]), _moment(value))
    match field:
        case "id":
            return _COMPARE[operator](id_key(body), value.rjust(20, "0"))
        case "tag":
            return value.lower() in (tag.lower() for tag in body.get("tags", ()))
        case "name":
            return value.lstrip("#") == str(body.get("name", "")).lstrip("#")
        case "email":
            return value.lower() == str(body.get("email") or "").lower()
        case "financial_status":
            return bool(value.upper() == body.get("displayFinancialStatus"))
        case "status" if "issuedAt" in body:
            return bool(value.upper() == body["status"])
    return True


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _words(body: Body) -> str:
    return " ".join(str(body.get(key) or "") for key in ("name", "email", "firstName", "lastName")).lower()


def _moment(text: str) -> dt.datetime:
    found = dt.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def id_key(body: Mapping[str, Any]) -> str:
    """Numbers in their order, as text."""
    return str(body["id"]).rpartition("/")[2].rjust(20, "0")


def listed(bodies: Sequence[Body], arguments: Mapping[str, Any]) -> Body:
    """A connection over root objects: filtered, sorted, and cut by cursors made of the sort value and the id."""
    field = _SORTS.get(str(arguments.get("sortKey") or "ID"))
    found = matching(bodies, arguments.get("query"))

    def key(body: Body) -> list[str]:
        return [str(body[field]) if field else "", id_key(body)]

    found.sort(key=key, reverse=bool(arguments.get("reverse")))
    return _cut([(encode(key(body)), key(body), body) for body in found], arguments)


def inner(items: Sequence[Body], arguments: Mapping[str, Any]) -> Body:
    """A connection inside an object, in its own order."""
    return _cut([(encode([index]), [index], item) for index, item in enumerate(items)], arguments)


def _cut(rows: list[tuple[str, list[Any], Body]], arguments: Mapping[str, Any]) -> Body:
    first, last = arguments.get("first"), arguments.get("last")
    if first is None and last is None:
        raise _invalid("you must provide one of first or last")
    if (first or last or 0) > MAX_FIRST or (first or last or 0) < 0:
        raise _invalid(f"first or last must be between 0 and {MAX_FIRST}")
    is_down = bool(arguments.get("reverse"))
    after, before = decode(arguments.get("after")), decode(arguments.get("before"))
    kept = [row for row in rows if (after is None or _is_beyond(row[1], after, is_down))]
    kept = [row for row in kept if (before is None or _is_beyond(before, row[1], is_down))]
    page = kept[:first] if first is not None else kept[len(kept) - int(last or 0) :]
    return {
        "edges": [{"cursor": cursor, "node": body} for cursor, _, body in page],
        "nodes": [body for _, _, body in page],
        "pageInfo": {
            "hasNextPage": bool(page) and page[-1] is not kept[-1],
            "hasPreviousPage": bool(page) and page[0] is not rows[0],
            "startCursor": page[0][0] if page else None,
            "endCursor": page[-1][0] if page else None,
        },
    }


def _is_beyond(key: list[Any], other: list[Any], is_down: bool) -> bool:
    return key < other if is_down else key > other


def encode(key: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def decode(cursor: str | None) -> list[Any] | None:
    if cursor is None:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except ValueError as error:
        raise _invalid(f"Invalid cursor for current pagination sort: {cursor}") from error
    return list(found)


def _invalid(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": "BAD_REQUEST"})
