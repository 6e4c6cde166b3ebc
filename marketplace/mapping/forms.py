"""What people fill in about flows, scopes and the source of truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.http import QueryDict

from connectors.sdk.records import DATA_TYPE_NAMES
from connectors.sdk.streams import Field
from marketplace.core.clock import now
from marketplace.installations.models import Connection
from marketplace.installations.queries import connection_name
from marketplace.mapping.models import SourceOfTruth
from marketplace.mapping.pairs import can_run, reads, writes_all
from marketplace.mapping.scope import OPERATOR_LABELS, amount_of
from marketplace.mapping.templates import TEMPLATES, Template

MOST_CONDITIONS = 8
AMOUNT_OPERATORS = ("at_least", "at_most")
DAY_OPERATORS = ("on_or_after", "on_or_before")
#: Fields two systems may own each in part.
SHARED_FIELDS = {
    "name": "Name",
    "email": "E-mail",
    "phone": "Phone",
    "tax_number": "Tax number",
    "address": "Address",
}


class FlowForm(forms.Form):
    """From where, to where, from when."""

    source = forms.ChoiceField(label="From")
    target = forms.ChoiceField(label="To")
    start_date = forms.DateField(
        label="Start date",
        help_text="Records dated before this day are left as they are.",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )

    def __init__(self, *, chosen: Template, connections: Sequence[Connection], typed: QueryDict | None = None) -> None:
        super().__init__(typed)
        self.chosen = chosen
        self.by_id = {str(connection.pk): connection for connection in connections}
        sources = [found for found in connections if reads(found.connector, chosen.source_type)]
        targets = [found for found in connections if writes_all(found.connector, chosen.needs)]
        self._offer("source", sources)
        self._offer("target", targets)
        self.fields["start_date"].initial = now().date().replace(day=1)

    def _offer(self, name: str, found: Sequence[Connection]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(str(connection.pk), connection_name(connection)) for connection in found]

    def clean_source(self) -> Connection:
        return self.by_id[self.cleaned_data["source"]]

    def clean_target(self) -> Connection:
        return self.by_id[self.cleaned_data["target"]]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        source, target = cleaned.get("source"), cleaned.get("target")
        if source and target and not can_run(self.chosen, source, target):
            self.add_error("target", "Choose a system other than the one the records come from.")
        return cleaned


class ScopeForm(forms.Form):
    """Conditions over the source's fields, all of which must hold. Empty rows are no condition."""

    def __init__(
        self, *, source_fields: Sequence[Field], scope: Sequence[Mapping[str, str]], typed: QueryDict | None = None
    ) -> None:
        super().__init__(typed)
        paths = [("", "–"), *((field.path, field.label) for field in source_fields)]
        self.numbers = range(self._count(scope, typed))
        for number in self.numbers:
            saved = scope[number] if number < len(scope) else {}
            self._condition(number, paths, saved)

    def _condition(self, number: int, paths: list[tuple[str, str]], saved: Mapping[str, str]) -> None:
        self.fields[f"path{number}"] = forms.ChoiceField(
            label=f"Field {number + 1}", choices=paths, initial=saved.get("path", ""), required=False
        )
        self.fields[f"operator{number}"] = forms.ChoiceField(
            label=f"Condition {number + 1}",
            choices=list(OPERATOR_LABELS.items()),
            initial=saved.get("operator", "is"),
            required=False,
        )
        self.fields[f"value{number}"] = forms.CharField(
            label=f"Value {number + 1}", initial=saved.get("value", ""), required=False, max_length=200
        )

    def _count(self, scope: Sequence[Mapping[str, str]], typed: QueryDict | None) -> int:
        used = len(scope)
        if typed is not None:
            used = max((n + 1 for n in range(MOST_CONDITIONS) if typed.get(f"path{n}")), default=0)
        return min(used + 1, MOST_CONDITIONS)

    @property
    def rows(self) -> list[tuple[forms.BoundField, forms.BoundField, forms.BoundField]]:
        return [(self[f"path{n}"], self[f"operator{n}"], self[f"value{n}"]) for n in self.numbers]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for number in self.numbers:
            if cleaned.get(f"path{number}"):
                self._check(number, cleaned.get(f"operator{number}", ""), cleaned.get(f"value{number}", ""))
        return cleaned

    def _check(self, number: int, operator: str, value: str) -> None:
        if operator not in OPERATOR_LABELS:
            self.add_error(f"operator{number}", "Choose a condition.")
        elif operator in AMOUNT_OPERATORS and amount_of(value.strip()) is None:
            self.add_error(f"value{number}", "This condition needs a number, such as 100 or 99.50.")
        elif operator in DAY_OPERATORS and not _is_day(value.strip()):
            self.add_error(f"value{number}", "This condition needs a date such as 2026-11-21.")

    def scope(self) -> list[dict[str, str]]:
        """The conditions that are filled in."""
        return [
            {part: self.cleaned_data[f"{part}{n}"].strip() for part in ("path", "operator", "value")}
            for n in self.numbers
            if self.cleaned_data.get(f"path{n}")
        ]


def _is_day(text: str) -> bool:
    try:
        forms.DateField(input_formats=["%Y-%m-%d"]).clean(text)
    except forms.ValidationError:
        return False
    return True


class SourceOfTruthForm(forms.Form):
    """One row per data type: who owns it, by which rule; for contacts also field by field."""

    def __init__(
        self,
        *,
        connections: Sequence[Connection],
        decided: Mapping[str, SourceOfTruth],
        typed: QueryDict | None = None,
    ) -> None:
        super().__init__(typed)
        self.by_id = {str(connection.pk): connection for connection in connections}
        self.data_types = [name for name in offered_data_types() if self._having(name)]
        self.decided = decided
        for data_type in self.data_types:
            self._add_row(data_type)

    def _having(self, data_type: str) -> list[Connection]:
        return [found for found in self.by_id.values() if reads(found.connector, data_type)]

    def _add_row(self, data_type: str) -> None:
        known, having = self.decided.get(data_type), self._having(data_type)
        choices = [(str(found.pk), connection_name(found)) for found in having]
        self.fields[f"{data_type}-owner"] = forms.ChoiceField(
            label=DATA_TYPE_NAMES[data_type][1].capitalize(),
            choices=choices,
            initial=str(known.owner_id) if known else "",
            required=False,
            widget=forms.RadioSelect,
        )
        if data_type not in two_way_types():
            return
        self.fields[f"{data_type}-rule"] = forms.ChoiceField(
            label="When both sides changed",
            choices=SourceOfTruth.Rule.choices,
            initial=known.rule if known else SourceOfTruth.Rule.OWNER,
            help_text="An edit on one side only goes to the other side. When both sides changed a field differently, one value "
            "wins, and the conflict is kept with both. Of two changes of the very same time the owner’s wins.",
        )
        for name, words in SHARED_FIELDS.items():
            self.fields[f"{data_type}-field-{name}"] = forms.ChoiceField(
                label=words,
                choices=[("", "As the rule says"), *choices],
                initial=known.field_owners.get(name, "") if known else "",
                required=False,
            )

    def decisions(self) -> list[dict[str, Any]]:
        """Each data type with an owner, as `decide_source_of_truth` takes it."""
        cleaned = self.cleaned_data
        return [
            {
                "data_type": data_type,
                "owner": self.by_id[cleaned[f"{data_type}-owner"]],
                "rule": cleaned.get(f"{data_type}-rule") or SourceOfTruth.Rule.OWNER,
                "field_owners": self._field_owners(data_type),
            }
            for data_type in self.data_types
            if cleaned.get(f"{data_type}-owner")
        ]

    def _field_owners(self, data_type: str) -> dict[str, str]:
        chosen = {name: self.cleaned_data.get(f"{data_type}-field-{name}", "") for name in SHARED_FIELDS}
        return {name: owner for name, owner in chosen.items() if owner}

    @property
    def grid(self) -> list[dict[str, Any]]:
        """Rows of radio buttons, one cell a system; None where a system does not have the data type."""
        return [self._grid_row(data_type) for data_type in self.data_types]

    def _grid_row(self, data_type: str) -> dict[str, Any]:
        bound = self[f"{data_type}-owner"]
        radios = {str(radio.data["value"]): radio for radio in bound.subwidgets}
        is_two_way = f"{data_type}-rule" in self.fields
        return {
            "label": bound.label,
            "cells": [(connection, radios.get(key)) for key, connection in self.by_id.items()],
            "errors": bound.errors,
            "rule": self[f"{data_type}-rule"] if is_two_way else None,
            "fields": [self[f"{data_type}-field-{name}"] for name in SHARED_FIELDS] if is_two_way else [],
        }


def offered_data_types() -> list[str]:
    """What flows can move, in the order of their templates."""
    return list(dict.fromkeys(chosen.source_type for chosen in TEMPLATES.values()))


def two_way_types() -> set[str]:
    return {chosen.source_type for chosen in TEMPLATES.values() if chosen.is_two_way}
