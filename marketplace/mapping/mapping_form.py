"""The field mapping as a plain form: one row per target field, value maps as rows of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.forms import BoundField
from django.http import QueryDict

from marketplace.mapping.compiling import problems_of
from marketplace.mapping.diff import WRITE_MODES
from marketplace.mapping.labels import option_words, source_fields, target_labels
from marketplace.mapping.models import Flow
from marketplace.mapping.options import Options
from marketplace.mapping.steps import STEP_LABELS
from marketplace.mapping.suggestions import completed
from marketplace.mapping.templates import TargetField, Template, template

Choices = list[tuple[str, str]]
MOST_STEPS = 6
MOST_OPTIONS = 200
SOURCES = {"field": "A field", "constant": "A fixed text", "expression": "An expression", "nothing": "Nothing"}


@dataclass(frozen=True, kw_only=True)
class Offered:
    """Everything a form is made from. `suggested` is what would be chosen by itself."""

    flow: Flow
    chosen: Template
    options: Options
    suggested: Mapping[str, Any]
    labels: Mapping[str, str]
    source_fields: Choices


def offered_for(flow: Flow, options: Options, suggested: Mapping[str, Any]) -> Offered:
    chosen = template(flow.template)
    return Offered(
        flow=flow,
        chosen=chosen,
        options=options,
        suggested=suggested,
        labels=target_labels(flow.target.connector, chosen),
        source_fields=[(field.path, field.label) for field in source_fields(flow.source.connector, chosen.source_type)],
    )


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One transform: which, and up to two values."""

    step: BoundField
    first: BoundField
    second: BoundField


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """One option of the source and what it becomes."""

    option: str
    words: str
    hidden: BoundField
    chosen: BoundField
    is_suggested: bool


class MappingForm(forms.Form):
    """Built for one flow; `entries` are the saved choices it starts from."""

    comment = forms.CharField(
        label="What changed, and why", required=False, max_length=200, help_text="Kept with the version."
    )

    def __init__(self, *, offered: Offered, entries: Mapping[str, Any], typed: QueryDict | None = None) -> None:
        self.typed = None if typed is None else with_new_options(typed, offered.chosen)
        super().__init__(self.typed)
        self.offered = offered
        self.entries = entries
        self._spec = completed(offered.chosen, entries)
        self.rows = [self._row(field) for field in offered.chosen.fields]

    @property
    def has_write_modes(self) -> bool:
        return any(field.has_write_mode for field in self.offered.chosen.fields)

    # --- rows ------------------------------------------------------------------------------------------

    def _row(self, field: TargetField) -> Row:
        entry = self.entries.get(field.name) or field.default
        if field.map_over:
            return self._map_row(field, entry)
        if field.choices:
            self._select(field, "value", self._codes(field, entry.get("value", "")), entry.get("value", ""))
            # Its label is the row's heading.
            self.fields[f"{field.name}-value"].widget.attrs["aria-labelledby"] = f"label-{field.name}"
        else:
            self._value_controls(field, entry)
        if field.has_write_mode:
            mode = entry.get("write_mode", "overwrite")
            self._select(field, "mode", list(WRITE_MODES.items()), mode, label="When it is written")
        return Row(self, field)

    def _value_controls(self, field: TargetField, entry: Mapping[str, Any]) -> None:
        sources = [(name, words) for name, words in SOURCES.items() if name != "nothing" or not field.is_required]
        self._select(field, "from", sources, entry.get("from", "nothing"), label="Comes from")
        paths = [("", "–"), *self.offered.source_fields]
        if entry.get("path") and entry["path"] not in dict(paths):
            paths.append((entry["path"], entry["path"]))
        self._select(field, "path", paths, entry.get("path", ""), label="Field")
        self._text(field, "value", entry.get("value", ""), "Fixed text")
        self._text(field, "text", entry.get("text", ""), "Expression", longest=500)
        steps = entry.get("steps", [])
        for number in range(self._count(field, "step", len(steps), MOST_STEPS)):
            step = [*steps[number], "", ""] if number < len(steps) else ["", "", ""]
            words = [("", "No transform"), *((name, labels[0]) for name, labels in STEP_LABELS.items())]
            self._select(field, f"step{number}", words, step[0], label=f"Transform {number + 1}")
            self._text(field, f"first{number}", step[1], f"Its value {number + 1}")
            self._text(field, f"second{number}", step[2], f"Its second value {number + 1}")

    def _map_row(self, field: TargetField, entry: Mapping[str, Any]) -> Row:
        pairs: Mapping[str, str] = entry.get("pairs", {})
        suggested = self.offered.suggested.get(field.name, {}).get("pairs", {})
        for number, option in enumerate(self._options(field, pairs)):
            code = pairs.get(option) or suggested.get(option, "")
            self._add(field, f"option{number}", forms.CharField(widget=forms.HiddenInput, initial=option))
            self._select(field, f"pair{number}", self._codes(field, code), code, label=option_words(option))
        otherwise = entry.get("otherwise", "")
        self._select(
            field, "otherwise", self._codes(field, otherwise, "Hold the record"), otherwise, label="Anything else"
        )
        self._text(field, "new", "", "Another option, exactly as the source writes it")
        self._select(field, "newpair", self._codes(field, ""), "", label="What it becomes")
        return Row(self, field)

    def _options(self, field: TargetField, pairs: Mapping[str, str]) -> list[str]:
        """What the source holds, what is mapped already, and what was typed, without repeats."""
        typed = [] if self.typed is None else typed_options(self.typed, field.name)
        return list(dict.fromkeys([*typed, *self.offered.options.seen(field), *pairs]))[:MOST_OPTIONS]

    def _count(self, field: TargetField, part: str, saved: int, most: int) -> int:
        """Rows in use and an empty one."""
        used = saved
        if self.typed is not None:
            used = max((n + 1 for n in range(most) if self.typed.get(f"{field.name}-{part}{n}")), default=0)
        return min(used + 1, most)

    def _codes(self, field: TargetField, current: str, empty: str = "Not chosen yet") -> Choices:
        choices = self.offered.options.choices(field)
        if current and current not in dict(choices):
            choices.append((current, f"{self.offered.options.name_of(field, current)} (not offered any more)"))
        return [("", empty if field.is_required or field.map_over else "None"), *choices]

    def _select(self, field: TargetField, part: str, choices: Choices, initial: str, *, label: str = "") -> None:
        made = forms.ChoiceField(
            label=label or self.offered.labels[field.name], choices=choices, initial=initial, required=False
        )
        self._add(field, part, made)

    def _text(self, field: TargetField, part: str, initial: str, label: str, longest: int = 200) -> None:
        self._add(field, part, forms.CharField(label=label, initial=initial, required=False, max_length=longest))

    def _add(self, field: TargetField, part: str, made: forms.Field) -> None:
        made.required = False
        self.fields[f"{field.name}-{part}"] = made

    # --- reading ---------------------------------------------------------------------------------------

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        entries = {field.name: self._entry(field) for field in self.offered.chosen.fields}
        self._spec = completed(self.offered.chosen, entries)
        for name, message in problems_of(self.offered.chosen, self._spec).items():
            self.add_error(self._place(name), message)
        for field in self.offered.chosen.fields:
            self._refuse_gone(field)
        return cleaned

    def _place(self, name: str) -> str:
        """The control a field's problem is shown beside."""
        source = self.cleaned_data.get(f"{name}-from")
        part = {"field": "path", "constant": "value", "expression": "text", "nothing": "from"}.get(
            source or "", "value"
        )
        return f"{name}-{part}"

    def _refuse_gone(self, field: TargetField) -> None:
        """Nothing is saved that the target no longer offers, as far as its lists were read."""
        offered = dict(self.offered.options.choices(field)) if field.choices else {}
        if not offered:
            return
        prefix = f"{field.name}-"
        parts = ("value", "otherwise") if not field.map_over else ("otherwise",)
        pairs = [name for name in self.fields if name.startswith(f"{prefix}pair")]
        for name in [*(prefix + part for part in parts), *pairs]:
            code = self.cleaned_data.get(name)
            if code and code not in offered:
                words = self.offered.options.name_of(field, code)
                self.add_error(name, f"“{words}” is no longer active in the ledger. Choose another.")

    def spec(self) -> dict[str, Any]:
        """The choices as typed, as a whole spec; also of a form with errors, for its preview."""
        return self._spec

    def _value(self, field: TargetField, part: str) -> str:
        return str(self.cleaned_data.get(f"{field.name}-{part}") or "")

    def _entry(self, field: TargetField) -> dict[str, Any]:
        if field.map_over:
            return self._map_entry(field)
        if field.choices:
            code = self._value(field, "value")
            return {"from": "constant", "value": code} if code else {"from": "nothing"}
        source = self._value(field, "from") or "nothing"
        part = {"field": "path", "constant": "value", "expression": "text"}.get(source)
        entry: dict[str, Any] = {"from": source}
        if part:
            entry[part] = self._value(field, part)
            steps = self._steps(field)
            if steps:
                entry["steps"] = steps
        if field.has_write_mode:
            entry["write_mode"] = self._value(field, "mode") or "overwrite"
        return entry

    def _steps(self, field: TargetField) -> list[list[str]]:
        steps = []
        for number in range(MOST_STEPS):
            name = self._value(field, f"step{number}")
            if name:
                values = [self._value(field, f"first{number}"), self._value(field, f"second{number}")]
                steps.append([name, *values[: len(STEP_LABELS[name][1])]])
        return steps

    def _map_entry(self, field: TargetField) -> dict[str, Any]:
        pairs = {}
        for number in range(MOST_OPTIONS):
            option, code = self._value(field, f"option{number}"), self._value(field, f"pair{number}")
            if option and code:
                pairs[option] = code
        return {"from": "map", "pairs": pairs, "otherwise": self._value(field, "otherwise")}


def typed_options(typed: QueryDict, name: str) -> list[str]:
    """The options of a value map that a submitted form has rows for."""
    found = (typed.get(f"{name}-option{number}") for number in range(MOST_OPTIONS))
    return [option for option in found if option]


def with_new_options(typed: QueryDict, chosen: Template) -> QueryDict:
    """An option typed into the empty row becomes a row of its own, so that the empty row is free for the next."""
    changed = typed.copy()
    for field in chosen.fields:
        option = changed.get(f"{field.name}-new", "").strip()
        if not field.map_over or not option:
            continue
        options = typed_options(changed, field.name)
        number = options.index(option) if option in options else len(options)
        changed[f"{field.name}-option{number}"] = option
        changed[f"{field.name}-pair{number}"] = changed.get(f"{field.name}-newpair", "")
        changed[f"{field.name}-new"] = changed[f"{field.name}-newpair"] = ""
    return changed


class Row:
    """One target field on the page."""

    def __init__(self, form: MappingForm, field: TargetField) -> None:
        self.form = form
        self.field = field
        self.label = form.offered.labels[field.name]
        self.hint = field.hint

    def part(self, name: str) -> BoundField | None:
        full = f"{self.field.name}-{name}"
        return self.form[full] if full in self.form.fields else None

    @property
    def value(self) -> BoundField | None:
        return self.part("value")

    @property
    def source(self) -> BoundField | None:
        return self.part("from")

    @property
    def path(self) -> BoundField | None:
        return self.part("path")

    @property
    def text(self) -> BoundField | None:
        return self.part("text")

    @property
    def mode(self) -> BoundField | None:
        return self.part("mode")

    @property
    def otherwise(self) -> BoundField | None:
        return self.part("otherwise")

    @property
    def new(self) -> BoundField | None:
        return self.part("new")

    @property
    def newpair(self) -> BoundField | None:
        return self.part("newpair")

    @property
    def steps(self) -> list[StepRow]:
        prefix, form = f"{self.field.name}-", self.form
        numbers = [n for n in range(MOST_STEPS) if f"{prefix}step{n}" in form.fields]
        return [
            StepRow(step=form[f"{prefix}step{n}"], first=form[f"{prefix}first{n}"], second=form[f"{prefix}second{n}"])
            for n in numbers
        ]

    @property
    def pairs(self) -> list[PairRow]:
        numbers = [n for n in range(MOST_OPTIONS) if f"{self.field.name}-option{n}" in self.form.fields]
        return [self._pair(number) for number in numbers]

    def _pair(self, number: int) -> PairRow:
        hidden, chosen = self.form[f"{self.field.name}-option{number}"], self.form[f"{self.field.name}-pair{number}"]
        option, code = str(hidden.value()), chosen.value()
        saved = (self.form.entries.get(self.field.name) or {}).get("pairs", {})
        suggested = self.form.offered.suggested.get(self.field.name, {}).get("pairs", {})
        is_suggested = bool(code) and suggested.get(option) == code and option not in saved
        words = option_words(option)
        return PairRow(option=option, words=words, hidden=hidden, chosen=chosen, is_suggested=is_suggested)

    @property
    def is_suggested(self) -> bool:
        """What is chosen is what we would choose."""
        suggested = self.form.offered.suggested.get(self.field.name, {})
        if self.field.map_over or not self.field.choices or not suggested.get("value"):
            return False
        return bool(self.value and self.value.value() == suggested["value"])

    @property
    def problems(self) -> list[str]:
        prefix = f"{self.field.name}-"
        return [
            str(message)
            for name, messages in self.form.errors.items()
            if name.startswith(prefix)
            for message in messages
        ]

    @property
    def is_missing(self) -> bool:
        """Something here still has to be chosen before every record can go through."""
        if self.problems:
            return True
        if self.field.map_over:
            return not (self.otherwise and self.otherwise.value()) and any(
                not pair.chosen.value() for pair in self.pairs
            )
        return self.field.is_required and bool(self.field.choices) and not (self.value and self.value.value())

    @property
    def summary(self) -> str:
        """Where a single value comes from now, in the source's words."""
        source = self.source.value() if self.source else ""
        if source == "field" and self.path:
            return dict(self.form.offered.source_fields).get(self.path.value(), str(self.path.value()))
        if source == "constant" and self.value:
            return f"“{self.value.value()}”" if self.value.value() else "Empty"
        if source == "expression" and self.text:
            # An expression that is one field reads as that field.
            return dict(self.form.offered.source_fields).get(self.text.value(), str(self.text.value()))
        return "Nothing"
