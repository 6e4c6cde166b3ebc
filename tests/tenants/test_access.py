"""Who may open which page of a business."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.template.response import SimpleTemplateResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from psycopg.errors import DeadlockDetected

from tenants.access import TenantRequest, member, public_page
from tenants.choices import Role
from tenants.context import TenantContextError, current_tenant
from tenants.models import Membership, Tenant, User
from tests.faults.processes import wait_until

OURS = ("marketplace.", "tenants.")


def our_views(patterns: Any = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from our_views(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern) and pattern.callback.__module__.startswith(OURS):
            yield route, pattern.callback


def test_every_view_of_ours_has_a_policy() -> None:
    views = list(our_views())
    assert len(views) > 5
    assert [route for route, view in views if not hasattr(view, "policy")] == []


def test_every_page_of_a_business_asks_for_membership() -> None:
    roles = {role.value for role in Role}
    inside = [(route, view) for route, view in our_views() if route.startswith("o/")]
    assert inside
    assert [route for route, view in inside if view.policy not in roles] == []


def test_member_sees_the_page(tenant: Tenant, bob_client: Client) -> None:
    response = bob_client.get("/o/kestrel/members/")
    assert response.status_code == 200
    assert "Alice" in response.content.decode()


def test_stranger_gets_404_as_for_a_business_that_does_not_exist(tenant: Tenant, charlie_client: Client) -> None:
    assert charlie_client.get("/o/kestrel/members/").status_code == 404
    assert charlie_client.get("/o/no-such-business/members/").status_code == 404


def test_anonymous_is_sent_to_log_in_for_any_slug(tenant: Tenant, client: Client) -> None:
    for slug in ("kestrel", "no-such-business"):
        response = client.get(f"/o/{slug}/members/")
        assert (response.status_code, response["Location"]) == (302, f"/user/login/?next=/o/{slug}/members/")


def test_expired_membership_is_no_membership(tenant: Tenant, bob: User, bob_client: Client) -> None:
    Membership.objects.filter(user=bob).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert bob_client.get("/o/kestrel/members/").status_code == 404


def test_removed_member_is_out_at_the_next_request(tenant: Tenant, bob: User, bob_client: Client) -> None:
    assert bob_client.get("/o/kestrel/members/").status_code == 200
    Membership.objects.filter(user=bob).delete()
    assert bob_client.get("/o/kestrel/members/").status_code == 404


def test_role_too_low_is_told_who_can(tenant: Tenant, bob: User, bob_client: Client) -> None:
    member_id = Membership.objects.get(user=bob).pk
    response = bob_client.get(f"/o/kestrel/members/{member_id}/")
    assert response.status_code == 403
    page = response.content.decode()
    assert "alice@example.com" in page
    assert "Admin" in page


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("least", list(Role))
def test_role_opens_what_it_includes(
    role: Role, least: Role, tenant: Tenant, bob: User, request_of: Callable[[User], HttpRequest]
) -> None:
    Membership.objects.filter(user=bob).update(role=role)
    view = member(least)(lambda request: HttpResponse("in"))
    response = view(request_of(bob), tenant_slug="kestrel")
    allowed = list(Role).index(role) >= list(Role).index(least)
    assert response.status_code == (200 if allowed else 403)


@pytest.fixture
def request_of(client_of: Callable[[User], Client]) -> Callable[[User], HttpRequest]:
    def make(user: User) -> HttpRequest:
        request = RequestFactory().get("/")
        request.user = user
        request.session = client_of(user).session
        request._messages = []  # type: ignore[attr-defined]
        return request

    return make


def test_template_is_rendered_inside_the_context_and_zone(
    tenant: Tenant, alice: User, request_of: Callable[[User], HttpRequest]
) -> None:
    seen: list[tuple[Tenant, str]] = []

    class Page(SimpleTemplateResponse):
        def render(self) -> SimpleTemplateResponse:
            seen.append((current_tenant(), timezone.get_current_timezone_name()))
            return super().render()

    def view(request: TenantRequest) -> HttpResponse:
        return Page(engines["django"].from_string("{{ 1 }}"))

    member()(view)(request_of(alice), tenant_slug="kestrel")
    assert seen == [(tenant, "Europe/London")]
    assert timezone.get_current_timezone_name() == "UTC"


def test_view_may_open_the_context_itself(
    tenant: Tenant, alice: User, request_of: Callable[[User], HttpRequest]
) -> None:
    def view(request: TenantRequest) -> HttpResponse:
        with pytest.raises(TenantContextError):
            current_tenant()
        return HttpResponse(request.tenant.slug)

    response = member(opens_context=False)(view)(request_of(alice), tenant_slug="kestrel")
    assert isinstance(response, HttpResponse)
    assert response.content == b"kestrel"


def test_public_page_says_so() -> None:
    @public_page
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("hello")

    assert view.policy == "public"  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [1, 3])
def test_switcher_costs_one_query_however_many_businesses(
    count: int, tenant: Tenant, alice: User, alice_client: Client, django_assert_num_queries: Any
) -> None:
    for number in range(count - 1):
        more = Tenant.objects.create(
            slug=f"more-{number}", legal_name=f"More {number}", schema_name=f"t_more{number}", template_digest="x"
        )
        Membership.objects.create(user=alice, tenant=more, role=Role.VIEWER)
    alice_client.get("/businesses/")  # the first one loads the session's data
    with django_assert_num_queries(
        7
    ):  # session, user, how many memberships, a page of them, firms, invitations, switcher
        assert alice_client.get("/businesses/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_page_that_had_to_give_way_to_a_migration_is_made_once_more(tenant: Tenant, alice_client: Client) -> None:
    """Each holds a table that the other wants, and the database ends the page's transaction."""
    given_way: list[BaseException] = []

    def note(execute: Any, *statement: Any) -> Any:
        try:
            return execute(*statement)
        except OperationalError as error:
            given_way.append(error)
            raise

    def page_waits() -> bool:
        asked = (
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'installations_connection'::regclass)"
        )
        return session.execute(asked).fetchone() == (True,)

    def go_on() -> None:
        wait_until(page_waits, "the page waiting")
        session.execute("LOCK TABLE sync_record IN ACCESS EXCLUSIVE MODE")
        session.commit()

    with psycopg.connect(**connection.get_connection_params()) as session, connection.execute_wrapper(note):
        session.execute(f"SET search_path = {tenant.schema_name}; SET deadlock_timeout = '1min'")
        session.execute("LOCK TABLE installations_connection IN ACCESS EXCLUSIVE MODE")
        migration = threading.Thread(target=go_on)
        migration.start()
        response = alice_client.get("/o/kestrel/records/")
        migration.join()
    assert response.status_code == 200
    assert [type(error.__cause__) for error in given_way] == [DeadlockDetected]
