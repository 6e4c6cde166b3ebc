"""What a simulator knows: collections in memory, written through to SQLite to survive a restart."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

Body = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS item (
    collection TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (collection, id)
)
"""
_PUT = (
    "INSERT INTO item (collection, id, body) VALUES (?, ?, ?) "
    "ON CONFLICT (collection, id) DO UPDATE SET body = excluded.body"
)


class Collection:
    """Bodies by identifier, in the order they were first put.

    Bodies are JSON values plus `Decimal`, `datetime` and `date`. A body changed in place has to be put again.
    """

    def __init__(self) -> None:
        self._bodies: dict[str, Body] = {}
        self._changed: dict[str, None] = {}

    def put(self, id: str, body: Body) -> Body:
        self._bodies[str(id)] = body
        self._changed[str(id)] = None
        return body

    def get(self, id: str) -> Body | None:
        return self._bodies.get(str(id))

    def delete(self, id: str) -> None:
        """Deleting what is not there is fine."""
        if self._bodies.pop(str(id), None) is not None:
            self._changed[str(id)] = None

    def values(self) -> list[Body]:
        return list(self._bodies.values())

    def items(self) -> list[tuple[str, Body]]:
        return list(self._bodies.items())

    def clear(self) -> None:
        self._changed.update(dict.fromkeys(self._bodies))
        self._bodies.clear()

    def restore(self, id: str, body: Body) -> None:
        """Put a body that was read from the disk, so needs no writing."""
        self._bodies[id] = body

    def take_changes(self) -> list[tuple[str, Body | None]]:
        """What was put (or deleted: None) since the last call."""
        changes = [(id, self._bodies.get(id)) for id in self._changed]
        self._changed.clear()
        return changes

    def __contains__(self, id: str) -> bool:
        return str(id) in self._bodies

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._bodies))

    def __len__(self) -> int:
        return len(self._bodies)


class Store:
    """Collections by name. Names starting with `_` belong to the toolkit."""

    def __init__(self, path: Path | None = None) -> None:
        self._collections: dict[str, Collection] = {}
        self._database = self._open(path) if path else None

    def __getitem__(self, name: str) -> Collection:
        return self._collections.setdefault(name, Collection())

    def names(self) -> list[str]:
        return list(self._collections)

    def next_id(self, kind: str) -> int:
        """1, 2, 3 ... for each kind."""
        counter = self["_counters"].get(kind) or {"last": 0}
        counter["last"] += 1
        self["_counters"].put(kind, counter)
        return int(counter["last"])

    def commit(self) -> None:
        """Write everything that changed in one transaction."""
        changes = [
            (name, id, body) for name, collection in self._collections.items() for id, body in collection.take_changes()
        ]
        if self._database is None or not changes:
            return
        with self._database:
            self._database.executemany(
                "DELETE FROM item WHERE collection = ? AND id = ?",
                [(name, id) for name, id, body in changes if body is None],
            )
            self._database.executemany(
                _PUT, [(name, id, _dump(body)) for name, id, body in changes if body is not None]
            )

    def clear(self) -> None:
        for collection in self._collections.values():
            collection.clear()

    def close(self) -> None:
        self.commit()
        if self._database is not None:
            self._database.close()

    def _open(self, path: Path) -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(_SCHEMA)
        for name, id, body in database.execute("SELECT collection, id, body FROM item ORDER BY rowid"):
            self[name].restore(id, json.loads(body, object_hook=_untagged))
        return database


def _dump(body: Body) -> str:
    return json.dumps(body, default=_tagged, separators=(",", ":"))


def _tagged(value: object) -> dict[str, str]:
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, dt.datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, dt.date):
        return {"$date": value.isoformat()}
    raise TypeError(f"A simulator cannot keep a {type(value).__name__}")


def _untagged(body: Body) -> Any:
    if len(body) != 1:
        return body
    ((tag, value),) = body.items()
    match tag:
        case "$decimal":
            return Decimal(value)
        case "$datetime":
            return dt.datetime.fromisoformat(value)
        case "$date":
            return dt.date.fromisoformat(value)
    return body
