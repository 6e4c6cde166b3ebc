"""A saved mapping as a function: compiled once per version, then run over batches.

The form's choices become Python source whose only names are ours: paths are checked against the standard record's own fields,
constants are literals, expressions are parsed and rebuilt from a small allowed set. Nothing a tenant types is ever executed as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from connectors.sdk.records import RECORD_TYPES, Record
from marketplace.mapping.expressions import (
    FUNCTIONS,
    Source,
    apply_source,
    compile_expression,
    field_source,
    named,
    text_source,
)
from marketplace.mapping.mapped import Fields, Mapped, ValueMap
from marketplace.mapping.models import MappingVersion
from marketplace.mapping.plan import Circumstances, Held, PlannedDocument, Planner
from marketplace.mapping.steps import COUNTING_STEPS, STEP_LABELS, STEPS, as_date, as_local, as_text
from marketplace.mapping.templates import TargetField, Template, template

CACHED_VERSIONS = 256


class MappingError(Exception):
    """A mapping that does not compile; `field` is the target field's name, the message is for the person at the form."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


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
    constants: dict[str, Any] = {}
    sources = {}
    for field in chosen.fields:
        sources[field.name] = _code(chosen, field, entries.get(field.name) or field.default, constants)
    maps = {
        field.name: _map_of(field, entries.get(field.name) or field.default)
        for field in chosen.fields
        if field.map_over
    }
    modes = {name: entry.get("write_mode", "overwrite") for name, entry in entries.items()}
    return Mapped(_generated(chosen, sources, constants), maps, modes)


def _map_of(field: TargetField, entry: Mapping[str, Any]) -> ValueMap:
    return ValueMap(field.label, entry.get("pairs", {}), str(entry.get("otherwise", "")))


def _generated(chosen: Template, sources: Mapping[str, Source], constants: Mapping[str, Any]) -> Fields:
    """The function that works out every field; what two fields have in common is worked out once."""
    lines, known = [], {}
    for place, field in enumerate(chosen.fields):
        source = sources[field.name]
        if source not in constants and source not in _PLAIN and source not in known:
            known[source] = f"value_{place}"
            lines.append(f"at = {field.name!r}; value_{place} = {source}")
        if field.kind == "date" and field.is_required and source.kind != "instant":
            lines.append(f"if {known[source]} is None: raise not_computed({field.name!r})")
    values = ", ".join(f"{name!r}: {known.get(source, source)}" for name, source in sources.items())
    body = "\n".join(f"        {line}" for line in lines)
    labels = {field.name: field.label for field in chosen.fields}
    scope: dict[str, Any] = {
        "as_text": as_text,
        "as_date": as_date,
        "as_local": as_local,
        "ERRORS": (ArithmeticError, TypeError, ValueError),
        "not_computed": lambda at: _not_computed(labels[at]),
        **{f"step_{name}": function for name, function in STEPS.items()},
        **{f"call_{name}": function for name, function in FUNCTIONS.items()},
        **constants,
    }
    exec(
        compile(_FUNCTION.format(body=body, values=values), "<mapping>", "exec"), scope
    )  # generated from checked parts only
    generated: Fields = scope["fields"]
    return generated


_PLAIN = ("''", "None")
_FUNCTION = """
def fields(record, circumstances):
    zone, at = circumstances.time_zone, ''
    try:
{body}
        pass
    except ERRORS as error:
        raise not_computed(at) from error
    return {{{values}}}
"""


def _not_computed(label: str) -> Held:
    return Held(
        "not_computed",
        f"“{label}” cannot be worked out for this record.",
        owner="bookkeeper",
        next_step=f"Look at what “{label}” is made from in the field mapping, then post it again.",
    )


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


def _code(chosen: Template, field: TargetField, entry: Mapping[str, Any], constants: dict[str, Any]) -> Source:
    """Source text for one field's value."""
    if field.map_over:
        return Source("''", "text")
    if not entry or entry.get("from") == "nothing":
        _refuse_missing(field)
        return Source("None") if field.kind == "date" else Source("''", "text")
    return _source(chosen, field, entry, constants)


def _refuse_missing(field: TargetField) -> None:
    if field.is_required:
        raise MappingError(field.name, f"Choose where “{field.label}” comes from.")


def _source(chosen: Template, field: TargetField, entry: Mapping[str, Any], constants: dict[str, Any]) -> Source:
    source = entry.get("from")
    record_type = RECORD_TYPES[chosen.source_type]
    if source == "constant":
        if field.is_required and not entry.get("value"):
            _refuse_missing(field)
        code = Source(named(constants, as_text(str(entry.get("value", "")))), "text")
    elif source == "field":
        code = _checked(field, lambda: field_source(record_type, str(entry.get("path", ""))))
    elif source == "expression":
        code = _checked(field, lambda: compile_expression(str(entry.get("text", "")), record_type, constants))
    else:
        raise MappingError(field.name, f"“{field.label}” has no source called {source}.")
    for step, *arguments in entry.get("steps", []):
        _check_step(field, step, arguments)
        typed = (Source(named(constants, str(argument)), "str") for argument in arguments)
        code = apply_source(step, [code, *typed], f"step_{step}")
    if field.kind != "date":
        return text_source(code)
    return Source(f"{code}.date()", "instant") if code.kind == "instant" else Source(f"as_date({code}, zone)")


def _check_step(field: TargetField, step: str, arguments: list[str]) -> None:
    if step not in STEPS:
        raise MappingError(field.name, f"“{field.label}”: there is no transform called {step}.")
    words, wanted = STEP_LABELS[step]
    if len(arguments) != len(wanted):
        raise MappingError(field.name, f"“{field.label}”: “{words}” needs {len(wanted)} values.")
    if step in COUNTING_STEPS and not str(arguments[0]).lstrip("-").isdecimal():
        raise MappingError(field.name, f"“{field.label}”: “{words}” needs a whole number.")


def _checked(field: TargetField, generate: Callable[[], Source]) -> Source:
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
