"""Writing who belongs where. Each operation is one transaction and tells `tenancy_changed` inside it."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify

from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.models import Invitation, Membership, Tenant, User, new_schema_name
from tenants.provisioning import create_schema
from tenants.signals import tenancy_changed

_INVITATION_LASTS = timedelta(days=7)


class UnableToChangeMembers(Exception):
    """Said to the person as it is."""


class UnableToAcceptInvitation(Exception):
    """Said to the person as it is."""


def tell(tenant: Tenant, actor: User, action: str, **details: str) -> None:
    """What changed, inside the tenant's context."""
    tenancy_changed.send(Tenant, tenant=tenant, actor=actor, action=action, details=details)


def _free_slug(legal_name: str) -> str:
    """Never only digits or empty; a second business of the same name gets a short random tail."""
    wanted = slugify(legal_name)[:48].strip("-") or "business"
    if Tenant.objects.filter(slug=wanted).exists():
        return f"{wanted}-{secrets.token_hex(3)}"
    return wanted


def create_business(*, owner: User, legal_name: str, country: str, base_currency: str, time_zone: str) -> Tenant:
    """The tenant, its schema and its first owner appear together or not at all."""
    with transaction.atomic():
        schema_name = new_schema_name()
        tenant = Tenant.objects.create(
            slug=_free_slug(legal_name),
            schema_name=schema_name,
            legal_name=legal_name,
            country=country,
            base_currency=base_currency,
            time_zone=time_zone,
            template_digest=create_schema(schema_name),
        )
        Membership.objects.create(user=owner, tenant=tenant, role=Role.OWNER)
        with tenant_context(tenant):
            tell(tenant, owner, "tenant_created", legal_name=legal_name)
    return tenant


def refuse_above(actor: Membership, role: Role) -> None:
    """Raises `UnableToChangeMembers` unless this member may give and take that role."""
    if not actor.may(Role.ADMIN):
        raise UnableToChangeMembers("Only an admin or an owner can change who belongs to this business.")
    if not actor.may(role):
        raise UnableToChangeMembers(f"Only an owner can give or take the role {role.label}.")


def _lock_members(tenant: Tenant) -> list[Membership]:
    """Two owners who remove each other at once must not both succeed."""
    return list(Membership.objects.live().select_for_update().filter(tenant=tenant).select_related("user"))


def _keep_an_owner(members: list[Membership], leaving: Membership) -> None:
    if not any(member.role == Role.OWNER for member in members if member.pk != leaving.pk):
        raise UnableToChangeMembers("A business always keeps one owner. Make somebody else owner first.")


def invite_member(*, actor: Membership, email: str, role: Role) -> tuple[Invitation, str]:
    """Replaces an earlier invitation to the same address. Answers the token as well; we keep only its hash."""
    refuse_above(actor, role)
    tenant, email, token = actor.tenant, email.lower(), secrets.token_urlsafe(32)
    with tenant_context(tenant):
        if Membership.objects.live().filter(tenant=tenant, user__email=email).exists():
            raise UnableToChangeMembers(f"{email} already belongs to this business.")
        Invitation.objects.filter(tenant=tenant, email=email, accepted_at=None).delete()
        invitation = Invitation.objects.create(
            tenant=tenant,
            email=email,
            role=role,
            token_hash=_hash(token),
            invited_by=actor.user,
            expires_at=timezone.now() + _INVITATION_LASTS,
        )
        tell(tenant, actor.user, "member_invited", email=email, role=role.value)
        transaction.on_commit(lambda: _send_invitation(invitation, token))
    return invitation, token


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _send_invitation(invitation: Invitation, token: str) -> None:
    link = settings.PUBLIC_URL + reverse("invitation", args=[token])
    text = render_to_string("tenants/invitation_mail.txt", {"invitation": invitation, "link": link})
    subject = f"{invitation.invited_by} invites you to {invitation.tenant.legal_name}"
    send_mail(subject, text, settings.DEFAULT_FROM_EMAIL, [invitation.email])


def withdraw_invitation(*, actor: Membership, invitation: Invitation) -> None:
    refuse_above(actor, Role(invitation.role))
    with tenant_context(actor.tenant):
        invitation.delete()
        tell(actor.tenant, actor.user, "invitation_withdrawn", email=invitation.email)


def invitation_for_token(token: str) -> Invitation | None:
    found = Invitation.objects.filter(token_hash=_hash(token), accepted_at=None, expires_at__gt=timezone.now())
    return found.select_related("tenant", "invited_by").first()


def accept_invitation(*, user: User, invitation: Invitation) -> Membership:
    """Only the address that was invited may accept, and only once."""
    with tenant_context(invitation.tenant):
        current = Invitation.objects.select_for_update().filter(pk=invitation.pk, accepted_at=None).first()
        if current is None or current.expires_at <= timezone.now():
            raise UnableToAcceptInvitation("This invitation has expired or was used. Ask for a new one.")
        if current.email != user.email.lower():
            raise UnableToAcceptInvitation(f"This invitation is for {current.email}. Sign in with that address.")
        membership, _ = Membership.objects.update_or_create(
            user=user, tenant=invitation.tenant, defaults={"role": current.role, "expires_at": None}
        )
        current.accepted_at = timezone.now()
        current.save(update_fields=["accepted_at"])
        tell(invitation.tenant, user, "member_joined", email=user.email, role=current.role)
    return membership


def change_role(*, actor: Membership, member: Membership, role: Role) -> None:
    refuse_above(actor, role)
    refuse_above(actor, Role(member.role))
    with tenant_context(actor.tenant):
        members = _lock_members(actor.tenant)
        if role != Role.OWNER:
            _keep_an_owner(members, member)
        before, member.role = member.role, role
        member.save(update_fields=["role"])
        details = {"email": member.user.email, "before": before, "after": role.value}
        tell(actor.tenant, actor.user, "member_role_changed", **details)


def remove_member(*, actor: Membership, member: Membership) -> None:
    """Anybody may leave; removing somebody else needs a role at least as high as theirs."""
    if actor.pk != member.pk:
        refuse_above(actor, Role(member.role))
    with tenant_context(actor.tenant):
        _keep_an_owner(_lock_members(actor.tenant), member)
        email = member.user.email
        member.delete()
        tell(actor.tenant, actor.user, "member_removed", email=email)
