"""The staircase's evidence: rehearsed cases, pairs with verdicts, and every move with who took it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from marketplace.mapping.models import Stage


class SandboxCase(models.Model):
    """One edge case rehearsed with the flow's mapping against the target's simulator."""

    id = models.BigAutoField(primary_key=True)
    flow = models.ForeignKey("mapping.Flow", on_delete=models.PROTECT, related_name="sandbox_cases")
    mapping = models.ForeignKey("mapping.MappingVersion", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=60)
    has_passed = models.BooleanField()
    expected = models.JSONField()
    found = models.JSONField()
    explanation = models.TextField(blank=True)
    run_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["flow", "name"], name="one_result_per_case")]

    def __str__(self) -> str:
        return self.name


class Verdict(models.TextChoices):
    """What comparing a shadow posting with staff's entry says. Each posting and each entry gets exactly one."""

    MATCH = "match", "Match"
    AMOUNT = "amount", "Different amount"
    TAX = "tax", "Different tax"
    DATE = "date", "Different date"
    LEDGER_ACCOUNT = "ledger_account", "Different ledger account"
    CURRENCY = "currency", "Different currency"
    PARTY = "party", "Different customer"
    TIMING = "timing", "Booked in another period"
    MISSING_IN_OURS = "missing_in_ours", "Missing in ours"
    MISSING_IN_THEIRS = "missing_in_theirs", "Missing in theirs"
    DUPLICATE_IN_THEIRS = "duplicate_in_theirs", "Entered twice by staff"


class Pair(models.Model):
    """A shadow posting beside staff's entry (either may be missing), with one verdict and the money it concerns.

    What a pair refers to is there and stays there: the database looks once for all that a statement writes, by triggers of the
    migration `0004_pairs_checked_together`. Its foreign keys would look for each pair by itself, and write to all it refers to.
    """

    class Resolution(models.TextChoices):
        OPEN = "open", "Open"
        OURS_RIGHT = "ours_right", "Ours is right"
        THEIRS_RIGHT = "theirs_right", "Theirs is right"
        ACCEPTED = "accepted", "Accepted difference"

    id = models.BigAutoField(primary_key=True)
    flow = models.ForeignKey(
        "mapping.Flow", on_delete=models.PROTECT, related_name="pairs", db_index=False, db_constraint=False
    )
    posting = models.OneToOneField(
        "posting.Posting", null=True, on_delete=models.CASCADE, related_name="pair", db_constraint=False
    )
    entry = models.ForeignKey(
        "sync.Record", null=True, on_delete=models.PROTECT, related_name="pairs", db_index=False, db_constraint=False
    )
    data_type = models.CharField(max_length=30)
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    occurred_on = models.DateField()
    money = models.DecimalField(max_digits=18, decimal_places=4)  # what is at stake, in `currency`, never negative
    currency = models.CharField(max_length=3, blank=True)
    differences = models.JSONField(default=list)  # [{field, ours, theirs}]
    resolution = models.CharField(max_length=12, choices=Resolution.choices, default=Resolution.OPEN)
    resolution_reason = models.TextField(blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    resolved_at = models.DateTimeField(null=True)
    paired_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["entry", "flow"], condition=Q(entry__isnull=False), name="one_verdict_per_entry"
            ),
            models.CheckConstraint(
                condition=Q(posting__isnull=False) | Q(entry__isnull=False), name="a_pair_has_a_side"
            ),
        ]
        # A whole month of pairs is written at once, so an index has to be worth it; these serve the foreign keys too.
        indexes = [
            models.Index(
                fields=["flow", "verdict", "occurred_on"], name="pair_by_verdict", condition=~Q(verdict="match")
            ),
        ]

    def __str__(self) -> str:
        return self.verdict


class StageMove(models.Model):
    """One step taken, forward or back: who, when, and the conditions as they stood."""

    id = models.BigAutoField(primary_key=True)
    flow = models.ForeignKey("mapping.Flow", on_delete=models.PROTECT, related_name="moves")
    from_stage = models.CharField(max_length=10)
    to_stage = models.CharField(max_length=10)
    moved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    conditions = models.JSONField(default=list)
    consequences = models.JSONField(default=dict)  # what the move did: pairs linked, postings withdrawn ...
    note = models.TextField(blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.from_stage} -> {self.to_stage}"

    @property
    def from_label(self) -> str:
        return str(Stage(self.from_stage).label)

    @property
    def to_label(self) -> str:
        return str(Stage(self.to_stage).label)

    @property
    def headline(self) -> str:
        return f"{self.from_label} → {self.to_label}"
