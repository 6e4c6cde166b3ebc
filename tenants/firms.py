"""An accounting firm: its staff, its clients, and its trail of who may open which client and who did.

Belonging to a firm opens nothing: access to a client is a membership there, given by somebody who may give it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.dispatch import receiver
from django.utils import timezone

from tenants.choices import FirmRole, Role
from tenants.context import tenant as tenant_context
from tenants.models import Firm, FirmEntry, FirmStaff, Membership, Tenant, User
from tenants.operations import UnableToChangeMembers, refuse_above, tell
from tenants.signals import tenancy_changed


class UnableToChangeFirm(Exception):
    """Said to the person as it is."""


#: What is told of people who belong to the client's firm.
SENTENCES = {
    "member_added": "{email} may open {client}, as {role}",
    "member_joined": "{email} may open {client}, as {role}",
    "member_role_changed": "{email} is {after} of {client}; was {before}",
    "member_removed": "{email} may not open {client} any more",
}
ACTION_WORDS = {
    "firm_created": "Firm: set up",
    "staff_added": "Staff: added",
    "staff_removed": "Staff: removed",
    "client_taken_in": "Client: taken in",
    "client_left": "Client: left",
    "client_opened": "Client: opened",
    "member_added": "Access: given",
    "member_joined": "Access: given",
    "member_role_changed": "Access: role changed",
    "member_removed": "Access: taken",
    "trail_exported": "Trail: exported",
}


def create_firm(*, user: User, name: str) -> Firm:
    """Whoever sets it up is its first partner."""
    with transaction.atomic():
        firm = Firm.objects.create(name=name)
        FirmStaff.objects.create(firm=firm, user=user, role=FirmRole.PARTNER)
        record(firm, user=user, action="firm_created", summary=f"Set up {name}")
    return firm


def record(firm: Firm, *, user: User, action: str, summary: str, client: Tenant | None = None) -> FirmEntry:
    """Append one entry to the firm's trail, in the transaction of the act it records; before what is told to the client's own trail,
    so that all wait for the two in the same order."""
    with transaction.atomic():
        # One act at a time in each trail: two could otherwise follow the same entry.
        Firm.objects.select_for_update(no_key=True).get(pk=firm.pk)
        last = FirmEntry.objects.filter(firm=firm).order_by("-sequence").first()
        entry = FirmEntry(
            firm=firm,
            sequence=last.sequence + 1 if last else 1,
            at=timezone.now(),
            user=user,
            actor=str(user),
            action=action,
            tenant_id=client.pk if client else None,
            client=client.legal_name if client else "",
            summary=summary,
            previous_digest=last.digest if last else "",
        )
        entry.digest = digest_of(entry)
        entry.save(force_insert=True)
    return entry


#: What the digest covers, and what an export holds so that auditors can follow the chain themselves.
COLUMNS = ("sequence", "at", "user_id", "actor", "action", "tenant_id", "client", "summary", "previous_digest")


def row_of(entry: FirmEntry) -> list[str]:
    """The entry as text, in the order of `COLUMNS`."""
    texts = {"at": entry.at.isoformat(), "tenant_id": str(entry.tenant_id or "")}
    return [texts.get(name, str(getattr(entry, name))) for name in COLUMNS]


def digest_of(entry: FirmEntry) -> str:
    """Each part with its length, so that no two entries read the same."""
    parts = [part.encode() for part in (str(entry.firm_id), *row_of(entry))]
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).hexdigest()


def verify_trail(firm: Firm) -> list[int]:
    """The sequence numbers at which the chain is broken; empty when the trail is whole up to its last entry."""
    broken, before, expected = [], "", 1
    for entry in FirmEntry.objects.filter(firm=firm).order_by("sequence").iterator():
        if entry.sequence != expected or entry.previous_digest != before or entry.digest != digest_of(entry):
            broken.append(entry.sequence)
        before, expected = entry.digest, entry.sequence + 1
    return broken


def entries(firm: Firm, *, text: str = "", action: str = "", actor: str = "") -> QuerySet[FirmEntry]:
    """Newest first. `actor` is a person's name as it stood when they acted."""
    found = FirmEntry.objects.filter(firm=firm)
    found = found.filter(Q(summary__icontains=text) | Q(client__icontains=text)) if text else found
    found = found.filter(action=action) if action else found
    return found.filter(actor=actor) if actor else found


def staff_of(firm: Firm) -> QuerySet[FirmStaff]:
    """Each with `client_count`: how many of the firm's clients they may open."""
    live = Membership.objects.live().filter(tenant__firm=firm).values("pk")
    count = Count("user__memberships", filter=Q(user__memberships__in=live))
    return firm.firmstaff_set.select_related("user").annotate(client_count=count).order_by("user__full_name", "pk")


def clients_open_to(user: User, firm: Firm) -> QuerySet[Membership]:
    """The firm's clients that this person may open, by name."""
    found = Membership.objects.live().filter(user=user, tenant__firm=firm)
    return found.select_related("tenant").order_by("tenant__legal_name", "pk")


def may_be_clients(user: User) -> QuerySet[Tenant]:
    """Businesses of no firm in which this person is admin or owner."""
    administered = Membership.objects.live().filter(user=user, role__in=[Role.ADMIN, Role.OWNER])
    found: QuerySet[Tenant] = Tenant.objects.filter(firm=None, memberships__in=administered)
    return found.order_by("legal_name")


def colleague(user: User, email: str) -> User | None:
    """Somebody who belongs to a business that this person belongs to; of anybody else nothing is said, not even that they exist."""
    ours = Membership.objects.live().filter(user=user).values("tenant")
    shared = Membership.objects.live().filter(tenant__in=ours)
    return User.objects.filter(email=email.lower(), is_active=True, memberships__in=shared).distinct().first()


def add_staff(*, actor: FirmStaff, email: str, role: FirmRole) -> FirmStaff:
    """Raises `UnableToChangeFirm`."""
    person = colleague(actor.user, email)
    if person is None:
        raise UnableToChangeFirm(
            "Nobody with this address belongs to a business of yours. Invite them to a client first, under its Members."
        )
    with transaction.atomic():
        found, is_new = FirmStaff.objects.get_or_create(firm=actor.firm, user=person, defaults={"role": role})
        if not is_new:
            raise UnableToChangeFirm(f"{person} already belongs to {actor.firm}.")
        summary = f"Added {person.email} as {found.get_role_display().lower()}"
        record(actor.firm, user=actor.user, action="staff_added", summary=summary)
    return found


def remove_staff(*, actor: FirmStaff, leaving: FirmStaff) -> None:
    """What they may open stays: access to a client is taken at the client. Raises `UnableToChangeFirm`."""
    with transaction.atomic():
        partners = FirmStaff.objects.select_for_update().filter(firm=actor.firm, role=FirmRole.PARTNER)
        if {partner.pk for partner in partners} == {leaving.pk}:
            raise UnableToChangeFirm("A firm always keeps one partner.")
        summary = f"Removed {leaving.user.email}" if actor.pk != leaving.pk else f"{leaving.user.email} left"
        leaving.delete()
        record(actor.firm, user=actor.user, action="staff_removed", summary=summary)


def take_in_clients(*, actor: FirmStaff, tenants: Collection[Tenant]) -> int:
    """Businesses that the person administers become the firm's clients; what became another firm's meanwhile stays there."""
    return sum(_take_in(actor, tenant) for tenant in tenants)


def _take_in(actor: FirmStaff, tenant: Tenant) -> bool:
    with tenant_context(tenant):
        if not Tenant.objects.filter(pk__in=may_be_clients(actor.user), pk=tenant.pk).update(firm=actor.firm):
            return False
        summary = f"{tenant.legal_name} became a client"
        record(actor.firm, user=actor.user, action="client_taken_in", summary=summary, client=tenant)
        tell(tenant, actor.user, "firm_came", firm=actor.firm.name)
    return True


def leave_firm(*, actor: Membership) -> None:
    """The client's own admins end it whenever they like. Who may open the business stays as it is."""
    refuse_above(actor, Role.ADMIN)
    tenant = actor.tenant
    with tenant_context(tenant):
        firm = Tenant.objects.select_for_update().get(pk=tenant.pk).firm
        if firm is None:
            return
        Tenant.objects.filter(pk=tenant.pk).update(firm=None)
        summary = f"{tenant.legal_name} is no longer a client"
        record(firm, user=actor.user, action="client_left", summary=summary, client=tenant)
        tell(tenant, actor.user, "firm_left", firm=firm.name)


def give_access(*, actor: FirmStaff, to: FirmStaff, tenants: Collection[Tenant], role: Role) -> int:
    """Opens clients to a colleague who could not open them yet, as far as the person could do so there. Answers how many."""
    return sum(_give(actor, to.user, tenant, role) for tenant in tenants)


def _give(actor: FirmStaff, person: User, tenant: Tenant, role: Role) -> bool:
    with tenant_context(tenant):
        own = Membership.objects.live().filter(user=actor.user, tenant__firm=actor.firm, tenant=tenant).first()
        has = Membership.objects.live().filter(user=person, tenant=tenant).exists()
        if own is None or has or not person.is_active:
            return False
        try:
            refuse_above(own, role)
        except UnableToChangeMembers:
            return False
        Membership.objects.update_or_create(user=person, tenant=tenant, defaults={"role": role, "expires_at": None})
        tell(tenant, actor.user, "member_added", email=person.email, role=role.value)
    return True


@receiver(tenancy_changed)
def record_access(tenant: Tenant, actor: User, action: str, details: dict[str, str], **signal: Any) -> None:
    """Whoever changes it, and wherever: what the firm's own people may open at a client stands in the firm's trail."""
    if action not in SENTENCES:
        return
    firm = Firm.objects.filter(tenants=tenant, staff__email=details["email"]).first()
    if firm is not None:
        summary = SENTENCES[action].format(client=tenant.legal_name, **details)
        record(firm, user=actor, action=action, summary=summary, client=tenant)


def record_opening(membership: Membership) -> None:
    """That somebody of the firm looked into a client of it."""
    firm = Firm.objects.filter(tenants=membership.tenant, staff=membership.user).first()
    if firm is not None:
        summary = f"Opened {membership.tenant.legal_name}"
        record(firm, user=membership.user, action="client_opened", summary=summary, client=membership.tenant)
