"""What a person looks for in the catalogue; it lives in the address, so that a search can be sent to a colleague."""

from __future__ import annotations

from django import forms

from connectors.registry import connectors
from marketplace.catalogue.queries import CATEGORY_NAMES, data_type_name


def category_choices() -> list[tuple[str, str]]:
    """Only categories that some connector is in."""
    used = {found.manifest.category for found in connectors().values()}
    return [("", "Any"), *((value, name) for value, name in CATEGORY_NAMES.items() if value in used)]


def data_type_choices() -> list[tuple[str, str]]:
    """Only data types that some connector reads or writes."""
    used = {name for found in connectors().values() for name in (*found.manifest.reads, *found.manifest.writes)}
    return [
        ("", "Any"),
        *sorted(((name, data_type_name(name).capitalize()) for name in used), key=lambda pair: pair[1]),
    ]


class SearchForm(forms.Form):
    text = forms.CharField(label="Search", required=False, max_length=100, widget=forms.SearchInput())
    category = forms.ChoiceField(label="Category", required=False, choices=category_choices)
    data_type = forms.ChoiceField(label="Data type", required=False, choices=data_type_choices)
