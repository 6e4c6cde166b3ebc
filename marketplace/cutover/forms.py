"""What people fill in on the staircase."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from django import forms

from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.cutover.gate import target_of
from marketplace.cutover.models import Pair, Verdict
from marketplace.cutover.words import CHOICES, choice_of
from marketplace.mapping.models import Flow

USUAL_DAYS = 28


class DateInput(forms.DateInput):
    """The browser's own calendar."""

    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


def note_field(hint: str) -> forms.CharField:
    return forms.CharField(
        label="Note", required=False, max_length=500, help_text=hint, widget=forms.Textarea(attrs={"rows": 2})
    )


class MoveForm(forms.Form):
    """A step forward or back."""

    note = note_field("Kept with the move.")


class ParallelForm(MoveForm):
    """The period to compare. One in the past compares with what staff have entered already."""

    first = forms.DateField(label="First day", widget=DateInput())
    last = forms.DateField(
        label="Last day",
        widget=DateInput(),
        help_text="A period in the past is compared at once with what staff have entered already.",
    )
    field_order = ["first", "last", "note"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        first, last = cleaned.get("first"), cleaned.get("last")
        if first and last and last < first:
            self.add_error("last", "The last day is before the first.")
        return cleaned


def usual_period(today: dt.date) -> dict[str, dt.date]:
    return {"first": today, "last": today + dt.timedelta(days=USUAL_DAYS - 1)}


class ApprovalForm(forms.Form):
    """The named approver's word."""

    has_seen = forms.BooleanField(
        label="I have seen what will happen, the comparison and its open differences, and approve going live."
    )
    note = note_field("Kept with the approval, for whoever asks later.")


class ChoicesForm(forms.Form):
    """How entries are written where there is a choice."""

    closed_period = forms.ChoiceField(
        label="An entry dated in closed books", choices=list(CHOICES["closed_period"].items()), widget=forms.RadioSelect
    )
    pilot_documents = forms.ChoiceField(
        label="The pilot writes",
        choices=list(CHOICES["pilot_documents"].items()),
        widget=forms.RadioSelect,
        help_text="Drafts leave payments to staff. What the pilot has written already stays as it is.",
    )

    @classmethod
    def of(cls, flow: Flow, typed: Any = None) -> ChoicesForm:
        return cls(typed, initial={name: choice_of(flow, name) for name in CHOICES})


class TargetsForm(forms.Form):
    """What the gate asks for."""

    pilot_count = forms.IntegerField(label="Records posted in the pilot", min_value=1, max_value=100_000)
    parallel_days = forms.IntegerField(
        label="Days compared", min_value=1, max_value=366, help_text="14 to 28 days show a whole round of the business."
    )
    count_rate = forms.DecimalField(
        label="Entries that agree, in percent", min_value=Decimal(0), max_value=Decimal(100), decimal_places=1
    )
    money_rate = forms.DecimalField(
        label="Money that agrees, in percent", min_value=Decimal(0), max_value=Decimal(100), decimal_places=1
    )

    @classmethod
    def of(cls, flow: Flow, typed: Any = None) -> TargetsForm:
        counts = {name: int(target_of(flow, name)) for name in ("pilot_count", "parallel_days")}
        rates = {name: f"{target_of(flow, name) * 100:.1f}" for name in ("count_rate", "money_rate")}
        return cls(typed, initial={**counts, **rates})

    @property
    def targets(self) -> dict[str, int | str]:
        """As the gate reads them: rates are fractions."""
        cleaned = self.cleaned_data
        rates = {name: str((cleaned[name] / 100).normalize()) for name in ("count_rate", "money_rate")}
        return {"pilot_count": cleaned["pilot_count"], "parallel_days": cleaned["parallel_days"], **rates}


class PairFilterForm(forms.Form):
    """Which pairs are listed; all of it is in the address."""

    q = forms.CharField(label="Number or name", required=False, max_length=80)
    data_type = forms.ChoiceField(label="Data type", required=False)
    decision = forms.ChoiceField(
        label="Decision",
        required=False,
        choices=[("", "All"), ("open", "To decide"), *list(Pair.Resolution.choices)[1:]],
    )
    since = forms.DateField(label="From", required=False, widget=DateInput())
    until = forms.DateField(label="To", required=False, widget=DateInput())
    verdict = forms.ChoiceField(required=False, choices=[("", ""), *Verdict.choices], widget=forms.HiddenInput)
    sort = forms.CharField(required=False, max_length=20, widget=forms.HiddenInput)

    def __init__(self, typed: Any, *, data_types: list[str]) -> None:
        super().__init__(typed)
        names = [(name, DATA_TYPE_NAMES[name][1].capitalize()) for name in data_types]
        field = self.fields["data_type"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", "All"), *names]

    @property
    def filters(self) -> dict[str, Any]:
        """What can be used of what was typed; a wrong date is shown as such and filters nothing."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if name != "sort"}


class ResolveForm(forms.Form):
    """One decision for one or many differences."""

    resolution = forms.ChoiceField(
        label="Decision",
        choices=[
            (Pair.Resolution.OURS_RIGHT, "Ours is right: staff correct the entry"),
            (Pair.Resolution.THEIRS_RIGHT, "Theirs is right: we correct the field mapping or leave it out"),
            (Pair.Resolution.ACCEPTED, "Accepted difference: both may stand"),
        ],
        widget=forms.RadioSelect,
    )
    reason = forms.CharField(
        label="Reason", max_length=500, help_text="Kept with the decision.", widget=forms.TextInput()
    )
