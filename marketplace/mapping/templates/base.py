"""What a flow template is: the fields a form shows and the function that turns a standard record into documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from marketplace.mapping.mapped import Mapped
from marketplace.mapping.plan import Circumstances, PlannedDocument

Build = Callable[[Any, "Mapped", Circumstances], list[PlannedDocument]]


@dataclass(frozen=True, kw_only=True)
class TargetField:
    """One thing the mapping decides. The form labels it with the target provider's own word for `target` (data type, path).

    `choices` are read live from the target (`ledger_account`, `tax_rate`) and narrowed to `kinds` of ledger account. With
    `map_over` the field is a value map: each option seen at the source (`payment_method`, `tax`) becomes one choice.
    """

    name: str
    label: str
    target: tuple[str, str]
    kind: Literal["text", "date", "choice"] = "text"
    choices: Literal["", "ledger_account", "tax_rate"] = ""
    kinds: tuple[str, ...] = ()
    map_over: Literal["", "payment_method", "tax"] = ""
    default: Mapping[str, Any] = field(default_factory=dict)
    is_required: bool = False
    is_essential: bool = False  # one of the few an owner has to choose
    has_write_mode: bool = False
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Template:
    """A flow, written once for every pair of connectors. `needs` are the data types the target must be able to write."""

    slug: str
    name: str
    summary: str
    source_type: str
    needs: tuple[str, ...]
    main_type: str  # the document people compare: invoice, credit_note, bank_transfer, customer
    fields: tuple[TargetField, ...]
    build: Build
    is_two_way: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(found.name for found in self.fields)


def of_field(path: str, *steps: list[str]) -> dict[str, Any]:
    """A default that reads the source's field."""
    return {"from": "field", "path": path, "steps": [list(step) for step in steps]}


def of_expression(text: str) -> dict[str, Any]:
    return {"from": "expression", "text": text}


def of_constant(value: str) -> dict[str, Any]:
    return {"from": "constant", "value": value}


def of_map() -> dict[str, Any]:
    return {"from": "map", "pairs": {}, "otherwise": ""}


NOTHING: dict[str, Any] = {"from": "nothing"}
