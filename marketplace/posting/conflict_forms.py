"""One choice for each field both sides changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from marketplace.core.formatting import NOTHING
from marketplace.installations.queries import connection_name
from marketplace.posting.conflicts import fingerprint_of
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
        agreed = one_line(conflict.target_agreed or conflict.source_agreed) or NOTHING
        self.fields[f"choice{conflict.pk}"] = forms.ChoiceField(
            label=FIELD_WORDS[conflict.field],
            choices=[
                ("source", f"{one_line(conflict.source_value)} · {connection_name(conflict.flow.source)}"),
                ("target", f"{one_line(conflict.target_value)} · {connection_name(conflict.flow.target)}"),
                (LATER, "Later"),
            ],
            help_text=f"Both had: {agreed}",
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
