"""Alice owns Kestrel & Co, Bob works there, Charlie is a stranger with a business of his own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.cache import cache
from django.test import Client

from conftest import TEST_SCHEMAS
from tenants.choices import Role
from tenants.models import Membership, Tenant, User
from tenants.provisioning import current_digest

PASSWORD = "correct horse battery"


def make_user(full_name: str) -> User:
    """A person whose address is verified."""
    user = User.objects.create_user(f"{full_name.lower()}@example.com", PASSWORD, full_name=full_name)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


@pytest.fixture(autouse=True)
def _empty_counters() -> None:
    """Rate limits and providers' allowances of one test must not count in the next."""
    cache.clear()
    with redis.Redis.from_url(settings.REDIS_URL) as counted:
        counted.flushdb()


@pytest.fixture
def alice(db: None) -> User:
    return make_user("Alice")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("Bob")


@pytest.fixture
def charlie(db: None) -> User:
    return make_user("Charlie")


@pytest.fixture
def tenant(alice: User, bob: User) -> Tenant:
    return make_tenant(
        "Kestrel & Co",
        TEST_SCHEMAS[0],
        {alice: Role.OWNER, bob: Role.BOOKKEEPER},
        "GB",
        "GBP",
        "Europe/London",
    )


@pytest.fixture
def other_tenant(charlie: User) -> Tenant:
    return make_tenant("Marlow GmbH", TEST_SCHEMAS[1], {charlie: Role.OWNER}, "DE", "EUR", "Europe/Berlin")


def make_tenant(
    legal_name: str, schema_name: str, members: dict[User, Role], country: str, currency: str, time_zone: str
) -> Tenant:
    """A business in a schema that exists already."""
    tenant = Tenant.objects.create(
        slug=legal_name.split()[0].lower(),
        schema_name=schema_name,
        legal_name=legal_name,
        country=country,
        base_currency=currency,
        time_zone=time_zone,
        template_digest=current_digest(),
    )
    for user, role in members.items():
        Membership.objects.create(user=user, tenant=tenant, role=role)
    return tenant


@pytest.fixture
def client_of() -> Callable[[User], Client]:
    """A browser in which this person has logged in."""

    def make(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def alice_client(alice: User, client_of: Callable[[User], Client]) -> Client:
    return client_of(alice)


@pytest.fixture
def bob_client(bob: User, client_of: Callable[[User], Client]) -> Client:
    return client_of(bob)


@pytest.fixture
def charlie_client(charlie: User, client_of: Callable[[User], Client]) -> Client:
    return client_of(charlie)
