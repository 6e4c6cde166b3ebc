"""Shared tables of the engine: the queue of work, the webhook inbox and its routing, consents under way.

They live in the public schema because the tenant is not known yet (inbox), or because one query must see every tenant
(work, summaries). Nothing here holds a tenant's records.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q


class WorkItem(models.Model):
    """One thing to be done for one tenant, at most once at a time.

    PostgreSQL is the queue of record: Celery only wakes workers. `kind` and `key` identify the work, so asking twice is asking
    once; `requests` grows with each asking, so that work asked for while it runs is done again. `holder_pid` is the database
    session of the worker that holds the lease.
    """

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=20)
    key = models.CharField(max_length=120)
    requests = models.BigIntegerField(default=1)
    due_at = models.DateTimeField()
    is_long = models.BooleanField(default=False, db_default=False)  # was not done after its first slice of time
    attempts = models.IntegerField(default=0)
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    holder_pid = models.IntegerField(null=True)
    problem = models.TextField(blank=True)
    requested_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "kind", "key"], name="work_is_unique")]
        indexes = [
            models.Index(fields=["due_at"], name="work_due"),
            models.Index(fields=["tenant", "is_long", "due_at", "id"], name="work_of_tenant"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class DatabaseOrigin(models.Model):
    """Where this database lives, in one row that a backup takes along; see `restoring`."""

    id = models.IntegerField(primary_key=True, default=1)
    origin = models.CharField(max_length=80)
    restored_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_origin")]

    def __str__(self) -> str:
        return self.origin


class TenantTurn(models.Model):
    """The ready ring: whose turn it is, so that a big tenant starves no small one and a claim never looks through what is due.

    A row per tenant and lane. `ready_at` is when the tenant was served last or when its next item is due, whichever is later.
    """

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    is_long = models.BooleanField()
    ready_at = models.DateTimeField(null=True)  # nothing is or will be due

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "is_long"], name="turn_is_unique")]
        indexes = [models.Index(fields=["is_long", "ready_at"], name="turn_ready")]

    def __str__(self) -> str:
        return str(self.tenant_id)


class WebhookDelivery(models.Model):
    """The raw bytes of one genuine delivery, sealed, committed before it is acknowledged. `digest` is of the bytes as they came."""

    id = models.BigAutoField(primary_key=True)
    connector = models.CharField(max_length=40)
    environment = models.CharField(max_length=12)
    digest = models.CharField(max_length=64)
    headers = models.JSONField()
    sealed_body = models.BinaryField()
    source_address = models.CharField(max_length=64)
    received_at = models.DateTimeField()
    unreadable_reason = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["connector", "environment", "digest"], name="delivery_is_unique")
        ]

    def __str__(self) -> str:
        return f"{self.connector} {self.digest[:12]}"


class InboxEvent(models.Model):
    """One event, for ever once: `event_key` is the provider's event id, or a digest where it has none."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        ROUTED = "routed", "Routed"
        PARKED = "parked", "Parked"

    id = models.BigAutoField(primary_key=True)
    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.PROTECT, related_name="events")
    connector = models.CharField(max_length=40)
    environment = models.CharField(max_length=12)
    organisation_id = models.CharField(max_length=120)
    event_key = models.CharField(max_length=120)
    data_type = models.CharField(max_length=30)
    external_id = models.CharField(max_length=120)
    kind = models.CharField(max_length=12)
    occurred_at = models.DateTimeField(null=True)
    received_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["connector", "environment", "organisation_id", "event_key"], name="event_is_unique"
            )
        ]
        indexes = [models.Index(fields=["id"], name="event_waiting", condition=Q(state="waiting"))]

    def __str__(self) -> str:
        return f"{self.connector} {self.event_key}"


class EventCopy(models.Model):
    """An event routed to one tenant's connection; two tenants on one organisation each have their own."""

    id = models.BigAutoField(primary_key=True)
    event = models.ForeignKey(InboxEvent, on_delete=models.PROTECT, related_name="copies", db_index=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+")
    connection_id = models.UUIDField()
    done_at = models.DateTimeField(null=True)
    attempts = models.IntegerField(default=0, db_default=0)
    due_at = models.DateTimeField(null=True)  # after a failure; else at once
    is_stuck = models.BooleanField(default=False, db_default=False)  # waits for a person
    problem = models.TextField(blank=True, default="", db_default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["event", "tenant", "connection_id"], name="copy_is_unique")]
        indexes = [
            models.Index(fields=["tenant", "connection_id"], name="copy_waiting", condition=Q(done_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"{self.event_id} for {self.tenant_id}"


class WebhookRoute(models.Model):
    """Whose an organisation's events are: one row per live connection."""

    id = models.BigAutoField(primary_key=True)
    connector = models.CharField(max_length=40)
    environment = models.CharField(max_length=12)
    organisation_id = models.CharField(max_length=120)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+")
    connection_id = models.UUIDField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["connector", "environment", "organisation_id", "tenant", "connection_id"],
                name="route_is_unique",
            )
        ]

    def __str__(self) -> str:
        return f"{self.connector} {self.organisation_id}"


class ConsentState(models.Model):
    """A consent under way: one use, ten minutes, bound to person, tenant, connector version and browser session."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    state_digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+")
    session_digest = models.CharField(max_length=64)
    connector = models.CharField(max_length=40)
    connector_version = models.CharField(max_length=20)
    environment = models.CharField(max_length=12)
    installation_id = models.UUIDField()
    connection_id = models.UUIDField(null=True)  # set when reconnecting
    redirect_uri = models.CharField(max_length=300)
    sealed_verifier = models.BinaryField()
    sealed_tokens = models.BinaryField(null=True)  # between the callback and the choice of the organisation
    organisations = models.JSONField(null=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.connector} for {self.tenant_id}"


class TenantSummary(models.Model):
    """The few figures the switcher and the firm console read, so that no page loops over schemas."""

    tenant = models.OneToOneField("tenants.Tenant", on_delete=models.CASCADE, primary_key=True, related_name="summary")
    waiting_count = models.IntegerField(default=0)
    waiting_amount = models.DecimalField(max_digits=18, decimal_places=2, default=0)
    broken_connections = models.IntegerField(default=0)
    furthest_stage = models.CharField(max_length=10, blank=True)
    updated_at = models.DateTimeField()

    class Meta:
        # Where most waits comes first: the switcher reads a dozen in this order.
        indexes = [
            models.Index(
                fields=["-waiting_count", "tenant"],
                condition=models.Q(waiting_count__gt=0),
                name="summary_most_waiting",
            )
        ]

    def __str__(self) -> str:
        return str(self.tenant_id)
