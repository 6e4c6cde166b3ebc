"""Acts of slices that may not know the trail."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from marketplace.audit.operations import record_act
from tenants.models import User
from tenants.signals import tenancy_changed

SENTENCES = {
    "tenant_created": "Created this business",
    "member_invited": "Invited {email}",
    "invitation_withdrawn": "Withdrew the invitation of {email}",
    "member_joined": "Joined this business",
    "member_added": "Gave {email} the role {role}",
    "member_role_changed": "Changed the role of {email}",
    "member_removed": "Removed {email}",
    "firm_came": "Became a client of {firm}",
    "firm_left": "Is no longer a client of {firm}",
}


@receiver(tenancy_changed)
def record_tenancy(*, actor: User, action: str, details: dict[str, str], **signal: Any) -> None:
    """Who belongs to a business is part of its history."""
    record_act(
        user=actor,
        action=f"business.{action}",
        subject=None,
        summary=SENTENCES[action].format_map(details),
        details=details,
    )
