"""What a benchmark prints: a table for people, and one line of JSON for whoever keeps the figures."""

from __future__ import annotations

import json
from collections.abc import Sequence


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their longest cell; the first one is words, the others are figures."""
    cells = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    print(f"\n\n{title}")
    for row in cells:
        words, *figures = (
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  " + "  ".join([words, *figures]))


def print_figure(*, name: str, value: float, unit: str, target: float, is_met: bool) -> None:
    """`target` is the gate; `is_met` whether this run passed it."""
    found = {"name": name, "value": round(value, 4), "unit": unit, "target": target, "met": is_met}
    print(f"tieout-bench: {json.dumps(found)}")
