"""What a person looks for in the trail; it lives in the address."""

from __future__ import annotations

from typing import Any

from django import forms

from marketplace.audit.queries import actions_taken, actors
from tenants.firms import ACTION_WORDS
from tenants.models import Firm


def action_choices() -> list[tuple[str, str]]:
    return [("", "Any"), *actions_taken()]


def actor_choices() -> list[tuple[str, str]]:
    return [("", "Anybody"), *actors()]


class TrailForm(forms.Form):
    text = forms.CharField(label="Search", required=False, max_length=100, widget=forms.SearchInput())
    action = forms.ChoiceField(label="What", required=False, choices=action_choices)
    actor = forms.ChoiceField(label="Who", required=False, choices=actor_choices)


class FirmTrailForm(forms.Form):
    text = forms.CharField(label="Search", required=False, max_length=100, widget=forms.SearchInput())
    action = forms.ChoiceField(
        label="What", required=False, choices=[("", "Any"), *sorted(ACTION_WORDS.items(), key=lambda one: one[1])]
    )
    actor = forms.ChoiceField(label="Who", required=False)

    def __init__(self, data: Any, *, firm: Firm) -> None:
        super().__init__(data)
        names = firm.entries.order_by("actor").values_list("actor", flat=True).distinct()
        self.fields["actor"].choices = [("", "Anybody"), *((name, name) for name in names)]  # type: ignore[attr-defined]
