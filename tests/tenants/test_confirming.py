"""Who connects, disconnects, changes a mapping or exports has shown lately that it is them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client
from django.urls import URLPattern, get_resolver, reverse
from django.utils import timezone

from marketplace.mapping.models import SourceOfTruth
from tenants.access import SENDING, SHOWING
from tenants.choices import FirmRole, Role
from tenants.confirming import CONFIRMED_AT
from tenants.context import tenant as tenant_context
from tenants.models import Firm, FirmStaff, Membership, Tenant, User
from tests.conftest import PASSWORD
from tests.installations.conftest import served, simulators, walk  # noqa: F401 -- fixtures
from tests.installations.walking import Walk, text_of
from tests.mapping.world import orders_flow

CONFIRMED = {
    **dict.fromkeys(("install", "reconnect", "uninstall"), SHOWING),
    **dict.fromkeys(
        ("audit_export", "issues_export", "records_export", "pairs_csv", "reversal_export", "firm_trail_export"),
        SHOWING,
    ),
    **dict.fromkeys(("save_mapping", "restore_mapping", "decide_source_of_truth"), SENDING),
}
GIVEN: dict[str, Any] = {"slug": "xero", "number": 1, "firm_id": 1}
WORDS = "You signed in a while ago"


def patterns() -> list[URLPattern]:
    def of(entries: list[Any]) -> list[URLPattern]:
        return [found for one in entries for found in (of(one.url_patterns) if hasattr(one, "url_patterns") else [one])]

    return of(get_resolver().url_patterns)


def path_of(name: str) -> str:
    pattern = next(one for one in patterns() if one.name == name)
    wanted = pattern.pattern.converters
    return reverse(
        name, kwargs={key: "kestrel" if key == "tenant_slug" else GIVEN.get(key, uuid.uuid4()) for key in wanted}
    )


def grow_stale(client: Client, minutes: int = 16) -> None:
    session = client.session
    session[CONFIRMED_AT] = timezone.now().timestamp() - minutes * 60
    session.save()


def asks(answer: Any) -> bool:
    return answer.status_code == 302 and "/reauthenticate/" in answer["Location"]


def test_exactly_these_addresses_ask_and_every_export_is_among_them() -> None:
    found = {str(one.name): set(asked) for one in patterns() if (asked := getattr(one.callback, "confirms", None))}
    assert found == {name: set(methods) for name, methods in CONFIRMED.items()}
    assert {str(one.name) for one in patterns() if re.search("export|csv", str(one.pattern))} <= set(found)


@pytest.mark.parametrize("name", CONFIRMED)
def test_old_confirmation_is_asked_for_again(
    name: str, tenant: Tenant, alice_client: Client, charlie_client: Client
) -> None:
    firm = Firm.objects.create(pk=GIVEN["firm_id"], name="Ledger & Sons")
    FirmStaff.objects.create(firm=firm, user=tenant.memberships.get(role=Role.OWNER).user, role=FirmRole.PARTNER)
    path = path_of(name)
    assert not asks(alice_client.post(path)) and not asks(alice_client.get(path))
    grow_stale(alice_client)
    sent = alice_client.post(path)
    assert asks(sent) or sent.status_code == 405
    assert asks(alice_client.get(path)) is (CONFIRMED[name] is SHOWING)
    grow_stale(charlie_client)
    assert charlie_client.post(path).status_code in (404, 405), "a stranger learns nothing"


def test_who_may_not_is_told_so_and_not_asked(tenant: Tenant, bob: User, bob_client: Client) -> None:
    grow_stale(bob_client)
    assert bob_client.get(path_of("install")).status_code == 403


def test_form_that_was_sent_is_taken_in_once_it_is_confirmed(tenant: Tenant, alice: User, alice_client: Client) -> None:
    with tenant_context(tenant):
        flow = orders_flow(alice)
    typed = {"order-owner": str(flow.source_id), "customer-owner": str(flow.target_id), "customer-rule": "newest"}
    path = path_of("decide_source_of_truth")
    grow_stale(alice_client)
    question = alice_client.post(path, typed)
    assert WORDS in text_of(alice_client.get(question["Location"]))
    with tenant_context(tenant):
        assert not SourceOfTruth.objects.filter(pk="order").exists()
    wrong = alice_client.post("/user/reauthenticate/", {"password": "something else", "next": path})
    assert wrong.status_code == 200
    done = alice_client.post("/user/reauthenticate/", {"password": PASSWORD, "next": path})
    assert done.status_code == 302 and not asks(done)
    with tenant_context(tenant):
        assert SourceOfTruth.objects.get(pk="order").owner_id == flow.source_id


def test_who_has_a_second_step_confirms_with_it_and_not_with_the_password(
    tenant: Tenant, alice: User, alice_client: Client
) -> None:
    TOTP.activate(alice, generate_totp_secret())
    code = RecoveryCodes.activate(alice).get_unused_codes()[0]
    grow_stale(alice_client)
    path = path_of("records_export")
    assert alice_client.get(path)["Location"].startswith("/user/2fa/reauthenticate/")
    alice_client.post("/user/reauthenticate/", {"password": PASSWORD, "next": path})
    assert asks(alice_client.get(path))
    alice_client.post("/user/2fa/reauthenticate/", {"code": code, "next": path})
    assert alice_client.get(path).status_code == 200


def test_person_who_confirmed_goes_on_to_the_provider(walk: Callable[..., Walk], tenant: Tenant) -> None:  # noqa: F811
    alice = walk("stripe")
    path = path_of("install").replace("xero", "stripe")
    grow_stale(alice.client)
    assert asks(alice.client.post(path, alice.typed))
    page = text_of(alice.client.post("/user/reauthenticate/", {"password": PASSWORD, "next": path}))
    assert "Continue to Stripe" in page


def test_signing_in_counts_as_a_confirmation(tenant: Tenant, alice: User, client: Client) -> None:
    client.post("/user/login/", {"login": alice.email, "password": PASSWORD})
    assert client.get(path_of("records_export")).status_code == 200
    Membership.objects.filter(user=alice).update(role=Role.ADMIN)
    grow_stale(client, minutes=14)
    assert client.get(path_of("records_export")).status_code == 200
