"""What a benchmark prints: a table for people, and one line of JSON for whoever keeps the figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number beside what it should be. `target` is the most it may be, unless its unit says otherwise."""

    name: str
    value: float
    unit: str
    target: float
    met: bool


figures: list[Figure] = []


def lines_of(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Columns as wide as their longest cell; the first one is words, the others are figures."""
    cells = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = []
    for row in cells:
        words, *figures = (
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([words, *figures]))
    return lines


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n\n{title}")
    for line in lines_of(heads, rows):
        print(f"  {line}")


def print_figure(*, name: str, value: float, unit: str, target: float, is_met: bool) -> None:
    """`target` is the goal; `is_met` whether this run reached it. A test's own gate may leave more room."""
    figure = Figure(name, round(value, 4), unit, target, is_met)
    figures.append(figure)
    print(f"tieout-bench: {json.dumps(asdict(figure))}")
