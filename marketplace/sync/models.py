"""What we have read: stream positions, records, the change log, rejected rows and runs."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Q

from marketplace.core.keys import document_key


class StreamState(models.Model):
    """Where one connection's stream stands. `cursor` is the connector's own; it moves with the records it covers."""

    id = models.BigAutoField(primary_key=True)
    connection = models.ForeignKey("installations.Connection", on_delete=models.PROTECT, related_name="streams")
    data_type = models.CharField(max_length=30)
    cursor = models.JSONField(null=True)
    requests = models.BigIntegerField(null=True)  # how often it was asked for when the listing under way began
    backfilled_at = models.DateTimeField(null=True)
    read_at = models.DateTimeField(null=True)  # start of the last complete run
    swept_at = models.DateTimeField(null=True)
    problem = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["connection", "data_type"], name="stream_is_unique")]

    def __str__(self) -> str:
        return self.data_type


class SyncRun(models.Model):
    """One execution of a stream, with its progress."""

    class Trigger(models.TextChoices):
        BACKFILL = "backfill", "First read"
        POLL = "poll", "Regular check"
        SWEEP = "sweep", "Sweep"
        WEBHOOK = "webhook", "Webhook"
        PERSON = "person", "Asked for"

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        STOPPED = "stopped", "Stopped"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    connection = models.ForeignKey("installations.Connection", on_delete=models.PROTECT, related_name="runs")
    data_type = models.CharField(max_length=30)
    trigger = models.CharField(max_length=8, choices=Trigger.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.RUNNING)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    read_count = models.IntegerField(default=0)
    changed_count = models.IntegerField(default=0)
    rejected_count = models.IntegerField(default=0)
    drift_count = models.IntegerField(default=0)  # changes a webhook should have told us of
    expected_count = models.IntegerField(null=True)
    calls = models.IntegerField(default=0)
    problem = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["-started_at"], name="run_recent")]

    def __str__(self) -> str:
        return f"{self.data_type} {self.started_at:%Y-%m-%d %H:%M}"


class Record(models.Model):
    """The latest state of one provider object: `body` is the standard record, `raw` the provider's own.

    The columns below `raw` are taken out of `body` so that lists, proof and pairing are set-based SQL. The two keys, which pairing
    looks documents up by, are the database's own work.
    """

    id = models.BigAutoField(primary_key=True)
    connection = models.ForeignKey("installations.Connection", on_delete=models.PROTECT, related_name="records")
    data_type = models.CharField(max_length=30)
    external_id = models.CharField(max_length=120)
    version = models.CharField(max_length=80)
    digest = models.CharField(max_length=32)
    body = models.JSONField()
    raw = models.JSONField()
    is_deleted = models.BooleanField(default=False)
    updated_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField()
    occurred_on = models.DateField(null=True)
    number = models.CharField(max_length=120, blank=True)
    reference = models.CharField(max_length=255, blank=True)
    amount = models.DecimalField(max_digits=18, decimal_places=4, null=True)
    tax_amount = models.DecimalField(max_digits=18, decimal_places=4, null=True)
    currency = models.CharField(max_length=3, blank=True)
    party = models.CharField(max_length=255, blank=True)
    ledger_account = models.CharField(max_length=255, blank=True)
    reference_key = models.GeneratedField(
        expression=document_key("reference"), output_field=models.TextField(), db_persist=True
    )
    number_key = models.GeneratedField(
        expression=document_key("number"), output_field=models.TextField(), db_persist=True
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["connection", "data_type", "external_id"], name="record_is_unique")
        ]
        # In the order of every list: the newest first, what has no date last.
        indexes = [
            models.Index("connection", "data_type", F("occurred_on").desc(nulls_last=True), name="record_by_day")
        ]

    def __str__(self) -> str:
        return self.number or self.external_id


class Change(models.Model):
    """One accepted change to a record. Append-only."""

    class Kind(models.TextChoices):
        CREATED = "created", "New"
        UPDATED = "updated", "Changed"
        DELETED = "deleted", "Deleted"

    id = models.BigAutoField(primary_key=True)
    record = models.ForeignKey(Record, on_delete=models.PROTECT, related_name="changes")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    run = models.ForeignKey(SyncRun, null=True, on_delete=models.SET_NULL, related_name="+")
    digest = models.CharField(max_length=32)
    at = models.DateTimeField()
    is_drift = models.BooleanField(default=False, db_default=False)  # found by a check, told of by no webhook

    def __str__(self) -> str:
        return f"{self.kind} {self.record_id}"


class RejectedRow(models.Model):
    """A row we could not read: kept with its reason until the provider sends it readable or a person sets it aside."""

    id = models.BigAutoField(primary_key=True)
    connection = models.ForeignKey("installations.Connection", on_delete=models.PROTECT, related_name="rejected_rows")
    data_type = models.CharField(max_length=30)
    external_id = models.CharField(max_length=120)
    reason = models.TextField()
    raw = models.JSONField()
    at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "data_type", "external_id"],
                condition=Q(resolved_at__isnull=True),
                name="one_open_rejection_per_row",
            )
        ]

    def __str__(self) -> str:
        return f"{self.data_type} {self.external_id}"
