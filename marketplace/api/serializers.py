"""The shapes of the answers. Money is a string in major units beside its currency, so that no client rounds it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from marketplace.mapping.models import Flow
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.posting.proof import STATES, DayProof


class FlowShape(serializers.ModelSerializer[Flow]):
    source = serializers.CharField(source="source.organisation_name")  # type: ignore[assignment]
    target = serializers.CharField(source="target.organisation_name")
    source_connector = serializers.CharField(source="source.connector")
    target_connector = serializers.CharField(source="target.connector")
    mapping_version = serializers.IntegerField(source="mapping.number", default=None)

    class Meta:
        model = Flow
        fields = (
            "id", "name", "template", "stage", "is_paused", "start_date", "source", "source_connector", "target",
            "target_connector", "mapping_version",
        )  # fmt: skip


class PostingShape(serializers.ModelSerializer[Posting]):
    mapping_version = serializers.IntegerField(source="mapping.number")
    source_record = serializers.CharField(source="record.external_id")

    class Meta:
        model = Posting
        fields = (
            "id", "key", "flow", "record", "source_record", "data_type", "purpose", "version", "action", "state",
            "mapping_version", "number", "reference", "occurred_on", "amount", "tax_amount", "currency", "party",
            "external_id", "external_number", "url", "problem", "created_at", "posted_at",
        )  # fmt: skip


class OutcomeShape(serializers.ModelSerializer[RecordOutcome]):
    source_record = serializers.CharField(source="record.external_id")
    number = serializers.CharField(source="record.number")

    class Meta:
        model = RecordOutcome
        fields = (
            "id", "flow", "record", "source_record", "number", "occurred_on", "amount", "currency", "stage", "state",
            "reason_code", "reason", "owner", "next_step", "decision", "updated_at",
        )  # fmt: skip


def proof_shape(flow: Flow, day: DayProof) -> dict[str, Any]:
    """One day of one flow in one currency; posted, compared, held ... add up to the source, or `is_proved` is false."""
    return {
        "flow": str(flow.pk),
        "date": day.date.isoformat(),
        "currency": day.currency,
        "source": {"count": day.source_count, "amount": f"{day.source_amount:.4f}"},
        **{state: {"count": day.counts[state], "amount": f"{day.amounts[state]:.4f}"} for state in STATES},
        "unplanned": day.unplanned,
        "difference": f"{day.difference:.4f}",
        "is_proved": day.is_proved,
        "state": day.state,
    }
