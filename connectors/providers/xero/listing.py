"""Reading Xero's numbered pages without losing a row, although the order moves while it is read.

Lists are ordered by the instant of the last change, so a row that changes goes to the end and all rows
behind it move up by one: reading "the next page" then skips one. Each page is therefore asked for so that it
begins with the last row we already have. When another row is there, something moved, and the listing starts
again from that row's instant. Only the page that reaches the end may begin right behind the last row: a row
that moved shows up again on that very page.

`If-Modified-Since` knows whole seconds, so it is always set a little before the row to go on from.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from connectors.providers.xero.client import rows_of
from connectors.providers.xero.values import moment
from connectors.sdk.streams import Cursor, Page, RejectedRow, SourceRecord

OVERLAP = dt.timedelta(seconds=2)
#: After so many pages a listing is begun afresh where it stands: repeated rows make the pages smaller.
PAGES_PER_LISTING = 20

Row = dict[str, Any]
#: (If-Modified-Since, page, page size) -> the whole answer
Ask = Callable[[str, int, int], Mapping[str, Any]]
Read = Callable[[Row], SourceRecord]


@dataclass
class Walk:
    """Where a reader stands: `count` rows read of the listing `since`; the last is `last`, changed `at`."""

    since: str = ""
    count: int = 0
    last: str = ""
    at: str = ""
    seen: set[str] = field(default_factory=set)
    unchecked_from: str | None = None

    @classmethod
    def resume(cls, cursor: Cursor | None) -> Walk:
        cursor = cursor or {}
        return cls(
            since=cursor.get("since", ""),
            count=int(cursor.get("count", 0)),
            last=cursor.get("last", ""),
            at=cursor.get("at", ""),
        )

    def cursor(self) -> Cursor:
        return {"since": self.since, "count": self.count, "last": self.last, "at": self.at}

    def restart(self, at: str) -> None:
        """Begin a new listing from just before the instant `at`."""
        self.since, self.count, self.last = before(at) or self.since, 0, ""
        self.seen.clear()
        self.unchecked_from = None

    def accept(self, rows: list[Row], id_key: str) -> None:
        """Count these rows as read."""
        if not rows:
            return
        self.count += len(rows)
        self.last = str(rows[-1].get(id_key, ""))
        self.at = max([self.at, *(changed_at(row) for row in rows)])
        self.seen.update(str(row.get(id_key, "")) for row in rows)


def changed_pages(
    cursor: Cursor | None, *, ask: Ask, read: Read, list_key: str, id_key: str, page_size: int
) -> Iterator[Page]:
    """All rows changed since the cursor, oldest change first."""
    walk = Walk.resume(cursor)
    total = None
    while True:
        number, size, overlap = next_window(walk, page_size, total)
        answer = ask(walk.since, number, size)
        rows = rows_of(answer, list_key)
        total = (answer.get("pagination") or {}).get("itemCount")
        is_end = has_ended(answer, len(rows), number, size)
        if overlap and (len(rows) < overlap or str(rows[overlap - 1].get(id_key, "")) != walk.last):
            walk.restart(walk.at)
            continue
        if not overlap and walk.count and walk.unchecked_from is None:
            walk.unchecked_from = walk.at
        fresh = rows[overlap:]
        has_moved = any(str(row.get(id_key, "")) in walk.seen for row in fresh)
        walk.accept(fresh, id_key)
        if has_moved and walk.unchecked_from is not None:
            is_end = False
            walk.restart(walk.unchecked_from)
        elif is_end or (walk.count >= PAGES_PER_LISTING * page_size and before(walk.at) > walk.since):
            walk.restart(walk.at)
        page = page_of(fresh, read, id_key, walk.cursor(), is_last=is_end)
        yield page
        if page.is_last:
            return


def next_window(walk: Walk, page_size: int, total: int | None) -> tuple[int, int, int]:
    """Which page to ask for: its number, its size, and how many of its first rows are already read."""
    read = walk.count
    if not read:
        return 1, page_size, 0
    is_aligned = read % page_size == 0
    if is_aligned and total is not None and total - read <= page_size and len(walk.seen) == read:
        return read // page_size + 1, page_size, 0
    size = max(range(1, page_size + 1), key=lambda size: (_end(read, size), size))
    if _end(read, size) > read:
        start = _end(read, size) - size
        return start // size + 1, size, read - start
    # Only with tiny pages: no page both overlaps and goes on.
    size = max(size for size in range(1, page_size + 1) if read % size == 0)
    return read // size + 1, size, 0


def _end(read: int, size: int) -> int:
    """The last row of the page of `size` rows that holds row number `read`."""
    return ((read - 1) // size + 1) * size


def has_ended(answer: Mapping[str, Any], rows: int, number: int, size: int) -> bool:
    """Xero says how many pages there are; an answer without that ends where a page is not full."""
    pages = (answer.get("pagination") or {}).get("pageCount")
    return bool(number >= pages if pages is not None else rows < size)


def page_of(rows: list[Row], read: Read, id_key: str, cursor: Cursor, *, is_last: bool = False) -> Page:
    """Each row read or, when it cannot be, kept with the reason."""
    records: list[SourceRecord] = []
    rejected: list[RejectedRow] = []
    for row in rows:
        try:
            records.append(read(row))
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            external_id = str(row.get(id_key, "")) if isinstance(row, dict) else ""
            rejected.append(RejectedRow(external_id=external_id, reason=_reason(error), raw=row))
    return Page(records=tuple(records), cursor=cursor, rejected=tuple(rejected), is_last=is_last)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"Xero sent it without {error.args[0]} or with a value that is not documented."
    return f"Xero sent it in a form we cannot read: {error}."


def changed_at(row: Row) -> str:
    """The instant of the last change as sortable text; empty when the row does not say."""
    return _sortable(str(row.get("UpdatedDateUTC") or row.get("CreatedDateUTC") or ""))


@lru_cache(maxsize=1024)
def _sortable(text: str) -> str:
    """All documents of one request change at about the same instant."""
    try:
        at = moment(text)
    except (ValueError, OverflowError):
        return ""
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds") if at else ""


def before(at: str) -> str:
    """The value of If-Modified-Since that surely includes a row changed `at`."""
    if not at:
        return ""
    return (dt.datetime.fromisoformat(at) - OVERLAP).strftime("%Y-%m-%dT%H:%M:%S")
