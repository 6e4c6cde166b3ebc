"""Reading who belongs where."""

from __future__ import annotations

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from tenants.choices import Role
from tenants.models import Firm, Invitation, Membership, Tenant, User


def live_membership(*, user: User, tenant_slug: str) -> Membership | None:
    return Membership.objects.live().select_related("tenant").filter(user=user, tenant__slug=tenant_slug).first()


def tenants_of(user: User) -> QuerySet[Tenant]:
    """Every business the person may open now."""
    found: QuerySet[Tenant] = Tenant.objects.filter(memberships__in=Membership.objects.live().filter(user=user))
    return found.order_by("legal_name")


def summarised(memberships: QuerySet[Membership], asked: str) -> QuerySet[Membership]:
    """Each business with what waits in it, in the asked order. Unless asked otherwise, those where a system is cut off come first, because
    nothing of them is posted, and then those where most waits."""
    summary = {field: F(f"tenant__summary__{field}") for field in _SUMMARY}
    found = memberships.select_related("tenant").annotate(**summary)
    name, is_down = asked.removeprefix("-"), asked.startswith("-")
    if name not in _SORTS:
        urgent = [F(column).desc(nulls_last=True) for column in ("broken_connections", "waiting_count")]
        return found.order_by(*urgent, "tenant__legal_name", "pk")
    column = F(_SORTS[name])
    order = column.desc(nulls_last=True) if is_down else column.asc(nulls_first=True)
    return found.order_by(order, "tenant__legal_name", "pk")


#: What businesses may be chosen by: the word in the address and its label.
NEEDS = {
    "person": "Something waits for a person",
    "reconnect": "A system to reconnect",
    "start": "No flow yet",
    "nothing": "Nothing",
}
_NEEDING = {
    "person": Q(waiting_count__gt=0),
    "reconnect": Q(broken_connections__gt=0),
    "start": Q(furthest_stage="") | Q(furthest_stage=None),
    "nothing": ~Q(waiting_count__gt=0)
    & ~Q(broken_connections__gt=0)
    & ~(Q(furthest_stage="") | Q(furthest_stage=None)),
}


def fitting(
    summarised: QuerySet[Membership], *, name: str = "", needs: str = "", firm: Firm | None = None
) -> QuerySet[Membership]:
    """Those of the summarised businesses that fit what was asked for."""
    found = summarised.filter(tenant__legal_name__icontains=name) if name else summarised
    found = found.filter(tenant__firm=firm) if firm else found
    return found.filter(_NEEDING[needs]) if needs in _NEEDING else found


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


def firms_of(user: User) -> list[Firm]:
    return list(user.firms.order_by("name"))
