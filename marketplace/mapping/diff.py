"""Two versions of a mapping compared in words: field, was, is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marketplace.mapping.labels import source_label, target_labels
from marketplace.mapping.models import Flow
from marketplace.mapping.options import Options
from marketplace.mapping.steps import STEP_LABELS
from marketplace.mapping.templates import TargetField, template

NOTHING = "nothing"
WRITE_MODES = {
    "overwrite": "Always",
    "if_empty": "Only where it is empty",
    "if_new": "Only on new contacts",
    "never": "Never",
}


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Says what a mapping does, in the words of both providers."""

    flow: Flow
    options: Options

    def source(self, entry: Mapping[str, Any], field: TargetField) -> str:
        """Where a single value comes from, with its transforms."""
        kind = entry.get("from", NOTHING)
        if kind == "field":
            words = source_label(self.flow.source.connector, template(self.flow.template).source_type, entry["path"])
        elif kind == "expression":
            words = entry["text"]
        elif kind == "constant" and entry.get("value"):
            words = self.options.name_of(field, entry["value"]) if field.choices else f"“{entry['value']}”"
        else:
            return NOTHING
        return ", ".join([words, *(_step_words(step) for step in entry.get("steps", []))])

    def changes(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Every difference as (what, was, is)."""
        chosen = template(self.flow.template)
        labels = target_labels(self.flow.target.connector, chosen)
        rows: list[tuple[str, str, str]] = []
        for field in chosen.fields:
            was, now = _entry(before, field), _entry(after, field)
            compare = self._pairs if field.map_over else self._single
            rows += [(f"{labels[field.name]}{part}", old, new) for part, old, new in compare(field, was, now)]
        return [row for row in rows if row[1] != row[2]]

    def _single(self, field: TargetField, was: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        rows = [("", self.source(was, field), self.source(now, field))]
        if field.has_write_mode:
            modes = [WRITE_MODES[entry.get("write_mode", "overwrite")] for entry in (was, now)]
            rows.append((" (written)", modes[0], modes[1]))
        return rows

    def _pairs(self, field: TargetField, was: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        old, new = was.get("pairs", {}), now.get("pairs", {})
        rows = [
            (f" for “{option}”", self._choice(field, old.get(option, "")), self._choice(field, new.get(option, "")))
            for option in dict.fromkeys([*old, *new])
        ]
        others = (self._choice(field, was.get("otherwise", "")), self._choice(field, now.get("otherwise", "")))
        return [*rows, (" for everything else", *others)]

    def _choice(self, field: TargetField, code: str) -> str:
        return self.options.name_of(field, code) if code else NOTHING


def _entry(spec: Mapping[str, Any], field: TargetField) -> Mapping[str, Any]:
    found: Mapping[str, Any] = spec.get("fields", {}).get(field.name) or field.default
    return found


def _step_words(step: list[str]) -> str:
    words, *_ = STEP_LABELS[step[0]]
    quoted = " → ".join(f"“{argument}”" for argument in step[1:])
    return f"{words[0].lower()}{words[1:]} {quoted}".strip()
