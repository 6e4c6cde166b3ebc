"""From signing up to a first business."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from allauth.mfa.adapter import get_adapter
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from marketplace.core.models import TenantSummary
from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.forms import country_choices, currency_choices, time_zone_choices
from tenants.mfa import UnableToOpenSecondFactor
from tenants.models import Membership, Tenant, User

pytestmark = pytest.mark.django_db

PASSWORD = "a long enough sentence"
BUSINESS = {"legal_name": "Ünï Ltd", "country": "GB", "base_currency": "GBP", "time_zone": "Europe/London"}


def test_person_signs_up_verifies_and_creates_a_business(client: Client) -> None:
    names = {"email": "Dora@example.com", "full_name": "Dora", "password1": PASSWORD, "password2": PASSWORD}
    assert client.post("/user/signup/", names).status_code == 302
    assert client.get("/").status_code == 302
    (letter,) = mail.outbox
    link = next(word for word in letter.body.split() if "/confirm-email/" in word)
    client.post(link.partition("testserver")[2])
    assert client.get("/").headers["Location"] == "/businesses/new/"
    response = client.post("/businesses/new/", BUSINESS)
    tenant = Tenant.objects.get()
    assert response["Location"].startswith(f"/o/{tenant.slug}/")
    owner = Membership.objects.get()
    assert (owner.user.full_name, owner.user.email, owner.role) == ("Dora", "dora@example.com", Role.OWNER)
    with tenant_context(tenant):
        assert tenant.slug == "uni-ltd"


def test_unverified_person_cannot_log_in(client: Client) -> None:
    names = {"email": "dora@example.com", "full_name": "Dora", "password1": PASSWORD, "password2": PASSWORD}
    client.post("/user/signup/", names)
    response = client.post("/user/login/", {"login": "dora@example.com", "password": PASSWORD})
    assert response["Location"] == "/user/confirm-email/"
    assert client.get("/businesses/").status_code == 302


@pytest.mark.parametrize("field", ["legal_name", "country", "base_currency", "time_zone"])
def test_business_needs_each_fact(field: str, alice_client: Client) -> None:
    response = alice_client.post("/businesses/new/", {**BUSINESS, field: ""})
    assert response.status_code == 200
    assert "This field is required." in response.content.decode()
    assert not Tenant.objects.exists()


def test_second_business_of_the_same_name_gets_its_own_address(alice_client: Client) -> None:
    for _ in range(2):
        alice_client.post("/businesses/new/", BUSINESS)
    slugs = set(Tenant.objects.values_list("slug", flat=True))
    assert len(slugs) == 2
    assert len(set(Tenant.objects.values_list("schema_name", flat=True))) == 2


def test_start_opens_the_only_or_the_last_business(
    tenant: Tenant, other_tenant: Tenant, alice: User, alice_client: Client
) -> None:
    assert alice_client.get("/").headers["Location"].startswith("/o/kestrel/")
    Membership.objects.create(user=alice, tenant=other_tenant, role=Role.VIEWER)
    assert alice_client.get("/").headers["Location"] == "/businesses/"
    alice_client.get("/o/marlow/members/")
    assert alice_client.get("/").headers["Location"].startswith("/o/marlow/")


def test_choices_hold_what_a_business_needs() -> None:
    assert {"GB", "DE", "US", "NZ"} <= {code for code, _ in country_choices()}
    assert {"GBP", "EUR", "USD", "NZD"} <= {code for code, _ in currency_choices()}
    assert {"Europe/London", "America/New_York", "UTC"} <= {name for name, _ in time_zone_choices()}
    assert "DEM" not in {code for code, _ in currency_choices()}


def test_second_factor_is_sealed_and_a_changed_one_is_refused() -> None:
    sealed = get_adapter().encrypt("JBSWY3DPEHPK3PXP")
    assert "JBSWY3DPEHPK3PXP" not in sealed
    assert get_adapter().decrypt(sealed) == "JBSWY3DPEHPK3PXP"
    other = "A" if sealed[20] != "A" else "B"
    with pytest.raises(UnableToOpenSecondFactor):
        get_adapter().decrypt(sealed[:20] + other + sealed[21:])


def test_letters_are_shown_where_none_are_sent(client: Client, settings: Settings, tmp_path: Path) -> None:
    assert client.get("/letters/").status_code == 404
    settings.SHOWS_LETTERS = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = tmp_path
    names = {"email": "dora@example.com", "full_name": "Dora", "password1": PASSWORD, "password2": PASSWORD}
    page = client.post("/user/signup/", names, follow=True).content.decode()
    assert 'href="/letters/"' in page
    shown = client.get("/letters/").content.decode()
    link = re.search(r'href="http://testserver(/user/confirm-email/[^"]+)"', shown)
    assert link
    assert client.get(link[1]).status_code == 200


def test_no_letters_yet_is_said(client: Client, settings: Settings, tmp_path: Path) -> None:
    settings.SHOWS_LETTERS, settings.EMAIL_FILE_PATH = True, tmp_path / "missing"
    assert "No letter yet" in client.get("/letters/").content.decode()


def many_businesses(person: User, count: int) -> None:
    """Rows alone: pages about several businesses never look into a schema."""
    made = Tenant.objects.bulk_create(
        Tenant(
            slug=f"client-{number:03}",
            legal_name=f"Client {number:03}",
            country="GB",
            base_currency="GBP",
            time_zone="UTC",
            template_digest="none",
        )
        for number in range(count)
    )
    Membership.objects.bulk_create(Membership(user=person, tenant=each, role=Role.OWNER) for each in made)
    TenantSummary.objects.create(tenant=made[-1], waiting_count=7, updated_at=made[-1].created_at)


def test_switcher_holds_the_open_business_and_where_most_waits(
    alice_client: Client, alice: User, tenant: Tenant
) -> None:
    many_businesses(alice, 40)
    page = alice_client.get(f"/o/{tenant.slug}/members/").content.decode()
    listed = re.findall(r'<a class="entry" href="/o/([^/"]+)/"', page)
    assert len(listed) == 12
    assert {tenant.slug, "client-039"} <= set(listed)


def test_many_businesses_come_in_pages_and_are_found_by_name(alice_client: Client, alice: User) -> None:
    many_businesses(alice, 60)
    first = alice_client.get("/businesses/").content.decode()
    second = alice_client.get("/businesses/?page=2").content.decode()
    assert ("1 to 50 of 60" in first, "51 to 60 of 60" in second) == (True, True)
    found = alice_client.get("/businesses/?name=client+059").content.decode()
    assert re.findall(r'<th scope="row"><a href="/o/([^/"]+)/"', found) == ["client-059"]
    assert "No business fits" in alice_client.get("/businesses/?name=nobody").content.decode()


def test_businesses_are_ranked_by_what_waits_in_them(
    alice_client: Client, alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    many_businesses(alice, 3)
    calm, busy, broken = Tenant.objects.filter(legal_name__startswith="Client").order_by("legal_name")
    for owner, count, amount, connections in ((calm, 0, 0, 0), (busy, 7, 120, 0), (broken, 2, 999, 1)):
        TenantSummary.objects.update_or_create(
            tenant=owner,
            defaults={
                "waiting_count": count,
                "waiting_amount": amount,
                "broken_connections": connections,
                "furthest_stage": "parallel",
                "updated_at": timezone.now(),
            },
        )

    def order(query: str = "") -> list[str]:
        page = alice_client.get(f"/businesses/{query}").content.decode()
        return re.findall(r'<th scope="row"><a href="[^"]*">(Client \d+)', page)

    names = [owner.legal_name for owner in (broken, busy, calm)]
    assert order() == names, "nothing of a business is posted while a system is cut off"
    assert order("?sort=-waiting") == [names[1], names[0], names[2]]
    assert order("?sort=-money") == names
    assert order("?sort=name") == [names[2], names[1], names[0]]
    assert order("?sort=nonsense") == names
    assert order("?needs=person") == names[:2]
    assert order("?needs=reconnect") == names[:1]
    assert order("?needs=nothing") == names[2:]
    assert order("?needs=start") == []
    assert order("?needs=nonsense&firm=9") == names
    page = alice_client.get("/businesses/").content.decode()
    assert "Reconnect a system" in page and f"/o/{busy.slug}/issues/" in page and "999.00" in page
    with django_assert_num_queries(7):
        alice_client.get("/businesses/")


def test_switcher_lists_by_what_waits_and_never_what_one_may_not_open(
    alice_client: Client, alice: User, charlie: User, tenant: Tenant
) -> None:
    many_businesses(alice, 30)
    ours = list(Tenant.objects.filter(legal_name__startswith="Client").order_by("legal_name"))
    foreign = Tenant.objects.create(slug="foreign", legal_name="Foreign", schema_name="t_foreign", template_digest="x")
    Membership.objects.create(user=charlie, tenant=foreign, role=Role.OWNER)
    ended = ours[20]
    Membership.objects.filter(tenant=ended).update(expires_at=timezone.now())
    for count, owner in enumerate((*ours[:15], ended, foreign), start=1):
        TenantSummary.objects.create(tenant=owner, waiting_count=count, updated_at=timezone.now())
    page = alice_client.get(f"/o/{tenant.slug}/members/").content.decode()
    listed = re.findall(r'<a class="entry" href="/o/([^/"]+)/"', page)
    most = [ours[-1], *ours[5:15]]  # seven wait in the last; fifteen, fourteen ... in the others
    assert listed == [*sorted(owner.slug for owner in most), tenant.slug]
    assert page.count('aria-current="true"') == 1
