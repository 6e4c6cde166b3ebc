"""Filters of what waits, and the decisions about it."""

from __future__ import annotations

from typing import Any

from django import forms

from marketplace.mapping.models import Flow
from marketplace.posting.decisions import WAITING
from marketplace.posting.models import RecordOutcome
from marketplace.posting.queries import Evidence, waiting_reasons

DECISIONS = [
    ("post_again", "Post again, as mapped now"),
    ("exclude", "Leave out of the books"),
    ("accept", "Accept the entry in the ledger"),
]
#: For what the ledger never confirmed, after a person has looked there.
DECISIONS_UNCONFIRMED = [
    ("accept", "It is in the ledger: accept the entry"),
    ("post_again", "It is not in the ledger: post it"),
]


class IssueFilter(forms.Form):
    q = forms.CharField(label="Number, name or words", required=False, widget=forms.SearchInput())
    flow = forms.ModelChoiceField(label="Flow", queryset=Flow.objects.none(), required=False, empty_label="Any flow")
    reason = forms.ChoiceField(label="Reason", required=False)
    state = forms.ChoiceField(label="State", required=False)
    owner = forms.ChoiceField(label="Whose move", required=False)
    date_from = forms.DateField(label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    date_until = forms.DateField(label="Until", required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        labels = dict(RecordOutcome.State.choices)
        self.fields["flow"].queryset = Flow.objects.order_by("created_at")  # type: ignore[attr-defined]
        self.fields["reason"].choices = [("", "Any reason"), *waiting_reasons()]  # type: ignore[attr-defined]
        self.fields["state"].choices = [("", "Held and failed"), *((state, labels[state]) for state in WAITING)]  # type: ignore[attr-defined]
        owners = [choice for choice in RecordOutcome.Owner.choices if choice[0]]
        self.fields["owner"].choices = [("", "Anybody"), *owners]  # type: ignore[attr-defined]

    @property
    def chosen(self) -> dict[str, Any]:
        """What to filter by. A value that no longer exists (a reason nothing waits for) filters nothing out by itself."""
        self.is_valid()
        cleaned = self.cleaned_data
        flow = cleaned.get("flow")
        return {
            "flow_id": flow.pk if flow else None,
            "reason": cleaned.get("reason", ""),
            "state": cleaned.get("state", ""),
            "owner": cleaned.get("owner", ""),
            "text": cleaned.get("q", ""),
            "first": cleaned.get("date_from"),
            "last": cleaned.get("date_until"),
        }


class OneDecisionForm(forms.Form):
    """What to do with a record that waits; only what can be done with it is offered."""

    decision = forms.ChoiceField(label="Decision", choices=DECISIONS)
    reason = forms.CharField(
        label="Why",
        required=False,
        max_length=300,
        help_text="Needed to leave records out or to accept entries; kept with the decision.",
    )

    def __init__(self, *args: Any, evidence: Evidence | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if evidence is not None:
            decisions = DECISIONS_UNCONFIRMED if evidence.is_unconfirmed else DECISIONS
            offered = {"post_again": True, "exclude": evidence.may_exclude, "accept": evidence.may_accept}
            self.fields["decision"].choices = [choice for choice in decisions if offered[choice[0]]]  # type: ignore[attr-defined]
            # What it waits for stands first; of what nobody knows nothing is suggested.
            self.fields["decision"].initial = "accept" if evidence.may_accept else "post_again"
            if evidence.is_unconfirmed:
                self.fields["decision"].choices = [("", "Look in the ledger first"), *decisions]  # type: ignore[attr-defined]
                self.fields["decision"].initial = ""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("decision") in ("exclude", "accept") and not cleaned.get("reason", "").strip():
            self.add_error("reason", "Say why: the reason is kept with the decision.")
        return cleaned


class DecisionForm(OneDecisionForm):
    """What to do with the records chosen in the list, or with all that fit the filter."""

    covers = forms.ChoiceField(
        label="Which",
        choices=[("chosen", "The chosen ones"), ("all", "All that fit the filter")],
        initial="chosen",
    )
    field_order = ("covers", "decision", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["decision"].choices = [("", "Choose"), *DECISIONS]  # type: ignore[attr-defined]
