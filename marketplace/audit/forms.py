"""What a person looks for in the trail; it lives in the address."""

from __future__ import annotations

from django import forms

from marketplace.audit.queries import actions_taken, actors


def action_choices() -> list[tuple[str, str]]:
    return [("", "Any"), *actions_taken()]


def actor_choices() -> list[tuple[str, str]]:
    return [("", "Anybody"), *actors()]


class TrailForm(forms.Form):
    text = forms.CharField(label="Search", required=False, max_length=100, widget=forms.SearchInput())
    action = forms.ChoiceField(label="What", required=False, choices=action_choices)
    actor = forms.ChoiceField(label="Who", required=False, choices=actor_choices)
