"""Stripe's protocol: bracketed forms, error bodies, lists by cursor, expansion and the search language."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from werkzeug import Response

from connectors.testing import Refused, json_response

Body = dict[str, Any]
Find = Callable[[str], Body | None]

STATUS_TYPES = {402: "card_error", 429: "invalid_request_error"}
_CLAUSE = re.compile(r"\s*([a-z_]+)(?:\['([^']*)'\])?\s*(:|~)\s*[\"']((?:\\.|[^\"'\\])*)[\"']\s*")

# Which properties hold the id of another object, and which hold a list that is shown only when asked for.
EXPANDABLE: Mapping[str, frozenset[str]] = {
    "charge": frozenset({"balance_transaction", "customer", "failure_balance_transaction"}),
    "refund": frozenset({"balance_transaction", "charge", "customer", "failure_balance_transaction"}),
    "payout": frozenset({"balance_transaction", "failure_balance_transaction"}),
    "balance_transaction": frozenset({"source"}),
}
INCLUDABLE: Mapping[str, frozenset[str]] = {"charge": frozenset({"refunds"}), "customer": frozenset({"tax_ids"})}


def error(
    status: int,
    message: str,
    *,
    code: str = "",
    param: str = "",
    type: str = "",
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """Stripe's error object."""
    standard = "api_error" if status >= 500 else STATUS_TYPES.get(status, "invalid_request_error")
    body: Body = {"message": message, "type": type or standard}
    body |= {name: value for name, value in (("code", code), ("param", param)) if value}
    if code:
        body["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
    return json_response({"error": {**body, **more}}, status, headers)


def refused(status: int, message: str, **more: Any) -> Refused:
    return Refused(status, message, response=error(status, message, **more))


def nested(pairs: Iterable[tuple[str, str]]) -> Body:
    """`a[b]=1`, `c[]=2` and `c[0]=2` as dictionaries and lists."""
    form: Body = {}
    for name, value in pairs:
        path = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        _put(form, path, value)
    return form


def _put(form: Body, path: Sequence[str], value: str) -> None:
    is_list = len(path) == 2 and (path[1] == "" or path[1].isdigit())
    if len(path) == 1:
        form[path[0]] = value
    elif is_list:
        form.setdefault(path[0], []).append(value)
    else:
        inner = form.setdefault(path[0], {})
        if not isinstance(inner, dict):
            raise refused(400, f"Invalid hash: {path[0]}", param=path[0])
        _put(inner, path[1:], value)


@dataclass
class Shelf:
    """One kind of object of one account, newest first; objects of the same second in the reverse order of arrival."""

    bodies: list[Body]
    places: dict[str, int]

    @staticmethod
    def of(bodies: Iterable[Body]) -> Shelf:
        alive = [body for body in bodies if not body.get("deleted")]
        ordered = [body for _, body in sorted(enumerate(alive), key=lambda one: (-one[1]["created"], -one[0]))]
        return Shelf(ordered, {body["id"]: place for place, body in enumerate(ordered)})

    def place(self, id: str, param: str) -> int:
        if id not in self.places:
            kind = self.bodies[0]["object"].replace("_", " ") if self.bodies else "object"
            raise refused(400, f"No such {kind}: '{id}'", code="resource_missing", param=param)
        return self.places[id]


def one_page(shelf: Shelf, query: Body, matches: Callable[[Body], bool]) -> tuple[list[Body], bool]:
    """The page asked for, and whether there are more beyond it."""
    limit = _limit(query)
    low, high, is_within = _window(query.get("created"))
    if "ending_before" in query:
        before = reversed(shelf.bodies[: shelf.place(query["ending_before"], "ending_before")])
        found = _first(limit + 1, before, lambda body: is_within(body) and matches(body))
        return found[:limit][::-1], len(found) > limit
    start = bisect_left(shelf.bodies, -high, key=lambda body: -int(body["created"])) if high else 0
    if "starting_after" in query:
        start = max(start, shelf.place(query["starting_after"], "starting_after") + 1)
    rest = _until(shelf.bodies, start, low)
    found = _first(limit + 1, rest, lambda body: is_within(body) and matches(body))
    return found[:limit], len(found) > limit


def _limit(query: Body) -> int:
    text = str(query.get("limit", "10"))
    if not text.isdigit():
        raise refused(400, f"Invalid integer: {text}", code="parameter_invalid_integer", param="limit")
    if not 1 <= int(text) <= 100:
        raise refused(400, "This value must be between 1 and 100.", code="parameter_invalid_integer", param="limit")
    return int(text)


def _window(created: Any) -> tuple[int, int, Callable[[Body], bool]]:
    """Bounds to start and stop at (0: none), and the exact test."""
    bounds = created if isinstance(created, dict) else {"gte": created, "lte": created} if created else {}
    unknown = set(bounds) - {"gt", "gte", "lt", "lte"}
    if unknown or not all(str(value).isdigit() for value in bounds.values()):
        raise refused(400, f"Invalid timestamp: {created}", param="created")
    told = {name: int(value) for name, value in bounds.items()}

    def is_within(body: Body) -> bool:
        moment = int(body["created"])
        return (
            moment >= told.get("gte", moment)
            and moment <= told.get("lte", moment)
            and moment > told.get("gt", moment - 1)
            and moment < told.get("lt", moment + 1)
        )

    return max(told.get("gte", 0), told.get("gt", 0)), told.get("lte", told.get("lt", 0)), is_within


def _until(bodies: list[Body], start: int, low: int) -> Iterator[Body]:
    for place in range(start, len(bodies)):
        if bodies[place]["created"] < low:
            return
        yield bodies[place]


def _first(count: int, bodies: Iterable[Body], test: Callable[[Body], bool]) -> list[Body]:
    found: list[Body] = []
    for body in bodies:
        if test(body):
            found.append(body)
            if len(found) == count:
                break
    return found


def expanded(body: Body, paths: Iterable[str], find: Find, include: Callable[[Body, str], Body]) -> Body:
    """The object with what was asked for in place of ids. `find` looks up any id, `include` makes a sublist."""
    inner: dict[str, list[str]] = {}
    for path in paths:
        name, _, rest = path.partition(".")
        inner.setdefault(name, []).extend([rest] if rest else [])
    shown = dict(body)
    if body.get("deleted"):
        return shown
    for name, deeper in inner.items():
        kind = str(body.get("object"))
        if name in INCLUDABLE.get(kind, ()):
            shown[name] = include(body, name)
        elif name not in EXPANDABLE.get(kind, ()):
            raise refused(400, f"This property cannot be expanded ({name}).", param="expand")
        elif isinstance(body.get(name), str):
            target = find(body[name])
            shown[name] = expanded(target, deeper, find, include) if target else body[name]
    return shown


def searched(bodies: Iterable[Body], query: str) -> list[Body]:
    """Stripe's search language, as far as `field:'value'` and `metadata['name']:'value'` joined by one of AND and OR."""
    is_any = " OR " in query
    parts = query.split(" OR ") if is_any else query.split(" AND ")
    if is_any and " AND " in query:
        raise refused(400, "Mixing AND and OR in the same query is not supported.", param="query")
    if len(parts) > 10:
        raise refused(400, "A query can have at most 10 clauses.", param="query")
    tests = [_clause(part) for part in parts]
    join = any if is_any else all
    return [body for body in bodies if join(test(body) for test in tests)]


def _clause(text: str) -> Callable[[Body], bool]:
    match = _CLAUSE.fullmatch(text)
    if match is None:
        raise refused(400, f"We were unable to parse your search query: {text}", param="query")
    field, key, operator, quoted = match.groups()
    wanted = re.sub(r"\\(.)", r"\1", quoted).lower()

    def holds(body: Body) -> bool:
        value = str(((body.get(field) or {}).get(key) if key is not None else body.get(field)) or "").lower()
        return wanted in value if operator == "~" else value == wanted

    return holds
