"""A tenant's use of connectors: installations, the consents given for them, and connections to organisations."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q


class Installation(models.Model):
    """One connector installed by this tenant; uninstalled rows stay for the record."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    connector = models.CharField(max_length=40)
    connector_version = models.CharField(max_length=20)
    settings = models.JSONField(default=dict)
    installed_by = models.ForeignKey(
        "tenants.User", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    installed_at = models.DateTimeField()
    uninstalled_at = models.DateTimeField(null=True)
    uninstall_report = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.connector


class ConsentEntry(models.Model):
    """What was agreed, in the words the person saw. Append-only; the database refuses UPDATE and DELETE."""

    class Kind(models.TextChoices):
        AGREED = "agreed", "Agreed on our page"
        GRANTED = "granted", "Granted at the provider"
        DENIED = "denied", "Denied at the provider"
        REVOKED = "revoked", "Ended"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    installation = models.ForeignKey(Installation, on_delete=models.PROTECT, related_name="consents")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    user = models.ForeignKey(
        "tenants.User", null=True, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    actor = models.CharField(max_length=200)
    connector_version = models.CharField(max_length=20)
    purpose = models.TextField()
    data_types = models.JSONField()
    scopes = models.JSONField()  # [{name, words, why}] as shown
    duration = models.TextField()
    organisation = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.kind} {self.at:%Y-%m-%d}"


class Connection(models.Model):
    """One authorised link to one organisation at the provider. Tokens are sealed; reconnecting keeps the row."""

    class State(models.TextChoices):
        CONNECTED = "connected", "Connected"
        NEEDS_RECONNECT = "needs_reconnect", "Needs reconnecting"
        DISCONNECTED = "disconnected", "Disconnected"

    class Environment(models.TextChoices):
        PRODUCTION = "production", "Production"
        SANDBOX = "sandbox", "Provider's sandbox"
        SIMULATOR = "simulator", "Simulator"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    installation = models.ForeignKey(Installation, on_delete=models.PROTECT, related_name="connections")
    connector = models.CharField(max_length=40)
    environment = models.CharField(max_length=12, choices=Environment.choices)
    organisation_id = models.CharField(max_length=120)
    organisation_name = models.CharField(max_length=200)
    base_currency = models.CharField(max_length=3, blank=True)
    country = models.CharField(max_length=2, blank=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.CONNECTED)
    problem = models.TextField(blank=True)
    sealed_access = models.BinaryField(null=True)
    sealed_refresh = models.BinaryField(null=True)
    token_version = models.IntegerField(default=0)
    token_expires_at = models.DateTimeField(null=True)
    scopes = models.JSONField(default=list)
    connected_at = models.DateTimeField()
    last_ok_at = models.DateTimeField(null=True)
    last_told_at = models.DateTimeField(null=True)  # by a webhook
    webhooks_checked_at = models.DateTimeField(null=True)  # the registration was there then, or was made
    webhooks_renewed_at = models.DateTimeField(null=True)  # the provider had dropped it

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["connector", "environment", "organisation_id"],
                condition=~Q(state="disconnected"),
                name="one_live_connection_per_organisation",
            )
        ]

    def __str__(self) -> str:
        return self.organisation_name
