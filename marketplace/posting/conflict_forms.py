"""One choice for each field both sides changed, or one for many of them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django import forms
from django.http import QueryDict

from marketplace.core.formatting import NOTHING
from marketplace.installations.queries import connection_name
from marketplace.posting.conflicts import fingerprint_of, fingerprint_of_all
from marketplace.posting.models import Conflict
from marketplace.posting.pairs import FIELD_WORDS, one_line

LATER = "later"


class ConflictForm(forms.Form):
    """Nothing is chosen beforehand; a field left at "Later" goes on waiting."""

    def __init__(self, *args: Any, waiting: Sequence[Conflict], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting = waiting
        for conflict in waiting:
            self._add(conflict)

    def _add(self, conflict: Conflict) -> None:
        agreed = conflict.target_agreed or conflict.source_agreed
        self.fields[f"choice{conflict.pk}"] = forms.ChoiceField(
            label=FIELD_WORDS[conflict.field],
            choices=[
                ("source", f"{one_line(conflict.source_value)} · {connection_name(conflict.flow.source)}"),
                ("target", f"{one_line(conflict.target_value)} · {connection_name(conflict.flow.target)}"),
                (LATER, "Later"),
            ],
            help_text=f"Both had: {one_line(agreed) if agreed else NOTHING}",
            initial=LATER,
            widget=forms.RadioSelect,
        )
        self.fields[f"shown{conflict.pk}"] = forms.CharField(
            widget=forms.HiddenInput, required=False, initial=fingerprint_of(conflict)
        )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if all(cleaned.get(f"choice{conflict.pk}", LATER) == LATER for conflict in self.waiting):
            raise forms.ValidationError("Choose a value for at least one field.")
        return cleaned

    @property
    def choices(self) -> dict[int, str]:
        chosen = {conflict.pk: self.cleaned_data[f"choice{conflict.pk}"] for conflict in self.waiting}
        return {pk: choice for pk, choice in chosen.items() if choice != LATER}

    @property
    def shown(self) -> dict[int, str]:
        return {conflict.pk: self.cleaned_data.get(f"shown{conflict.pk}", "") for conflict in self.waiting}


CHOSEN, ALL = "chosen", "all"


class ManyConflictsForm(forms.Form):
    """One system's value stays in the conflicts that were ticked, or in all that fit the list's filter, as they were shown."""

    covers = forms.ChoiceField(label="Which")
    keep = forms.ChoiceField(label="Whose value stays")
    seen = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, fitting: Sequence[Conflict], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fitting = fitting
        sides = {side.pk: side for conflict in fitting for side in (conflict.flow.source, conflict.flow.target)}
        self.fields["covers"].choices = [(CHOSEN, "The ticked ones"), (ALL, f"All {len(fitting)} that fit the filter")]  # type: ignore[attr-defined]
        self.fields["keep"].choices = [  # type: ignore[attr-defined]
            ("", "Choose a system"),
            *((str(pk), connection_name(side)) for pk, side in sides.items()),
        ]
        self.fields["seen"].initial = fingerprint_of_all(fitting)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("covers") == CHOSEN and not self._ticked:
            raise forms.ValidationError("Tick at least one conflict.")
        if cleaned.get("covers") == ALL and cleaned.get("seen") != fingerprint_of_all(self.fitting):
            raise forms.ValidationError("What fits the filter is not what you saw. Look again and decide again.")
        return cleaned

    @property
    def _ticked(self) -> list[int]:
        ticked = self.data.getlist("conflict") if isinstance(self.data, QueryDict) else []
        return [int(pk) for pk in ticked if pk.isdecimal() and len(pk) < 19]

    @property
    def kept_side(self) -> uuid.UUID:
        return uuid.UUID(self.cleaned_data["keep"])

    @property
    def shown(self) -> dict[int, str]:
        if self.cleaned_data["covers"] == ALL:
            return {conflict.pk: fingerprint_of(conflict) for conflict in self.fitting}
        return {pk: self.data.get(f"shown{pk}", "") for pk in self._ticked}
