"""How a list is read: everything by a bulk operation, later changes by pages, objects by id; all give the same rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from connectors.providers.shopify import bulk
from connectors.providers.shopify.amounts import moment, stamp
from connectors.providers.shopify.client import FileGone, ShopifyClient
from connectors.providers.shopify.queries import Listing, Part, Shape
from connectors.sdk.client import dump_json
from connectors.sdk.streams import Cursor

Row = dict[str, Any]
Chunk = tuple[list[str], Cursor, int | None, bool]

#: Shopify's search index may lag behind its own time stamps.
OVERLAP = dt.timedelta(seconds=60)
#: With more pages of changes than this, a bulk operation needs fewer calls.
PAGES_BEFORE_BULK = 4
#: A first page that holds so many rows may well be everything, and is one call where a bulk operation takes three.
WORTH_A_PAGE = 50
BEGINNING = "2000-01-01T00:00:00Z"


def chunks(
    client: ShopifyClient, listing: Listing, cursor: Cursor | None, *, size: int, overlap: dt.timedelta
) -> Iterator[Chunk]:
    """(rows as text, cursor, total, is_last) of everything changed since `cursor`. `size` is how many rows of a bulk operation's file are kept
    together.

    A cursor holds `updated_at`, and while a listing is under way what it needs to go on: `bulk` with how many rows are `expected`, if
    that is known, and, once its file is there, the `url` and the `place` in it, or `after`; both with the `since` they were asked with.
    """
    beginning = {"updated_at": BEGINNING, "since": ""}
    if cursor is None and listing.shape.most < WORTH_A_PAGE:
        yield from _bulk(client, listing, beginning, size)
    elif "bulk" in (cursor or ()):
        yield from _bulk(client, listing, cursor or {}, size)
    else:
        yield from _pages(client, listing, cursor or beginning, size, overlap)


def _pages(
    client: ShopifyClient, listing: Listing, cursor: Cursor, size: int, overlap: dt.timedelta
) -> Iterator[Chunk]:
    """Page by page. Many rows are read by a bulk operation instead, once the first page tells of them."""
    since = cursor["since"] if "since" in cursor else stamp(moment(cursor["updated_at"]) - overlap)
    first = min(size, listing.shape.most)
    after, newest = cursor.get("after"), cursor["updated_at"]
    total = None
    while True:
        variables = {"first": first, "after": after, "query": listing.changed_since(since) if since else None}
        answer = client.graphql(listing.page, variables, cost=listing.page_cost(first))
        found = _connection(answer, listing)
        if listing.count and total is None:
            total = answer[listing.count]["count"]
            if after is None and total > first * PAGES_BEFORE_BULK:
                yield from _bulk(client, listing, {"updated_at": newest, "since": since, "expected": total}, size)
                return
        rows = [complete(client, listing.shape, node) for node in found["nodes"]]
        newest = max([newest, *(row[_stamp_field(listing)] for row in rows)])
        after = found["pageInfo"]["endCursor"]
        is_last = not found["pageInfo"]["hasNextPage"]
        if not (is_last or since or listing.count):  # nobody knows how many more there are
            yield from _bulk(client, listing, {"updated_at": BEGINNING, "since": ""}, size)
            return
        going_on = {} if is_last else {"after": after, "since": since}
        yield as_text(rows), {"updated_at": newest, **going_on}, total, is_last
        if is_last:
            return


def _connection(answer: Row, listing: Listing) -> Row:
    """The list inside the answer; a shop without Shopify Payments has none."""
    holder = answer[listing.within] if listing.within else answer
    empty = {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}
    found: Row = holder[listing.field] if holder else empty
    return found


def _bulk(client: ShopifyClient, listing: Listing, cursor: Cursor, size: int) -> Iterator[Chunk]:
    """A bulk operation, new or under way. What changes while it runs is read again: the cursor stops at its start."""
    if "bulk" not in cursor:
        operation = bulk.start(client, listing.bulk(cursor["since"]))
        cursor = {**cursor, "bulk": operation["id"]}
        yield [], cursor, None, False
    if "url" in cursor:
        try:
            yield from _bulk_rows(client, listing, cursor, size)
            return
        except FileGone:
            cursor = {name: value for name, value in cursor.items() if name != "url"}
    try:
        operation = bulk.wait_for(client, cursor["bulk"], expected=cursor.get("expected", 0))
    except bulk.Gone:
        again = {"updated_at": cursor["updated_at"], "since": cursor["since"]}
        yield from _bulk(client, listing, again, size)
        return
    told = {
        "total": int(operation["rootObjectCount"]),
        "lines": int(operation["objectCount"]),
        "began": operation["createdAt"],
        "url": operation["url"] or "",
    }
    yield from _bulk_rows(client, listing, {**cursor, **told}, size)


def _bulk_rows(client: ShopifyClient, listing: Listing, cursor: Cursor, size: int) -> Iterator[Chunk]:
    newest, began, total = cursor["updated_at"], cursor["began"], cursor["total"]
    pending: list[str] = []
    place = bulk.Place(*cursor.get("place", ()))
    rows = bulk.rows(client, cursor["url"], listing.shape, begin=place, lines=cursor["lines"])
    for row, stamped, end in rows:
        if len(pending) >= size:
            yield pending, {**cursor, "place": [place.at, place.lines], "updated_at": newest}, total, False
            pending = []
        pending.append(row)
        place, newest = end, max(newest, min(stamped, began))
    yield pending, {"updated_at": newest}, total, True


def _stamp_field(listing: Listing) -> str:
    return "issuedAt" if listing.time_filter == "issued_at" else "updatedAt"


def as_text(rows: Sequence[Row]) -> list[str]:
    """Objects as a bulk operation's file has them."""
    return [dump_json(row).decode() for row in rows]


def by_ids(client: ShopifyClient, shape: Shape, numbers: Sequence[str]) -> list[Row]:
    """The objects that exist, in as few calls as their cost allows."""
    found: list[Row] = []
    for start in range(0, len(numbers), shape.most):
        ids = [f"gid://shopify/{shape.type}/{number}" for number in numbers[start : start + shape.most]]
        nodes = client.graphql(shape.by_ids, {"ids": ids}, cost=max(1, len(ids) * shape.each))["nodes"]
        found += [complete(client, shape, node) for node in nodes if node]
    return found


def complete(client: ShopifyClient, shape: Shape, node: Row) -> Row:
    """Connections as plain lists, with the rare parts that did not fit read by further calls."""
    lists = {part.field: _whole(client, shape, part, node) for part in shape.parts}
    return {**node, **lists}


def _whole(client: ShopifyClient, shape: Shape, part: Part, node: Row) -> list[Row]:
    connection = node[part.field]
    found = list(connection["nodes"])
    while connection["pageInfo"]["hasNextPage"]:
        variables = {"id": node["id"], "after": connection["pageInfo"]["endCursor"]}
        answer = client.graphql(shape.rest_of(part), variables, cost=3 + part.step * part.cost)
        connection = answer["node"][part.field]
        found += connection["nodes"]
    return found
