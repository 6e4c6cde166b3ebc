"""Reading who belongs where."""

from __future__ import annotations

from django.db.models import F, QuerySet
from django.utils import timezone

from tenants.choices import Role
from tenants.models import Invitation, Membership, Tenant, User


def live_membership(*, user: User, tenant_slug: str) -> Membership | None:
    return Membership.objects.live().select_related("tenant").filter(user=user, tenant__slug=tenant_slug).first()


def tenants_of(user: User) -> QuerySet[Tenant]:
    """Every business the person may open now."""
    found: QuerySet[Tenant] = Tenant.objects.filter(memberships__in=Membership.objects.live().filter(user=user))
    return found.order_by("legal_name")


def summarised(memberships: QuerySet[Membership], asked: str) -> QuerySet[Membership]:
    """Each business with what waits in it, in the asked order; unless asked otherwise, where most waits comes first."""
    name, is_down = asked.removeprefix("-"), asked.startswith("-")
    column = F(_SORTS[name]) if name in _SORTS else F("waiting_count")
    is_down = is_down if name in _SORTS else True
    order = column.desc(nulls_last=True) if is_down else column.asc(nulls_first=True)
    summary = {field: F(f"tenant__summary__{field}") for field in _SUMMARY}
    return memberships.select_related("tenant").annotate(**summary).order_by(order, "tenant__legal_name", "pk")


_SUMMARY = ("waiting_count", "waiting_amount", "broken_connections", "furthest_stage")
_SORTS = {"name": "tenant__legal_name", "waiting": "waiting_count", "money": "waiting_amount"}


def members_of(tenant: Tenant) -> QuerySet[Membership]:
    return Membership.objects.live().filter(tenant=tenant).select_related("user").order_by("created_at", "pk")


def people_with_role(tenant: Tenant, role: Role) -> list[User]:
    """Who can do what this role may do; named on the page that refuses."""
    return [membership.user for membership in members_of(tenant) if membership.may(role)]


def open_invitations(tenant: Tenant) -> QuerySet[Invitation]:
    return Invitation.objects.filter(tenant=tenant, accepted_at=None, expires_at__gt=timezone.now()).order_by("email")


def invitations_for(user: User) -> QuerySet[Invitation]:
    """Waiting for this person, whose address is verified before they can log in."""
    return Invitation.objects.filter(
        email=user.email.lower(), accepted_at=None, expires_at__gt=timezone.now()
    ).select_related("tenant", "invited_by")
