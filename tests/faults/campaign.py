"""How large a campaign is, what it is seeded with, and the one table it prints."""

from __future__ import annotations

import os
import random
import subprocess
import zlib
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

SIZE, SEED = "FAULTS_SIZE", "FAULTS_SEED"
CI, RELEASE = "ci", "release"


class UnknownSize(ValueError):
    """The campaign comes in two sizes."""


@dataclass(frozen=True)
class Size:
    """CI: minutes, on every change. Release: some hours, before every release."""

    is_release: bool

    @classmethod
    def asked(cls) -> Size:
        """What the environment asks for. Raises `UnknownSize`."""
        name = os.environ.get(SIZE) or CI
        if name not in (CI, RELEASE):
            raise UnknownSize(f"{SIZE} is {CI} or {RELEASE}, not {name!r}.")
        return cls(name == RELEASE)

    @property
    def name(self) -> str:
        return RELEASE if self.is_release else CI

    def pick(self, ci: int, release: int) -> int:
        return release if self.is_release else ci


def seed_for(node_id: str) -> int:
    """The asked-for one; else the same at every CI run, and a new one at every release run."""
    asked = os.environ.get(SEED)
    if asked:
        return int(asked)
    return random.SystemRandom().randrange(10**9) if Size.asked().is_release else zlib.crc32(node_id.encode()) % 10**9


@dataclass(frozen=True)
class Row:
    """What was tried of one fault, on how many events, and what became of them."""

    campaign: str
    fault: str
    tried: int
    events: int = 0
    lost: int = 0
    duplicates: int = 0
    foreign: int = 0
    malformed: int = 0
    seed: int | None = None


COUNTED = ("tried", "events", "lost", "duplicates", "foreign", "malformed")
HEADS = ("campaign", "fault", "tried", "events", "lost", "duplicates", "foreign reads", "malformed", "seed")


def table(rows: Iterable[Row]) -> list[str]:
    """The lines of the table, by campaign, with sums at its end. What was told in several parts is one line."""
    ordered = sorted(_joined(rows), key=lambda row: (int(row.campaign[1:]), row.fault))
    sums = {name: sum(getattr(row, name) for row in ordered) for name in COUNTED}
    cells = [HEADS, *(_cells(row) for row in ordered), _cells(Row("", "together", **sums))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADS))]
    words = ("campaign", "fault")
    return [
        "  ".join(
            cell.ljust(width) if head in words else cell.rjust(width)
            for head, cell, width in zip(HEADS, line, widths, strict=True)
        ).rstrip()
        for line in cells
    ]


def _joined(rows: Iterable[Row]) -> Iterable[Row]:
    joined: dict[tuple[str, str, int | None], Row] = {}
    for row in rows:
        known = joined.get((row.campaign, row.fault, row.seed), Row(row.campaign, row.fault, 0, seed=row.seed))
        sums = {name: getattr(known, name) + getattr(row, name) for name in COUNTED}
        joined[row.campaign, row.fault, row.seed] = replace(known, **sums)
    return joined.values()


def _cells(row: Row) -> tuple[str, ...]:
    shown: list[str] = []
    for field, value in zip(fields(row), astuple(row), strict=True):
        is_count = field.name in COUNTED
        shown.append(f"{value:,}" if is_count else "" if value is None else str(value))
    return tuple(shown)


def commit() -> str:
    """Which state of the code was tried; empty outside a repository."""
    told: Any = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return str(told.stdout).strip()
