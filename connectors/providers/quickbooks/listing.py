"""Walking QuickBooks' lists: whole listings by time of change, then the change feed, which also tells of deletions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.providers.quickbooks.client import QuickBooksClient, portions, quoted, quoted_list
from connectors.providers.quickbooks.reading import instant, is_deleted, read_rows
from connectors.sdk.errors import UnexpectedResponse
from connectors.sdk.records import Record
from connectors.sdk.streams import Cursor, Page, RejectedRow, SourceRecord

Json = dict[str, Any]

#: The feed looks back 30 days and answers at most 1,000 objects, without saying that it left any out.
FEED_REACH = dt.timedelta(days=29)
FEED_MAXIMUM = 1000
#: A change may become visible a little after its time stamp, so every run looks back a little.
OVERLAP = dt.timedelta(minutes=2)


@dataclass(frozen=True)
class Entity:
    """One QuickBooks object type. `condition` is added to every query."""

    name: str
    convert: Callable[[Json], Record]
    condition: str = ""

    def where(self, *conditions: str) -> str:
        wanted = [condition for condition in (*conditions, self.condition) if condition]
        return f" where {' and '.join(wanted)}" if wanted else ""

    def select(self, since: str, start: int, size: int) -> str:
        newer = f"MetaData.LastUpdatedTime >= {quoted(since)}" if since else ""
        return (
            f"select * from {self.name}{self.where(newer)} orderby MetaData.LastUpdatedTime"
            f" startposition {start} maxresults {size}"
        )

    def count(self) -> str:
        return f"select count(*) from {self.name}{self.where()}"

    def by_ids(self, ids: Sequence[str], size: int) -> str:
        return f"select * from {self.name}{self.where(f'Id in {quoted_list(ids)}')} maxresults {size}"


def changed_at(row: Json) -> str:
    """The row's time stamp as a comparable text; empty for a row that has none."""
    try:
        return instant(row["MetaData"]["LastUpdatedTime"]).isoformat()
    except (KeyError, TypeError, ValueError):
        return ""


class Walk:
    """One entity's rows, oldest change first.

    A row that changes while the list is read moves to its end and everything behind it moves up. So the walk goes on from a
    time of change, not from a position; only rows with exactly that time are skipped by position. Should one of those have
    moved, it turns up again later, and the rows that slipped into its place are read once more at the end.
    """

    def __init__(self, client: QuickBooksClient, entity: Entity, since: str, size: int) -> None:
        self.client = client
        self.entity = entity
        self.since = since
        self.size = size
        self.skipped: dict[str, None] = {}
        self.boundaries: list[tuple[str, dict[str, None]]] = []
        self.moved: set[int] = set()
        self.read = 0

    def pages(self, rows: list[Json], total: int | None) -> Iterator[tuple[list[Json], bool]]:
        """Pages from the first one on, each with whether it is the last. `total` is QuickBooks' count, if asked for."""
        while True:
            self._notice_moves(rows)
            self.read += len(rows)
            is_complete = len(rows) < self.size or (total is not None and self.read >= total)
            self._advance(rows)
            if is_complete:
                break
            yield rows, False
            rows = self.ask(self.since, len(self.skipped) + 1)
        yield rows + [row for number in sorted(self.moved) for row in self._slipped(number)], True

    def ask(self, since: str, start: int) -> list[Json]:
        answer = self.client.query(self.entity.select(since, start, self.size))
        return list(answer.get(self.entity.name, []))

    def _advance(self, rows: list[Json]) -> None:
        last = next((stamp for row in reversed(rows) if (stamp := changed_at(row))), self.since)
        at_last = dict.fromkeys(_id(row) for row in rows if changed_at(row) in (last, ""))
        if last == self.since:
            self.skipped |= at_last
        else:
            self.since, self.skipped = last, at_last
            self.boundaries.append((last, self.skipped))

    def _notice_moves(self, rows: list[Json]) -> None:
        if not self.boundaries:
            return
        ids = {_id(row) for row in rows}
        self.moved |= {number for number, (_, skipped) in enumerate(self.boundaries) if ids & skipped.keys()}

    def _slipped(self, number: int) -> Iterator[Json]:
        since, skipped = self.boundaries[number]
        for start in range(1, len(skipped) + 1, self.size):
            rows = self.ask(since, start)[: len(skipped) - start + 1]
            yield from (row for row in rows if _id(row) not in skipped)


def _id(row: Json) -> str:
    return str(row.get("Id", ""))


def read_pages(
    client: QuickBooksClient, entities: Sequence[Entity], cursor: Cursor | None, size: int, *, has_feed: bool
) -> Iterator[Page]:
    """Every change since `cursor`. A cursor is `{"since", "is_complete"}`, and mid-listing also where each entity is."""
    cursor = dict(cursor or {})
    if has_feed and cursor.get("is_complete"):
        page = _feed_page(client, entities, cursor)
        if page is not None:
            yield page
            if page.is_last:
                return
    yield from _listing(client, entities, cursor, size)


def _feed_page(client: QuickBooksClient, entities: Sequence[Entity], cursor: Cursor) -> Page | None:
    """What the feed tells; None when it does not reach back so far. An overfull answer is good for its deletions only."""
    since = str(cursor["since"])
    if dt.datetime.now(dt.UTC) - instant(since) > FEED_REACH:
        return None
    try:
        told, answered_at = client.changes([entity.name for entity in entities], since)
    except UnexpectedResponse as error:
        if "changedsince" in error.detail.lower():
            return None
        raise
    is_full = sum(len(rows) for rows in told.values()) >= FEED_MAXIMUM
    records, rejected = _read_all(
        entities, {name: [row for row in rows if is_deleted(row) or not is_full] for name, rows in told.items()}
    )
    return Page(
        records=records,
        rejected=rejected,
        cursor=cursor if is_full else _complete(since, answered_at),
        is_last=not is_full,
    )


def _complete(since: str, answered_at: str) -> Cursor:
    """The cursor of a finished run: never before `since`, never after the moment QuickBooks answered first."""
    reached = (instant(answered_at) - OVERLAP).isoformat()
    return {"is_complete": True, "since": max(reached, since)}


def _listing(client: QuickBooksClient, entities: Sequence[Entity], cursor: Cursor, size: int) -> Iterator[Page]:
    since = str(cursor.get("since", ""))
    reached = {entity.name: since for entity in entities} | cursor.get("reached", {})
    left = [entity for entity in entities if entity.name not in cursor.get("done", [])]
    first, total, answered_at = _first_pages(client, left, reached, size)
    started_at = str(cursor.get("started_at") or instant(answered_at).isoformat())
    position: Cursor = {"since": since, "is_complete": False, "started_at": started_at, "done": cursor.get("done", [])}
    for entity in left:
        walk = Walk(client, entity, reached[entity.name], size)
        rows, count = first[entity.name]
        for page_rows, is_entity_done in walk.pages(rows, count):
            records, rejected = read_rows(page_rows, entity.convert)
            reached[entity.name] = min(walk.since, started_at)
            if is_entity_done:
                position = {**position, "done": [*position["done"], entity.name]}
            is_last = is_entity_done and entity is left[-1]
            yield Page(
                records=records,
                rejected=rejected,
                cursor=_complete(since, started_at) if is_last else {**position, "reached": dict(reached)},
                total=total,
                is_last=is_last,
            )


def _first_pages(
    client: QuickBooksClient, entities: Sequence[Entity], reached: dict[str, str], size: int
) -> tuple[dict[str, tuple[list[Json], int | None]], int | None, str]:
    """The first page of every entity and, on a first listing, their counts: in one call.

    The count saves the empty page that would otherwise have to prove the end of a list that fills its last page.
    """
    is_first = not any(reached.values())
    selects = [entity.select(reached[entity.name], 1, size) for entity in entities]
    if len(selects) == 1 and not is_first:
        answer = client.query(selects[0])
        return {entities[0].name: (list(answer.get(entities[0].name, [])), None)}, None, answer["time"]
    answers = client.queries(selects + ([entity.count() for entity in entities] if is_first else []))
    counts = [int(answer["totalCount"]) for answer in answers[len(selects) :]] if is_first else []
    first = {
        entity.name: (list(answers[number].get(entity.name, [])), counts[number] if is_first else None)
        for number, entity in enumerate(entities)
    }
    return first, sum(counts) if is_first else None, answers[0]["time"]


def fetch_rows(
    client: QuickBooksClient, entities: Sequence[Entity], ids: Sequence[str], size: int
) -> dict[str, list[Json]]:
    """The current rows of these ids by entity. Ids are unique over all transactions, so each is one row at most."""
    rows: dict[str, list[Json]] = {entity.name: [] for entity in entities}
    for some in portions(list(dict.fromkeys(ids)), size):
        statements = [entity.by_ids(some, size) for entity in entities]
        answers = client.queries(statements) if len(statements) > 1 else [client.query(statements[0])]
        for entity, answer in zip(entities, answers, strict=True):
            rows[entity.name] += answer.get(entity.name, [])
    return rows


def fetch_page(client: QuickBooksClient, entities: Sequence[Entity], ids: Sequence[str], size: int) -> Page:
    records, rejected = _read_all(entities, fetch_rows(client, entities, ids, size))
    return Page(records=records, rejected=rejected, cursor={}, is_last=True)


def _read_all(
    entities: Sequence[Entity], rows: Mapping[str, list[Json]]
) -> tuple[tuple[SourceRecord, ...], tuple[RejectedRow, ...]]:
    parts = [read_rows(rows[entity.name], entity.convert) for entity in entities]
    return (
        tuple(record for records, _ in parts for record in records),
        tuple(row for _, rejected in parts for row in rejected),
    )
