"""Filters of the records browser; they live in the address."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms


class RecordFilter(forms.Form):
    q = forms.CharField(label="Number, reference or name", required=False, widget=forms.SearchInput())
    first = forms.DateField(label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    last = forms.DateField(label="Until", required=False, widget=forms.DateInput(attrs={"type": "date"}))

    @property
    def chosen(self) -> dict[str, Any]:
        """What to filter by; a filter that makes no sense filters nothing."""
        cleaned: dict[str, Any] = self.cleaned_data if self.is_valid() else {}
        first: dt.date | None = cleaned.get("first")
        last: dt.date | None = cleaned.get("last")
        return {"text": cleaned.get("q", ""), "first": first, "last": last}


class SetAsideForm(forms.Form):
    reason = forms.CharField(label="Why", max_length=300, help_text="Kept in the audit trail.")
