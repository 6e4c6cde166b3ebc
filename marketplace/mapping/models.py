"""Flows and what they do with each field: the flow itself, its mapping versions and the source of truth."""

from __future__ import annotations

import uuid

from django.db import models


class Stage(models.TextChoices):
    """The staircase. A flow stands on exactly one step; `set_up` is before the first."""

    SET_UP = "set_up", "Set-up"
    SANDBOX = "sandbox", "Sandbox"
    PILOT = "pilot", "Pilot"
    PARALLEL = "parallel", "Parallel"
    LIVE = "live", "Live"


#: Which steps may follow which. One step back is always possible; only cutover.operations moves a flow.
STAGE_MOVES: dict[str, tuple[str, ...]] = {
    Stage.SET_UP: (Stage.SANDBOX,),
    Stage.SANDBOX: (Stage.PILOT, Stage.SET_UP),
    Stage.PILOT: (Stage.PARALLEL, Stage.SANDBOX),
    Stage.PARALLEL: (Stage.LIVE, Stage.PILOT),
    Stage.LIVE: (Stage.PARALLEL,),
}


class Flow(models.Model):
    """Moves one data type one way, from a source connection to a target connection, by a template.

    `scope` is the pilot's filter: a list of {path, operator, value} over the source record's fields, all of which must hold.
    `start_date`: records before it are not ours to post. `settings` holds posting choices such as the closed-period policy.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    template = models.CharField(max_length=40)
    name = models.CharField(max_length=120)
    source = models.ForeignKey("installations.Connection", on_delete=models.PROTECT, related_name="flows_out")
    target = models.ForeignKey("installations.Connection", on_delete=models.PROTECT, related_name="flows_in")
    stage = models.CharField(max_length=10, choices=Stage.choices, default=Stage.SET_UP)
    is_paused = models.BooleanField(default=False)
    start_date = models.DateField()
    scope = models.JSONField(default=list)
    settings = models.JSONField(default=dict)
    mapping = models.ForeignKey("mapping.MappingVersion", null=True, on_delete=models.PROTECT, related_name="+")
    parallel_from = models.DateField(null=True)
    parallel_until = models.DateField(null=True)
    targets = models.JSONField(default=dict)  # the gate's agreed figures: count_rate, money_rate, days
    created_by = models.ForeignKey(
        "tenants.User", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["template", "source", "target"], name="one_flow_per_template_and_pair")
        ]

    def __str__(self) -> str:
        return self.name


class MappingVersion(models.Model):
    """One saved state of a flow's field mapping. Never changed; every posting names the version it was made with."""

    id = models.BigAutoField(primary_key=True)
    flow = models.ForeignKey(Flow, on_delete=models.PROTECT, related_name="mapping_versions")
    number = models.IntegerField()
    spec = models.JSONField()
    digest = models.CharField(max_length=64)
    comment = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(
        "tenants.User", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["flow", "number"], name="mapping_number_is_unique")]

    def __str__(self) -> str:
        return f"version {self.number}"


class SourceOfTruth(models.Model):
    """Which connection wins for one data type, by which rule, and for which single fields another one does."""

    class Rule(models.TextChoices):
        OWNER = "owner", "The owner always wins"
        NEWEST = "newest", "The newest change wins"
        ASK = "ask", "Ask me"

    data_type = models.CharField(max_length=30, primary_key=True)
    owner = models.ForeignKey("installations.Connection", on_delete=models.PROTECT, related_name="+")
    rule = models.CharField(max_length=8, choices=Rule.choices, default=Rule.OWNER)
    field_owners = models.JSONField(default=dict)  # field path -> connection id
    decided_by = models.ForeignKey(
        "tenants.User", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    decided_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.data_type
