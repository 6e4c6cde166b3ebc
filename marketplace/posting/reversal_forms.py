"""What to take back, and the confirmation of the plan."""

from __future__ import annotations

from typing import Any

from django import forms

from marketplace.core.formatting import day_text

BY = [("written", "Written by us between"), ("dated", "Dated between")]


class ReasonForm(forms.Form):
    """For a selection that is fixed already: one entry, or one request."""

    reason = forms.CharField(
        label="Why", max_length=300, help_text="Kept with the reversal and shown on every record it takes back."
    )


class NewReversalForm(ReasonForm):
    """Everything a flow posted in a period."""

    by = forms.ChoiceField(
        label="Entries",
        choices=BY,
        initial="written",
        widget=forms.RadioSelect,
        help_text="The day we wrote an entry, or the date it has in the books.",
    )
    first = forms.DateField(label="From", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    last = forms.DateField(label="Until", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    field_order = ("by", "first", "last", "reason")

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        first, last = cleaned.get("first"), cleaned.get("last")
        if first and last and last < first:
            self.add_error("last", "The period ends before it begins.")
        return cleaned

    @property
    def selection(self) -> dict[str, str]:
        cleaned = self.cleaned_data
        return {"by": cleaned["by"], "first": cleaned["first"].isoformat(), "last": cleaned["last"].isoformat()}

    @property
    def covers(self) -> str:
        cleaned = self.cleaned_data
        word = "written" if cleaned["by"] == "written" else "dated"
        return f"Everything {word} from {day_text(cleaned['first'])} to {day_text(cleaned['last'])}"


class ConfirmForm(forms.Form):
    is_read = forms.BooleanField(label="I have read the plan and want it carried out.")
