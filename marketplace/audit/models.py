"""The audit trail of one tenant: who did what, chained so that a later change shows."""

from __future__ import annotations

from django.conf import settings
from django.db import models

ACTOR_TIEOUT = "Tieout"  # who acted when no person did


class AuditEntry(models.Model):
    """Append-only; the database refuses UPDATE and DELETE. `digest` covers the entry and the digest before it."""

    sequence = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", db_constraint=False
    )
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=60)
    subject_type = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=60)
    summary = models.TextField()
    details = models.JSONField(default=dict)
    previous_digest = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)

    class Meta:
        ordering = ["-sequence"]
        indexes = [models.Index(fields=["subject_type", "subject_id"], name="audit_subject")]

    def __str__(self) -> str:
        return self.summary
