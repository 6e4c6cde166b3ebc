"""An accounting firm: its people, its clients, who may open which, and a trail of who did."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client

from marketplace.audit.models import AuditEntry
from marketplace.audit.tasks import broken_trails
from tenants.choices import FirmRole, Role
from tenants.context import tenant as tenant_context
from tenants.firms import add_staff, create_firm, record, take_in_clients, verify_trail
from tenants.models import Firm, FirmEntry, FirmStaff, Membership, Tenant, User
from tenants.operations import change_role, remove_member
from tests.owner import as_owner


@pytest.fixture
def firm(tenant: Tenant, alice: User) -> Firm:
    """Of Alice, with her business as its client."""
    made = create_firm(user=alice, name="Ledger & Sons")
    assert take_in_clients(actor=made.firmstaff_set.get(), tenants=[tenant]) == 1
    return made


@pytest.fixture
def bob_of_firm(firm: Firm, bob: User) -> FirmStaff:
    return add_staff(actor=firm.firmstaff_set.get(), email=bob.email, role=FirmRole.STAFF)


def told(firm: Firm, action: str = "") -> list[tuple[str, str]]:
    """Who did what, oldest first."""
    found = FirmEntry.objects.filter(firm=firm).order_by("sequence")
    return list((found.filter(action=action) if action else found).values_list("actor", "summary"))


def path(firm: Firm, rest: str = "") -> str:
    return f"/firms/{firm.pk}/{rest}"


def test_firm_is_set_up_and_takes_in_clients_on_its_page(tenant: Tenant, alice_client: Client) -> None:
    answer = alice_client.post("/firms/new/", {"name": "Ledger & Sons"})
    firm = Firm.objects.get()
    assert answer["Location"] == path(firm)
    assert "Kestrel" in alice_client.get(path(firm)).content.decode()
    alice_client.post(path(firm, "clients/add/"), {"take_in-clients": [str(tenant.pk)]})
    assert told(firm) == [("Alice", "Set up Ledger & Sons"), ("Alice", "Kestrel & Co became a client")]
    with tenant_context(tenant):
        assert AuditEntry.objects.first().summary == "Became a client of Ledger & Sons"  # type: ignore[union-attr]
    assert "1 client open to you" in alice_client.get(path(firm)).content.decode()


def test_only_a_business_one_administers_and_that_has_no_firm_is_taken_in(
    firm: Firm, tenant: Tenant, other_tenant: Tenant, bob: User, bob_client: Client, alice_client: Client
) -> None:
    others = create_firm(user=bob, name="Rivals")
    for client, whose, wanted in ((alice_client, firm, other_tenant), (bob_client, others, tenant)):
        answer = client.post(path(whose, "clients/add/"), {"take_in-clients": [str(wanted.pk)]})
        assert answer.status_code == 422
    assert take_in_clients(actor=others.firmstaff_set.get(), tenants=[tenant, other_tenant]) == 0
    assert set(Tenant.objects.values_list("firm", flat=True)) == {firm.pk, None}


def test_colleagues_are_added_from_shared_businesses_and_nobody_else_is_named(
    firm: Firm, bob: User, charlie: User, alice_client: Client
) -> None:
    strangers = [
        alice_client.post(path(firm, "staff/add/"), {"email": email, "role": "staff"}).content.decode()
        for email in (charlie.email, "nobody@example.com")
    ]
    assert all("Nobody with this address belongs to a business of yours" in page for page in strangers)
    assert alice_client.post(path(firm, "staff/add/"), {"email": bob.email, "role": "staff"}).status_code == 302
    assert (
        "already belongs"
        in alice_client.post(path(firm, "staff/add/"), {"email": bob.email, "role": "staff"}).content.decode()
    )
    assert told(firm, "staff_added") == [("Alice", "Added bob@example.com as staff")]


def test_clients_are_opened_to_a_colleague_many_at_once(
    firm: Firm,
    bob_of_firm: FirmStaff,
    tenant: Tenant,
    other_tenant: Tenant,
    alice: User,
    bob: User,
    alice_client: Client,
) -> None:
    Membership.objects.create(user=alice, tenant=other_tenant, role=Role.ADMIN)
    take_in_clients(actor=firm.firmstaff_set.get(user=alice), tenants=[other_tenant])
    form = {
        "access-person": bob_of_firm.pk,
        "access-role": "bookkeeper",
        "access-clients": [str(tenant.pk), str(other_tenant.pk)],
    }
    page = alice_client.post(path(firm, "access/"), form, follow=True).content.decode()
    assert "Bob may open 1 more client. At 1 nothing changed" in page
    assert Membership.objects.get(user=bob, tenant=other_tenant).role == Role.BOOKKEEPER
    assert told(firm, "member_added") == [("Alice", "bob@example.com may open Marlow GmbH, as bookkeeper")]
    with tenant_context(other_tenant):
        assert AuditEntry.objects.first().summary == "Gave bob@example.com the role bookkeeper"  # type: ignore[union-attr]


def test_all_clients_are_opened_or_taken_in_without_ticking_each(
    firm: Firm,
    bob_of_firm: FirmStaff,
    tenant: Tenant,
    other_tenant: Tenant,
    alice: User,
    bob: User,
    alice_client: Client,
) -> None:
    Membership.objects.create(user=alice, tenant=other_tenant, role=Role.ADMIN)
    assert "Choose at least one" in alice_client.post(path(firm, "clients/add/"), {}).content.decode()
    alice_client.post(path(firm, "clients/add/"), {"take_in-all_of_them": "on"})
    assert Tenant.objects.filter(firm=firm).count() == 2
    form = {"access-person": bob_of_firm.pk, "access-role": "viewer", "access-all_of_them": "on"}
    alice_client.post(path(firm, "access/"), form)
    assert dict(Membership.objects.filter(user=bob).values_list("tenant__slug", "role")) == {
        "kestrel": "bookkeeper",
        "marlow": "viewer",
    }


def test_nobody_gives_a_role_above_their_own(
    firm: Firm, bob_of_firm: FirmStaff, other_tenant: Tenant, alice: User, bob: User, alice_client: Client
) -> None:
    Membership.objects.create(user=alice, tenant=other_tenant, role=Role.ADMIN)
    take_in_clients(actor=firm.firmstaff_set.get(user=alice), tenants=[other_tenant])
    form = {"access-person": bob_of_firm.pk, "access-role": "owner", "access-clients": [str(other_tenant.pk)]}
    assert "Bob may open 0 more clients" in alice_client.post(path(firm, "access/"), form, follow=True).content.decode()
    Membership.objects.filter(user=alice, tenant=other_tenant).update(role=Role.BOOKKEEPER)
    assert alice_client.post(path(firm, "access/"), {**form, "access-role": "viewer"}).status_code == 422
    assert not Membership.objects.filter(user=bob, tenant=other_tenant).exists()


def test_access_that_is_changed_at_the_client_stands_in_the_firm_s_trail(
    firm: Firm, bob_of_firm: FirmStaff, tenant: Tenant
) -> None:
    rows = Membership.objects.select_related("tenant", "user").filter(tenant=tenant)
    own, bobs = rows.get(role=Role.OWNER), rows.get(user=bob_of_firm.user)
    change_role(actor=own, member=bobs, role=Role.VIEWER)
    remove_member(actor=own, member=bobs)
    assert told(firm)[-2:] == [
        ("Alice", "bob@example.com is viewer of Kestrel & Co; was bookkeeper"),
        ("Alice", "bob@example.com may not open Kestrel & Co any more"),
    ]


def test_who_looked_into_which_client_is_told_once_a_day(
    firm: Firm, bob_of_firm: FirmStaff, bob_client: Client, tenant: Tenant, charlie: User, charlie_client: Client
) -> None:
    Membership.objects.create(user=charlie, tenant=tenant, role=Role.VIEWER)
    for _ in range(3):
        assert bob_client.get("/o/kestrel/members/").status_code == 200
        assert charlie_client.get("/o/kestrel/members/").status_code == 200, "of the client, not of the firm"
    assert told(firm, "client_opened") == [("Bob", "Opened Kestrel & Co")]
    session = bob_client.session
    session["opened"] = {"2020-01-01": ["kestrel"]}
    session.save()
    bob_client.get("/o/kestrel/members/")
    assert len(told(firm, "client_opened")) == 2


def test_belonging_to_a_firm_opens_no_client(firm: Firm, bob_of_firm: FirmStaff, bob_client: Client) -> None:
    Membership.objects.filter(user=bob_of_firm.user).delete()
    assert bob_client.get("/o/kestrel/members/").status_code == 404
    page = bob_client.get(path(firm)).content.decode()
    assert "0 clients open to you" in page and "Kestrel" not in page


def test_client_ends_it_whenever_it_likes(firm: Firm, tenant: Tenant, alice_client: Client, bob_client: Client) -> None:
    assert "client of <strong>Ledger &amp; Sons" in alice_client.get("/o/kestrel/members/").content.decode()
    assert bob_client.post("/o/kestrel/members/firm/leave/").status_code == 403
    for _ in range(2):
        assert alice_client.post("/o/kestrel/members/firm/leave/").status_code == 302
    tenant.refresh_from_db()
    assert tenant.firm is None
    assert told(firm, "client_left") == [("Alice", "Kestrel & Co is no longer a client")]


def test_people_leave_and_one_partner_stays(
    firm: Firm, bob_of_firm: FirmStaff, alice: User, alice_client: Client, bob_client: Client
) -> None:
    own = firm.firmstaff_set.get(user=alice)
    bob_client.post(path(firm, f"staff/{own.pk}/remove/"))
    assert (
        "always keeps one partner"
        in alice_client.post(path(firm, f"staff/{own.pk}/remove/"), follow=True).content.decode()
    )
    assert firm.firmstaff_set.count() == 2
    bob_client.post(path(firm, f"staff/{bob_of_firm.pk}/remove/"))
    assert firm.firmstaff_set.count() == 1
    assert bob_client.get(path(firm)).status_code == 404
    assert told(firm, "staff_removed") == [("Bob", "bob@example.com left")]


def test_trail_is_read_and_exported_by_partners_only(
    firm: Firm, bob_of_firm: FirmStaff, alice_client: Client, bob_client: Client, charlie_client: Client
) -> None:
    for rest in ("trail/", "trail/export.csv"):
        answers = [
            one.get(path(firm, rest)).status_code for one in (alice_client, bob_client, charlie_client, Client())
        ]
        assert answers == [200, 403, 404, 302]
    page = alice_client.get(path(firm, "trail/?action=staff_added&check=1")).content.decode()
    assert "Added bob@example.com" in page and "Set up Ledger" not in page and "The chain is whole" in page
    rows: list[dict[str, Any]] = list(
        csv.DictReader(io.StringIO(alice_client.get(path(firm, "trail/export.csv")).content.decode("utf-8-sig")))
    )
    assert [row["action"] for row in rows] == ["firm_created", "client_taken_in", "staff_added", "trail_exported"]
    assert [row["previous_digest"] for row in rows[1:]] == [row["digest"] for row in rows[:-1]]


@pytest.mark.parametrize(
    "change",
    ["UPDATE tenants_firmentry SET actor = 'Eve'", "DELETE FROM tenants_firmentry"],
    ids=["update", "delete"],
)
def test_entries_cannot_be_changed_or_deleted(firm: Firm, change: str, tenant: Tenant) -> None:
    for _ in range(2):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)


def test_tampering_shows(firm: Firm, tenant: Tenant, alice: User, alice_client: Client) -> None:
    record(firm, user=alice, action="client_opened", summary="Opened Kestrel & Co", client=tenant)
    assert verify_trail(firm) == []
    with as_owner(tenant) as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE public.tenants_firmentry DISABLE TRIGGER tenants_firmentry_append_only")
        cursor.execute("UPDATE public.tenants_firmentry SET summary = 'Nothing' WHERE sequence = 2")
        cursor.execute("ALTER TABLE public.tenants_firmentry ENABLE TRIGGER tenants_firmentry_append_only")
    assert verify_trail(firm) == [2]
    assert "Entries 2 are not as they were written" in alice_client.get(path(firm, "trail/?check=1")).content.decode()
    assert f"firm {firm.pk}: not whole at 2" in broken_trails()
