"""Filters; they live in the address."""

from __future__ import annotations

from django import forms

from marketplace.installations.models import Connection
from marketplace.installations.queries import connection_name
from marketplace.posting.models import PostingBatch
from marketplace.sync.models import SyncRun


class _SystemField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Connection) -> str:
        return connection_name(obj)


class _RunFilter(forms.Form):
    connection = _SystemField(
        label="System", queryset=Connection.objects.none(), required=False, empty_label="Any system"
    )
    state = forms.ChoiceField(label="State", required=False)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["connection"].queryset = Connection.objects.order_by("organisation_name")  # type: ignore[attr-defined]

    @property
    def chosen(self) -> dict[str, str]:
        """What to filter by; a filter that makes no sense filters nothing."""
        if not self.is_valid():
            return {}
        connection = self.cleaned_data["connection"]
        return {"connection_id": str(connection.pk) if connection else "", "state": self.cleaned_data["state"]}


class ReadingFilter(_RunFilter):
    state = forms.ChoiceField(label="State", required=False, choices=[("", "Any state"), *SyncRun.State.choices])


class WritingFilter(_RunFilter):
    state = forms.ChoiceField(label="State", required=False, choices=[("", "Any state"), *PostingBatch.State.choices])
