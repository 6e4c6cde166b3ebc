"""A mapping ready to be applied: what a template's function is given to turn a record into documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.sdk.records import Record
from marketplace.mapping.plan import Circumstances, Held

Fields = Callable[[Record, Circumstances], dict[str, Any]]


class ValueMap:
    """Option -> option. An option nobody has mapped holds the record instead of guessing."""

    def __init__(self, label: str, pairs: Mapping[str, str], otherwise: str) -> None:
        self.label = label
        self.pairs = dict(pairs)
        self.otherwise = otherwise

    def __getitem__(self, option: str) -> str:
        chosen = self.pairs.get(option) or self.otherwise
        if chosen:
            return chosen
        raise Held(
            "unmapped",
            f"{self.label}: nothing is chosen for “{option}” yet.",
            owner="bookkeeper",
            next_step=f"Choose what “{option}” becomes in the field mapping, then post it again.",
        )


@dataclass(frozen=True)
class Mapped:
    """A compiled mapping: `fields` evaluates every single-valued target field of a record at once; `maps` holds the value maps;
    `write_modes` says per field when it may be sent."""

    fields: Fields
    maps: Mapping[str, ValueMap]
    write_modes: Mapping[str, str]
