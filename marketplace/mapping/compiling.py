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
from marketplace.mapping.steps import COUNTING_STEPS, STEP_LABELS, STEPS, as_date, as_local, as_text
from marketplace.mapping.templates import TargetField, Template, template

CACHED_VERSIONS = 256
Fields = Callable[[Record, Circumstances], dict[str, Any]]


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

    fields: Fields
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
    lines = ["def fields(record, circumstances):", "    values, at = {}, ''", "    try:"]
    maps: dict[str, ValueMap] = {}
    constants: dict[str, Any] = {}
    for field in chosen.fields:
        entry = entries.get(field.name) or field.default
        if field.map_over:
            maps[field.name] = ValueMap(field, entry.get("pairs", {}), str(entry.get("otherwise", "")))
        lines.append(f"        at = {field.name!r}; values[at] = {_code(chosen, field, entry, constants)}")
    lines += ["    except ERRORS as error:", "        raise not_computed(at, error) from error", "    return values"]
    modes = {name: entry.get("write_mode", "overwrite") for name, entry in entries.items()}
    return Mapped(_whole(chosen, _generated(lines, constants, chosen)), maps, modes)


def _generated(lines: list[str], constants: dict[str, Any], chosen: Template) -> Fields:
    labels = {field.name: field.label for field in chosen.fields}
    scope: dict[str, Any] = {
        "as_text": as_text,
        "as_date": as_date,
        "as_local": as_local,
        "STEPS": STEPS,
        "constants": constants,
        "ERRORS": (ArithmeticError, TypeError, ValueError),
        "not_computed": lambda at, error: _not_computed(labels[at]),
    }
    exec(compile("\n".join(lines), "<mapping>", "exec"), scope)  # generated from checked parts only
    generated: Fields = scope["fields"]
    return generated


def _not_computed(label: str) -> Held:
    return Held(
        "not_computed",
        f"“{label}” cannot be worked out for this record.",
        owner="bookkeeper",
        next_step=f"Look at what “{label}” is made from in the field mapping, then post it again.",
    )


def _whole(chosen: Template, fields: Fields) -> Fields:
    """A document without its day cannot be booked: such a record waits."""
    dates = [field for field in chosen.fields if field.kind == "date" and field.is_required]

    def checked(record: Record, circumstances: Circumstances) -> dict[str, Any]:
        values = fields(record, circumstances)
        for field in dates:
            if values[field.name] is None:
                raise _not_computed(field.label)
        return values

    return checked


def problems_of(chosen: Template, spec: Mapping[str, Any]) -> dict[str, str]:
    """Everything that keeps a mapping from compiling, by target field, as sentences."""
    problems = {}
    for field in chosen.fields:
        entry = spec.get("fields", {}).get(field.name) or field.default
        try:
            _code(chosen, field, entry, {})
        except MappingError as error:
            problems[field.name] = str(error)
    return problems


def _code(chosen: Template, field: TargetField, entry: Mapping[str, Any], constants: dict[str, Any]) -> str:
    """Source text for one field's value."""
    if field.map_over:
        return "''"
    if not entry or entry.get("from") == "nothing":
        _refuse_missing(field)
        return "None" if field.kind == "date" else "''"
    return _source(chosen, field, entry, constants)


def _refuse_missing(field: TargetField) -> None:
    if field.is_required:
        raise MappingError(field.name, f"Choose where “{field.label}” comes from.")


def _source(chosen: Template, field: TargetField, entry: Mapping[str, Any], constants: dict[str, Any]) -> str:
    source = entry.get("from")
    record_type = RECORD_TYPES[chosen.source_type]
    if source == "constant":
        if field.is_required and not entry.get("value"):
            _refuse_missing(field)
        constants[field.name] = str(entry.get("value", ""))
        code = f"constants[{field.name!r}]"
    elif source == "field":
        code = _checked(field, lambda: field_source(record_type, str(entry.get("path", ""))))
    elif source == "expression":
        code = _checked(field, lambda: compile_expression(str(entry.get("text", "")), record_type, constants))
    else:
        raise MappingError(field.name, f"“{field.label}” has no source called {source}.")
    for step, *arguments in entry.get("steps", []):
        _check_step(field, step, arguments)
        code = f"STEPS[{step!r}]({', '.join([code, *(repr(str(argument)) for argument in arguments)])})"
    if field.kind == "date":
        return f"as_date({code}, circumstances.time_zone)"
    return f"as_text({code})"


def _check_step(field: TargetField, step: str, arguments: list[str]) -> None:
    if step not in STEPS:
        raise MappingError(field.name, f"“{field.label}”: there is no transform called {step}.")
    words, wanted = STEP_LABELS[step]
    if len(arguments) != len(wanted):
        raise MappingError(field.name, f"“{field.label}”: “{words}” needs {len(wanted)} values.")
    if step in COUNTING_STEPS and not str(arguments[0]).lstrip("-").isdecimal():
        raise MappingError(field.name, f"“{field.label}”: “{words}” needs a whole number.")


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


def mapped_by(slug: str, version: MappingVersion) -> Mapped:
    """The version's fields alone, for the flow's template. Raises `MappingError`."""
    return _mapped(slug, version.digest, _Frozen(version.spec))


@lru_cache(maxsize=CACHED_VERSIONS)
def _mapped(slug: str, digest: str, spec: _Frozen) -> Mapped:
    return compile_spec(template(slug), spec)


@lru_cache(maxsize=CACHED_VERSIONS)
def _planner(slug: str, digest: str, spec: _Frozen) -> Planner:
    return planner_of(slug, spec)
