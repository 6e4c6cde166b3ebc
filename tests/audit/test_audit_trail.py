"""The audit trail: appended, chained, never changed, shown to those who answer for the business."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.test import Client

from marketplace.audit.models import AuditEntry
from marketplace.audit.operations import record_act, verify_trail
from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.models import Membership, Tenant, User
from tenants.operations import change_role
from tests.owner import as_owner

PAGE = "/o/kestrel/audit/"


def act(tenant: Tenant, user: User | None, summary: str = "Did something", action: str = "flow.pause") -> None:
    with tenant_context(tenant):
        record_act(user=user, action=action, subject=None, summary=summary, details={"count": 1})


def page(client: Client, query: str = "") -> str:
    response = client.get(PAGE + query)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def tamper(tenant: Tenant, statement: str) -> None:
    """As somebody with the rights of the database's owner could."""
    with as_owner(tenant) as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE audit_auditentry DISABLE TRIGGER audit_auditentry_append_only")
        cursor.execute(statement)
        cursor.execute("ALTER TABLE audit_auditentry ENABLE TRIGGER audit_auditentry_append_only")


def test_trail_shows_who_did_what(tenant: Tenant, alice: User, alice_client: Client) -> None:
    act(tenant, alice, "Paused orders to invoices")
    act(tenant, None, "Kestrel needs reconnecting", "connection.needs_reconnect")
    body = page(alice_client)
    assert "Paused orders to invoices" in body
    assert "Connection: needs reconnecting" in body
    assert body.index("Kestrel needs reconnecting") < body.index("Paused orders to invoices")


def test_empty_trail_says_so(tenant: Tenant, alice_client: Client) -> None:
    assert "Nothing has been done yet" in page(alice_client)
    assert "The chain is whole" in page(alice_client, "?check=1")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?action=flow.pause", {"One", "Two"}),
        ("?actor=Alice", {"One", "Three"}),
        ("?actor=Tieout", {"Two"}),
        ("?text=thr", {"Three"}),
        ("?actor=Alice&action=flow.pause", {"One"}),
        ("?actor=Nobody", {"One", "Two", "Three"}),
    ],
)
def test_trail_is_filtered_by_address(
    query: str, expected: set[str], tenant: Tenant, alice: User, alice_client: Client
) -> None:
    act(tenant, alice, "Sentence One")
    act(tenant, None, "Sentence Two")
    act(tenant, alice, "Sentence Three", "flow.live")
    body = page(alice_client, query)
    assert {word for word in ("One", "Two", "Three") if f"Sentence {word}" in body} == expected
    rows = list(csv.DictReader(io.StringIO(alice_client.get(f"{PAGE}export.csv{query}").content.decode("utf-8-sig"))))
    assert {row["summary"].split()[-1] for row in rows} == expected


def test_long_trail_has_pages(tenant: Tenant, alice: User, alice_client: Client) -> None:
    for number in range(51):
        act(tenant, alice, f"Act number {number};")
    assert "Act number 0;" not in page(alice_client)
    body = page(alice_client, "?page=2")
    assert "Act number 0;" in body
    assert "51 to 51 of 51" in body


@pytest.mark.parametrize(
    "change", [lambda: AuditEntry.objects.update(actor="Bob"), lambda: AuditEntry.objects.all().delete()]
)
def test_entries_cannot_be_changed_or_deleted(change: Callable[[], Any], tenant: Tenant, alice: User) -> None:
    act(tenant, alice)
    with tenant_context(tenant), pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        change()


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit_auditentry SET summary = 'Nothing' WHERE sequence = 2", [2]),
        ("UPDATE audit_auditentry SET actor = 'Bob' WHERE sequence = 1", [1]),
        ("UPDATE audit_auditentry SET details = '{}' WHERE sequence = 3", [3]),
        ("DELETE FROM audit_auditentry WHERE sequence = 2", [3]),
        ("DELETE FROM audit_auditentry WHERE sequence = 1", [2]),
    ],
)
def test_tampering_is_found_and_shown(
    statement: str, broken: list[int], tenant: Tenant, alice: User, alice_client: Client
) -> None:
    for _ in range(3):
        act(tenant, alice)
    assert "All 3 entries" in page(alice_client, "?check=1")
    tamper(tenant, statement)
    with tenant_context(tenant):
        assert verify_trail() == broken
    assert f"Entries {broken[0]} are not as they were written" in page(alice_client, "?check=1")


def test_formulas_are_exported_as_text(tenant: Tenant, alice: User, alice_client: Client) -> None:
    act(tenant, alice, '=HYPERLINK("https://evil.example")')
    response = alice_client.get(f"{PAGE}export.csv")
    (row,) = csv.DictReader(io.StringIO(response.content.decode("utf-8-sig")))
    assert row["summary"].startswith("'=")
    assert response["Content-Disposition"] == 'attachment; filename="audit-trail-kestrel.csv"'


def test_changes_of_members_are_on_the_trail(tenant: Tenant, alice: User, bob: User, alice_client: Client) -> None:
    rows = Membership.objects.select_related("tenant", "user")
    change_role(actor=rows.get(user=alice), member=rows.get(user=bob), role=Role.ADMIN)
    assert "Changed the role of bob@example.com" in page(alice_client)


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}export.csv"])
def test_only_those_who_answer_for_it_see_the_trail(
    path: str, tenant: Tenant, bob: User, bob_client: Client, charlie_client: Client
) -> None:
    assert bob_client.get(path).status_code == 403
    assert charlie_client.get(path).status_code == 404
    Membership.objects.filter(user=bob).update(role=Role.ADMIN)
    assert bob_client.get(path).status_code == 200


def test_trails_of_two_businesses_are_apart(
    tenant: Tenant, other_tenant: Tenant, alice: User, charlie: User, charlie_client: Client
) -> None:
    act(tenant, alice, "Only Kestrel's")
    act(other_tenant, charlie, "Only Marlow's")
    body = html.unescape(charlie_client.get("/o/marlow/audit/").content.decode())
    assert "Only Marlow's" in body
    assert "Only Kestrel's" not in body
