"""What the two-way machine knows of both sides that the product does not: every edit by its value, which is never used twice."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from marketplace.mapping.contact_values import FIELDS
from marketplace.mapping.merging import Clash

Key = Literal["a", "b"]
OTHER: dict[Key, Key] = {"a": "b", "b": "a"}
EDITED = ("name", "phone", "tax_number")
START = dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)
OWN_WAY = "-own"
TRIED: Counter[str] = Counter()


@dataclass
class Read:
    """A side as it was read."""

    values: dict[str, str]
    version: int
    at: dt.datetime


@dataclass
class System:
    """One side. It spells what it is given in its own way, and knows the version that a write replaces."""

    key: Key
    values: dict[str, str] = field(default_factory=lambda: dict.fromkeys(FIELDS, ""))
    version: int = 0
    at: dt.datetime = START

    def spelled(self, name: str, text: str) -> str:
        if self.key == "a":
            return text
        if name == "tax_number":
            return text if text.endswith(OWN_WAY) else text + OWN_WAY  # so that nobody would know it again
        return text.upper() if name == "name" else f" {text[:2]} {text[2:]} "

    def kept(self, name: str, text: str) -> str:
        return self.spelled(name, text) if text else ""

    def put(self, values: dict[str, str], at: dt.datetime) -> None:
        self.values |= {name: self.kept(name, text) for name, text in values.items()}
        self.version, self.at = self.version + 1, at

    def now(self) -> Read:
        return Read(dict(self.values), self.version, self.at)


@dataclass
class Write:
    """A planned change of one side, against the version it was planned from."""

    values: dict[str, str]
    version: int
    number: int
    attempts: int = 0


@dataclass
class Record:
    """A conflict, as both sides' values in the order a, b."""

    name: str
    values: dict[Key, str]
    winner: Key | Literal[""]


class Model:
    """Two sides, what people have typed there, and what must not happen to it."""

    how: str
    owner: Key

    def __init__(self) -> None:
        super().__init__()
        self.clock = START
        self.sides: dict[Key, System] = {"a": System("a"), "b": System("b")}
        self.records: list[Record] = []
        self.unsynced: dict[tuple[Key, str], str] = {}  # edits by people which the other side has not had
        self.filled: set[str] = set()  # fields that had something in them when both sides were alike last
        self.alike: dict[str, str] = {}  # what both sides had when we last knew that they were alike
        self.moved: set[str] = set()  # fields that we have tried to write, or that were judged, since then
        self.seen_changed: set[tuple[Key, str]] = set()  # where another value was seen since then
        self.unclear: set[str] = set()
        self.unseen: set[tuple[Key, str, str]] = set()  # what was sent to a side together with that
        self.ours: set[tuple[Key, str]] = set()  # what stands on a side because we wrote it
        self.beaten: set[tuple[Key, str, str]] = set()  # what must not be written to a side, as it lost there
        self.typed: dict[tuple[Key, str], str] = {}  # what people typed last, on one side only
        self.first_seen: dict[tuple[Key, str], tuple[str, dt.datetime]] = {}
        self.replaced: set[tuple[Key, str, str]] = set()  # what they typed over on their own side
        self.buried: set[tuple[Key, str]] = set()  # where a late write came over what the other side was to have
        self.winners: set[tuple[Key, str]] = set()  # sides whose value won and was not carried yet
        self.given_up: set[tuple[Key, str, str]] = set()  # what was sent to a side without an answer

    def put(self, key: Key, values: dict[str, str]) -> None:
        self.replaced |= {(key, name, self.typed[key, name]) for name in values if (key, name) in self.typed}
        self.sides[key].put(values, self.clock)
        for name, text in values.items():
            self.unsynced[key, name] = text
            self.typed[key, name] = plain(text)
            self.ours.discard((key, name))

    def keep(self, clash: Clash, source: Key) -> None:
        winner: Key | Literal[""] = {"source": source, "target": OTHER[source], "": ""}[clash.winner]
        values: dict[Key, str] = {source: clash.source_value, OTHER[source]: clash.target_value}
        waiting = next((r for r in self.records if not r.winner and r.name == clash.name), None)
        if clash.is_doubtful:
            assert not winner and (waiting or self.may_be_ours(clash.name, values)), f"{clash.name}: {values} is plain"
        else:
            assert winner == self.rightful_winner(clash.name), (
                f"{clash.name}: {winner or 'nobody'} won by the rule {self.how}"
            )
        if waiting is not None:
            waiting.values, waiting.winner = values, winner
            return
        is_unmoved = clash.name not in self.moved | self.unclear
        unchanged = [key for key in values if is_unmoved and (key, clash.name) not in self.seen_changed]
        assert clash.is_doubtful or not unchanged, f"{clash.name}: {values}, and {unchanged} did not change it"
        self.moved.add(clash.name)
        record = Record(clash.name, values, winner)
        decided = [r for r in self.records if r.winner and (r.name, r.values) == (record.name, record.values)]
        # A field may be emptied again, and each late copy of a write brings its doubts.
        may_be_new = clash.name in self.unclear or "" in values.values() or clash.is_doubtful
        assert not decided or may_be_new, f"{clash.name}: {values} was decided before"
        self.records.append(record)
        self.beat(record)

    def may_be_ours(self, name: str, values: dict[Key, str]) -> bool:
        """Whether a person has to be asked whatever the rule: both values were given up by us, we gave up emptying one, or one that
        we gave up has come over one that had won or that the other side never had; or people may have put it back, as both had it
        before it was changed there, or it had lost there."""
        late = {key: text for key, text in values.items() if (key, name, plain(text)) in self.given_up}
        is_over_others = any((key, name) in self.buried for key in late)
        judged = [record for record in self.records if record.name == name and record.winner]
        is_as_before = any(
            (key, name) in self.seen_changed
            and plain(text) in {self.alike[name], *(plain(record.values[key]) for record in judged)}
            for key, text in late.items()
        )
        return len(late) == len(values) or "" in late.values() or is_over_others or is_as_before

    def note_alike(self, name: str, text: str) -> None:
        self.filled = self.filled | {name} if text else self.filled - {name}
        self.winners -= {(key, name) for key in self.sides}
        self.buried -= {(key, name) for key in self.sides}

    def know_alike(self, name: str, text: str) -> None:
        self.alike[name] = plain(text)
        self.moved.discard(name)
        self.seen_changed -= {(key, name) for key in self.sides}

    def see(self, key: Key, read: Read) -> None:
        """A value is as old as its record was when it was seen first."""
        for name, text in read.values.items():
            if plain(text) != self.alike.get(name):
                self.seen_changed.add((key, name))
            if self.first_seen.get((key, name), ("", None))[0] != text or (key, name) not in self.first_seen:
                self.first_seen[key, name] = (text, read.at)

    def rightful_winner(self, name: str) -> Key | Literal[""]:
        one, other = self.first_seen["a", name][1], self.first_seen["b", name][1]
        if self.how == "ask":
            return ""
        if self.how == "newest" and one != other:
            return "a" if one > other else "b"
        return self.owner

    def beat(self, record: Record) -> None:
        """The loser's value must never be written to the other side from now on."""
        TRIED["conflict"] += 1
        if not record.winner:
            return
        self.winners.add((record.winner, record.name))
        won, lost = (plain(record.values[key]) for key in (record.winner, OTHER[record.winner]))
        stands = plain(self.sides[record.winner].values[record.name])
        if won != stands:  # something has come over it unread
            if (record.winner, record.name, stands) in self.given_up:
                self.buried.add((record.winner, record.name))
        elif lost and won != lost:
            self.beaten.add((record.winner, record.name, lost))

    def overwrite(self, target: Key, name: str, text: str) -> None:
        """What somebody typed here is only ever written over when the other side had it, or a conflict says so."""
        typed = self.unsynced.pop((target, name), None)
        if typed is not None and plain(typed) != plain(text):
            known = [r for r in self.records if r.name == name and plain(r.values[target]) == plain(typed)]
            assert known, f"{name}: {typed} of {target} was written over by {text} without a word"
        self.is_synced(OTHER[target], name, text)

    def is_synced(self, key: Key, name: str, text: str) -> None:
        typed = self.unsynced.get((key, name))
        if typed is not None and plain(typed) == plain(text):
            del self.unsynced[key, name]

    def is_to_be_carried(self, key: Key, name: str) -> bool:
        """It won, or people typed it and the other side does not have it."""
        values = {plain(system.values[name]) for system in self.sides.values()}
        return (key, name) in self.winners or ((key, name) not in self.ours and len(values) == 2)


def plain(text: str) -> str:
    return "".join(text.split()).lower().removesuffix(OWN_WAY)
