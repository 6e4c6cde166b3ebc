"""A saved mapping as a function: compiled once per version, then run over batches.

The form's choices become Python source whose only names are ours: paths are checked against the standard record's own fields,
constants are literals, expressions are parsed and rebuilt from a small allowed set. Nothing a tenant types is ever executed as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from connectors.sdk.records import RECORD_TYPES, Record
from marketplace.mapping.expressions import compile_expression, field_source
from marketplace.mapping.models import MappingVersion
from marketplace.mapping.plan import Circumstances, Held, PlannedDocument, Planner
from marketplace.mapping.steps import STEPS, as_date, as_text
from marketplace.mapping.templates import TargetField, Template, template

CACHED_VERSIONS = 256


class MappingError(Exception):
    """A mapping that does not compile; `field` is the target field's name, the message is for the person at the form."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class ValueMap:
    """Option -> option. An option nobody has mapped holds the record instead of guessing."""

    def __init__(self, field: TargetField, pairs: Mapping[str, str], otherwise: str) -> None:
        self.field = field
        self.pairs = dict(pairs)
        self.otherwise = otherwise

    def __getitem__(self, option: str) -> str:
        chosen = self.pairs.get(option) or self.otherwise
        if chosen:
            return chosen
        raise Held(
            "unmapped",
            f"{self.field.label}: nothing is chosen for “{option}” yet.",
            owner="bookkeeper",
            next_step=f"Choose what “{option}” becomes in the field mapping, then post it again.",
        )


@dataclass(frozen=True)
class Mapped:
    """A compiled mapping: `fields` evaluates every single-valued target field of a record at once; `maps` holds the value maps;
    `write_modes` says per field when it may be sent."""

    fields: Callable[[Record, Circumstances], dict[str, Any]]
    maps: Mapping[str, ValueMap]
    write_modes: Mapping[str, str]


def planner_for(slug: str, version: MappingVersion) -> Planner:
    """The version's plan function for the flow's template. Raises `MappingError`."""
    return _planner(slug, version.digest, _Frozen(version.spec))


def planner_of(slug: str, spec: Mapping[str, Any]) -> Planner:
    """A plan function for a mapping that is not saved, as the preview needs it. Raises `MappingError`."""
    chosen = template(slug)
    mapped = compile_spec(chosen, spec)

    def plan(record: Record, circumstances: Circumstances) -> list[PlannedDocument]:
        return chosen.build(record, mapped, circumstances)

    return plan


def compile_spec(chosen: Template, spec: Mapping[str, Any]) -> Mapped:
    """Check every field and generate the function. Raises `MappingError` naming the first field that is wrong."""
    entries: dict[str, Mapping[str, Any]] = spec.get("fields", {})
    lines, maps, constants = ["def fields(record, circumstances):", "    return {"], {}, {}
    for field in chosen.fields:
        entry = entries.get(field.name) or field.default
        if not entry or entry.get("from") == "nothing":
            _refuse_missing(field)
            lines.append(f"        {field.name!r}: '',")
        elif field.map_over:
            maps[field.name] = ValueMap(field, entry.get("pairs", {}), str(entry.get("otherwise", "")))
        else:
            lines.append(f"        {field.name!r}: {_source(chosen, field, entry, constants)},")
    lines.append("    }")
    scope: dict[str, Any] = {"as_text": as_text, "as_date": as_date, "STEPS": STEPS, "constants": constants}
    exec(compile("\n".join(lines), "<mapping>", "exec"), scope)  # noqa: S102 -- generated from checked parts only
    modes = {name: entry.get("write_mode", "overwrite") for name, entry in entries.items()}
    return Mapped(scope["fields"], maps, modes)


def _refuse_missing(field: TargetField) -> None:
    if field.is_required:
        raise MappingError(field.name, f"Choose where “{field.label}” comes from.")


def _source(chosen: Template, field: TargetField, entry: Mapping[str, Any], constants: dict[str, Any]) -> str:
    source = entry["from"]
    record_type = RECORD_TYPES[chosen.source_type]
    if source == "constant":
        if field.is_required and not entry.get("value"):
            _refuse_missing(field)
        constants[field.name] = str(entry.get("value", ""))
        code = f"constants[{field.name!r}]"
    elif source == "field":
        code = _checked(field, lambda: field_source(record_type, str(entry["path"])))
    elif source == "expression":
        code = _checked(field, lambda: compile_expression(str(entry["text"]), record_type, constants))
    else:
        raise MappingError(field.name, f"“{field.label}” has no source called {source}.")
    for step, *arguments in entry.get("steps", []):
        if step not in STEPS:
            raise MappingError(field.name, f"“{field.label}”: there is no transform called {step}.")
        code = f"STEPS[{step!r}]({', '.join([code, *(repr(str(argument)) for argument in arguments)])})"
    if field.kind == "date":
        return f"as_date({code}, circumstances.time_zone)"
    return f"as_text({code})"


def _checked(field: TargetField, generate: Callable[[], str]) -> str:
    try:
        return generate()
    except ValueError as error:
        raise MappingError(field.name, f"“{field.label}”: {error}") from error


class _Frozen(dict[str, Any]):
    """A spec as a cache argument: its digest, beside it in the key, already identifies it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Frozen)


@lru_cache(maxsize=CACHED_VERSIONS)
def _planner(slug: str, digest: str, spec: _Frozen) -> Planner:
    return planner_of(slug, spec)
