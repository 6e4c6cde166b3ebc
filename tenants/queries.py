"""Reading who belongs where."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils import timezone

from tenants.choices import Role
from tenants.models import Invitation, Membership, Tenant, User


def live_membership(*, user: User, tenant_slug: str) -> Membership | None:
    return Membership.objects.live().select_related("tenant").filter(user=user, tenant__slug=tenant_slug).first()


def tenants_of(user: User) -> QuerySet[Tenant]:
    """For the switcher: every business the person may open now."""
    found: QuerySet[Tenant] = Tenant.objects.filter(memberships__in=Membership.objects.live().filter(user=user))
    return found.order_by("legal_name")


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
