"""Inviting, joining, changing roles and leaving."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from tenants.choices import Role
from tenants.context import current_tenant
from tenants.models import Invitation, Membership, Tenant, User
from tenants.operations import (
    UnableToAcceptInvitation,
    UnableToChangeMembers,
    accept_invitation,
    change_role,
    invitation_for_token,
    invite_member,
    remove_member,
)
from tenants.signals import tenancy_changed


def membership(user: User, tenant: Tenant) -> Membership:
    return Membership.objects.select_related("tenant", "user").get(user=user, tenant=tenant)


def test_owner_invites_and_the_colleague_joins(
    tenant: Tenant,
    alice_client: Client,
    charlie: User,
    charlie_client: Client,
    django_capture_on_commit_callbacks: Any,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        response = alice_client.post("/o/kestrel/members/invite/", {"email": "Charlie@Example.com", "role": "viewer"})
    assert response["Location"] == "/o/kestrel/members/"
    (letter,) = mail.outbox
    assert letter.to == ["charlie@example.com"]
    path = next(word for word in letter.body.split() if "/invitations/" in word).partition("8000")[2]
    assert "Kestrel &amp; Co" in charlie_client.get(path).content.decode()
    invitation = Invitation.objects.get()
    response = charlie_client.post(f"/invitations/by-id/{invitation.pk}/accept/")
    assert response["Location"].startswith("/o/kestrel/")
    assert membership(charlie, tenant).role == Role.VIEWER
    assert charlie_client.get(path).status_code == 404


def test_only_the_hash_of_the_token_is_kept(tenant: Tenant, alice: User) -> None:
    invitation, token = invite_member(actor=membership(alice, tenant), email="dora@example.com", role=Role.ADMIN)
    assert token not in str(Invitation.objects.values().get())
    assert invitation_for_token(token) == invitation
    assert invitation_for_token(token[:-1]) is None


def test_new_invitation_replaces_the_old_one(tenant: Tenant, alice: User) -> None:
    actor = membership(alice, tenant)
    _, first = invite_member(actor=actor, email="dora@example.com", role=Role.ADMIN)
    invite_member(actor=actor, email="dora@example.com", role=Role.VIEWER)
    assert invitation_for_token(first) is None
    assert Invitation.objects.get().role == Role.VIEWER


def test_invitation_of_somebody_else_is_refused(tenant: Tenant, alice: User, charlie: User) -> None:
    invitation, _ = invite_member(actor=membership(alice, tenant), email="dora@example.com", role=Role.ADMIN)
    with pytest.raises(UnableToAcceptInvitation, match=r"dora@example\.com"):
        accept_invitation(user=charlie, invitation=invitation)


def test_invitation_of_somebody_else_cannot_be_named_by_id(tenant: Tenant, alice: User, charlie_client: Client) -> None:
    invitation, _ = invite_member(actor=membership(alice, tenant), email="dora@example.com", role=Role.ADMIN)
    assert charlie_client.post(f"/invitations/by-id/{invitation.pk}/accept/").status_code == 404


def test_expired_or_used_invitation_is_refused(tenant: Tenant, alice: User, charlie: User) -> None:
    actor = membership(alice, tenant)
    expired, _ = invite_member(actor=actor, email=charlie.email, role=Role.ADMIN)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(UnableToAcceptInvitation, match="expired"):
        accept_invitation(user=charlie, invitation=expired)
    used, _ = invite_member(actor=actor, email=charlie.email, role=Role.ADMIN)
    accept_invitation(user=charlie, invitation=used)
    with pytest.raises(UnableToAcceptInvitation, match="used"):
        accept_invitation(user=charlie, invitation=used)


def test_member_cannot_be_invited_again(tenant: Tenant, alice: User, bob: User) -> None:
    with pytest.raises(UnableToChangeMembers, match="already belongs"):
        invite_member(actor=membership(alice, tenant), email=bob.email, role=Role.VIEWER)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.BOOKKEEPER])
def test_low_roles_change_nobody(role: Role, tenant: Tenant, alice: User, bob: User) -> None:
    Membership.objects.filter(user=bob).update(role=role)
    actor = membership(bob, tenant)
    with pytest.raises(UnableToChangeMembers):
        invite_member(actor=actor, email="dora@example.com", role=Role.VIEWER)
    with pytest.raises(UnableToChangeMembers):
        change_role(actor=actor, member=actor, role=Role.ADMIN)
    with pytest.raises(UnableToChangeMembers):
        remove_member(actor=actor, member=membership(alice, tenant))


def test_admin_can_neither_make_nor_unmake_an_owner(tenant: Tenant, alice: User, bob: User) -> None:
    Membership.objects.filter(user=bob).update(role=Role.ADMIN)
    actor = membership(bob, tenant)
    with pytest.raises(UnableToChangeMembers, match="Only an owner"):
        invite_member(actor=actor, email="dora@example.com", role=Role.OWNER)
    with pytest.raises(UnableToChangeMembers, match="Only an owner"):
        change_role(actor=actor, member=actor, role=Role.OWNER)
    with pytest.raises(UnableToChangeMembers, match="Only an owner"):
        change_role(actor=actor, member=membership(alice, tenant), role=Role.VIEWER)
    with pytest.raises(UnableToChangeMembers, match="Only an owner"):
        remove_member(actor=actor, member=membership(alice, tenant))


def test_last_owner_can_neither_step_down_nor_leave(tenant: Tenant, alice: User, bob: User) -> None:
    owner = membership(alice, tenant)
    with pytest.raises(UnableToChangeMembers, match="keeps one owner"):
        change_role(actor=owner, member=owner, role=Role.ADMIN)
    with pytest.raises(UnableToChangeMembers, match="keeps one owner"):
        remove_member(actor=owner, member=owner)
    change_role(actor=owner, member=membership(bob, tenant), role=Role.OWNER)
    remove_member(actor=owner, member=owner)
    assert membership(bob, tenant).role == Role.OWNER


def test_expired_owner_does_not_count(tenant: Tenant, alice: User, bob: User) -> None:
    Membership.objects.filter(user=bob).update(role=Role.OWNER, expires_at=timezone.now() - timedelta(seconds=1))
    owner = membership(alice, tenant)
    with pytest.raises(UnableToChangeMembers, match="keeps one owner"):
        remove_member(actor=owner, member=owner)


def test_member_of_another_business_is_404(
    tenant: Tenant, other_tenant: Tenant, charlie: User, alice_client: Client
) -> None:
    theirs = membership(charlie, other_tenant).pk
    assert alice_client.get(f"/o/kestrel/members/{theirs}/").status_code == 404
    assert alice_client.post(f"/o/kestrel/members/{theirs}/remove/").status_code == 404
    assert membership(charlie, other_tenant).role == Role.OWNER


def test_changes_are_told_inside_the_context(tenant: Tenant, alice: User, bob: User) -> None:
    told: list[tuple[str, Tenant, dict[str, str]]] = []

    def hear(sender: object, action: str, details: dict[str, str], **kwargs: object) -> None:
        told.append((action, current_tenant(), details))

    tenancy_changed.connect(hear)
    try:
        change_role(actor=membership(alice, tenant), member=membership(bob, tenant), role=Role.ADMIN)
    finally:
        tenancy_changed.disconnect(hear)
    details = {"email": "bob@example.com", "before": "bookkeeper", "after": "admin"}
    assert told == [("member_role_changed", tenant, details)]


def test_person_leaves_through_the_page(tenant: Tenant, bob: User, bob_client: Client) -> None:
    url = f"/o/kestrel/members/{membership(bob, tenant).pk}/remove/"
    assert "audit trail" in bob_client.get(url).content.decode()
    assert bob_client.post(url)["Location"] == "/"
    assert bob_client.get("/o/kestrel/members/").status_code == 404
