"""The picture of what flows between a provider and Tieout: one line per data type, with its direction."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.registry import Connector
from marketplace.catalogue.queries import data_type_name

ROW_HEIGHT = 28
TOP = 12


@dataclass(frozen=True)
class Line:
    """One data type. `text_y` is its words' base line, `y` the line under them."""

    label: str
    y: int
    text_y: int
    is_read: bool
    is_written: bool

    @property
    def direction(self) -> str:
        if self.is_read and self.is_written:
            return "both ways"
        return "read" if self.is_read else "written"


@dataclass(frozen=True)
class Diagram:
    lines: list[Line]
    height: int

    @property
    def middle(self) -> int:
        return self.height // 2

    @property
    def box_height(self) -> int:
        return self.height - 2


def diagram_of(found: Connector) -> Diagram:
    """Data types in the manifest's order; one that is read and written is one line with two heads."""
    reads, writes = found.manifest.reads, found.manifest.writes
    lines = [
        Line(
            label=data_type_name(name).capitalize(),
            y=TOP + (position + 1) * ROW_HEIGHT - 8,
            text_y=TOP + (position + 1) * ROW_HEIGHT - 14,
            is_read=name in reads,
            is_written=name in writes,
        )
        for position, name in enumerate(dict.fromkeys((*reads, *writes)))
    ]
    return Diagram(lines, TOP * 2 + len(lines) * ROW_HEIGHT)
