"""C13: membership, tokens and intents, driven at random and compared with plain models after every step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from pytest_django import Settings

from connectors.registry import connector, simulator
from connectors.sdk.errors import (
    ReconnectRequired,
    TransientError,
    UnexpectedResponse,
)
from connectors.sdk.oauth import OAuth, TokenSet
from connectors.testing.faults import Fault
from connectors.testing.simulator import Simulator
from marketplace.audit.models import AuditEntry
from marketplace.audit.operations import verify_trail
from marketplace.installations import registrations, rotation
from marketplace.installations.models import Connection
from marketplace.installations.registrations import connector_keys
from marketplace.installations.vault import ConnectionToken, store_tokens
from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.models import Invitation, Membership, Tenant, User
from tenants.operations import (
    UnableToAcceptInvitation,
    UnableToChangeMembers,
    accept_invitation,
    change_role,
    invite_member,
    remove_member,
    withdraw_invitation,
)
from tenants.queries import live_membership
from tests.conftest import make_user
from tests.faults.campaign import Size
from tests.mapping.world import connect

pytestmark = pytest.mark.faults

STEPS = Size.asked().pick(6, 20)
ROLES = list(Role)
NAMES = ("Alice", "Bob", "Carol", "Dave", "Erin")
people = st.sampled_from(NAMES)
roles = st.sampled_from(ROLES)


def run(machine: type[RuleBasedStateMachine], examples: int, chosen: int) -> None:
    """As many random walks as asked for; one that ends badly is shortened and printed."""
    thorough = settings(
        max_examples=examples, stateful_step_count=STEPS, deadline=None, database=None, print_blob=False,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(seed(chosen)(machine), settings=thorough)


class TakenBack(RuleBasedStateMachine):
    """Each walk in a transaction of its own that is rolled back at its end."""

    def __init__(self) -> None:
        super().__init__()
        self._walk = transaction.atomic()
        self._walk.__enter__()

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self._walk.__exit__(None, None, None)


class MembershipMachine(TakenBack):
    """Who belongs to one business. The model: a role for each live member, and the roles people are invited to."""

    owner: Tenant
    users: dict[str, User]

    def __init__(self) -> None:
        super().__init__()
        self.roles: dict[str, Role] = {"Alice": Role.OWNER}
        self.invited: dict[str, Role] = {}
        self.expired_role: dict[str, Role] = {}
        self.acts = 0

    def membership(self, name: str) -> Membership:
        found = live_membership(user=self.users[name], tenant_slug=self.owner.slug)
        assert found is not None
        found.user = self.users[name]
        return found

    def includes(self, actor: str, role: Role) -> bool:
        return ROLES.index(self.roles[actor]) >= ROLES.index(role)

    def may_decide(self, actor: str, *about: Role) -> bool:
        return self.includes(actor, Role.ADMIN) and all(self.includes(actor, role) for role in about)

    def keeps_an_owner(self, leaving: str) -> bool:
        return any(role == Role.OWNER for name, role in self.roles.items() if name != leaving)

    def expect(self, is_allowed: bool, act: Callable[[], Any]) -> None:
        if is_allowed:
            act()
            self.acts += 1
        else:
            with pytest.raises(UnableToChangeMembers), transaction.atomic():
                act()

    @precondition(lambda self: self.roles)
    @rule(data=st.data(), name=people, role=roles)
    def invite(self, data: Any, name: str, role: Role) -> None:
        actor = data.draw(st.sampled_from(sorted(self.roles)))
        is_allowed = self.may_decide(actor, role) and name not in self.roles
        email = self.users[name].email.title()
        self.expect(is_allowed, lambda: invite_member(actor=self.membership(actor), email=email, role=role))
        if is_allowed:
            self.invited[name] = role

    @precondition(lambda self: self.invited)
    @rule(data=st.data(), by=people)
    def accept(self, data: Any, by: str) -> None:
        """Whoever holds the letter tries; only the address it was sent to may."""
        name = data.draw(st.sampled_from(sorted(self.invited)))
        letter = Invitation.objects.get(tenant=self.owner, email=self.users[name].email, accepted_at=None)
        if by != name:
            with pytest.raises(UnableToAcceptInvitation), transaction.atomic():
                accept_invitation(user=self.users[by], invitation=letter)
            return
        accept_invitation(user=self.users[name], invitation=letter)
        self.roles[name] = self.invited.pop(name)
        self.acts += 1
        with pytest.raises(UnableToAcceptInvitation), transaction.atomic():
            accept_invitation(user=self.users[name], invitation=letter)

    @precondition(lambda self: self.invited and self.roles)
    @rule(data=st.data())
    def withdraw(self, data: Any) -> None:
        actor, name = data.draw(st.sampled_from(sorted(self.roles))), data.draw(st.sampled_from(sorted(self.invited)))
        letter = Invitation.objects.get(tenant=self.owner, email=self.users[name].email, accepted_at=None)
        is_allowed = self.may_decide(actor, self.invited[name])
        self.expect(is_allowed, lambda: withdraw_invitation(actor=self.membership(actor), invitation=letter))
        if is_allowed:
            del self.invited[name]

    @rule(data=st.data(), role=roles)
    def change(self, data: Any, role: Role) -> None:
        actor, name = (data.draw(st.sampled_from(sorted(self.roles))) for _ in range(2))
        is_allowed = self.may_decide(actor, role, self.roles[name])
        is_allowed = is_allowed and (role == Role.OWNER or self.keeps_an_owner(name))
        member = self.membership(name)
        self.expect(is_allowed, lambda: change_role(actor=self.membership(actor), member=member, role=role))
        if is_allowed:
            self.roles[name] = role

    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        actor, name = (data.draw(st.sampled_from(sorted(self.roles))) for _ in range(2))
        is_allowed = (actor == name or self.may_decide(actor, self.roles[name])) and self.keeps_an_owner(name)
        member = self.membership(name)
        self.expect(is_allowed, lambda: remove_member(actor=self.membership(actor), member=member))
        if is_allowed:
            del self.roles[name]

    @rule(name=people)
    def expire(self, name: str) -> None:
        """A day goes by on which somebody's time was up; the last owner's never is."""
        if name in self.roles and self.keeps_an_owner(name):
            yesterday = timezone.now() - timedelta(days=1)
            Membership.objects.filter(user=self.users[name], tenant=self.owner).update(expires_at=yesterday)
            del self.roles[name]

    @rule(name=people)
    def visit(self, name: str) -> None:
        client = Client()
        client.force_login(self.users[name])
        expected = 404 if name not in self.roles else 200 if self.includes(name, Role.ADMIN) else 403
        assert client.get(f"/o/{self.owner.slug}/audit/").status_code == expected

    @invariant()
    def access_is_as_the_model_says(self) -> None:
        live = Membership.objects.live().filter(tenant=self.owner).values_list("user__full_name", "role")
        assert {name: Role(role) for name, role in live} == self.roles
        assert Role.OWNER in self.roles.values()

    def teardown(self) -> None:
        try:
            with tenant_context(self.owner):
                assert AuditEntry.objects.count() == self.acts
                assert verify_trail() == []
        finally:
            super().teardown()


def test_membership_is_what_a_plain_model_says(
    tenant: Tenant, alice: User, bob: User, size: Size, seed: int, tell: Any
) -> None:
    Membership.objects.filter(user=bob).delete()
    users = {"Alice": alice, "Bob": bob, **{name: make_user(name) for name in NAMES[2:]}}
    machine = type("Machine", (MembershipMachine,), {"owner": tenant, "users": users})
    examples = size.pick(300, 10_000)
    run(machine, examples, seed)
    tell("C13", "walks through membership", tried=examples, events=examples * STEPS)


class RefreshMachine(TakenBack):
    """The token of one connection. The model: is it connected, is the token good, and does the provider still honour the grant."""

    owner: Tenant
    user: User
    simulated: Simulator
    slug: str
    kek: Callable[..., None]
    is_strict: bool

    def __init__(self) -> None:
        super().__init__()
        self.kek()
        self.simulated.faults.clear()
        with tenant_context(self.owner):
            self.connection = connect(self.user, self.slug, "Kestrel", environment="simulator")
        self.fault = ""
        self.notices = 0
        self.tokens: list[str] = []
        self.grant()
        self.calls = self.counted()

    def grant(self) -> None:
        """As a person does who gives consent."""
        granted, answer = self.simulated.oauth.grant_for(self.connection.organisation_id, ("read",), "ada")
        found = connector(self.slug)
        oauth: OAuth = found.oauth(
            found.manifest, connector_keys(self.slug), environment="simulator", http=httpx.Client()
        )
        tokens: TokenSet = oauth.token_set(answer)
        oauth.http.close()
        with tenant_context(self.owner):
            row = Connection.objects.get(pk=self.connection.pk)
            row.state, row.problem = Connection.State.CONNECTED, ""
            store_tokens(row, tokens, tenant_id=self.owner.pk)
        self.granted, self.is_connected, self.is_alive, self.is_expired = granted.id, True, True, False
        self.tokens.append(tokens.access_token)

    def counted(self) -> int:
        return self.simulated.counts[f"POST {self.simulated.oauth_rules.token_path}"]

    @property
    def token(self) -> ConnectionToken:
        return ConnectionToken(self.owner.pk, self.connection.pk)

    @rule()
    def expire(self) -> None:
        with tenant_context(self.owner):
            Connection.objects.filter(pk=self.connection.pk).update(
                token_expires_at=timezone.now() - timedelta(seconds=1)
            )
        self.is_expired = True

    @rule(fault=st.sampled_from(["status", "html", "drop_before", "drop_after", ""]))
    def disturb(self, fault: Any) -> None:
        """The next call of the token endpoint meets trouble."""
        self.simulated.faults.clear()
        if fault:
            self.simulated.faults.add(Fault(match=f"POST {self.simulated.oauth_rules.token_path}", kind=fault))
        self.fault = fault

    @rule(askers=st.integers(1, 3))
    def ask(self, askers: int) -> None:
        for _ in range(askers):
            self.expect(self.token.current, needs_refresh=self.is_expired)

    @rule(data=st.data())
    def hear_that_a_token_was_refused(self, data: Any) -> None:
        """Perhaps by somebody who still had one from before."""
        refused = data.draw(st.sampled_from(self.tokens[-3:]))
        is_newest = refused == self.tokens[-1]
        self.expect(lambda: self.token.renew(refused), needs_refresh=is_newest)

    def expect(self, ask: Callable[[], str], *, needs_refresh: bool) -> None:
        if not self.is_connected:
            return self.refused(ReconnectRequired, ask)
        if not needs_refresh:
            assert ask() == self.tokens[-1]
            return None
        return self.expect_refresh(ask)

    def expect_refresh(self, ask: Callable[[], str]) -> None:
        fault, self.fault = self.fault, ""
        if fault:
            self.refused((TransientError, UnexpectedResponse), ask)
            if fault == "drop_after":
                self.calls += 1
                self.is_alive = self.is_alive and not self.is_strict
            return
        self.calls += 1
        if not self.is_alive:
            self.refused(ReconnectRequired, ask)
            self.is_connected, self.notices = False, self.notices + 1
            return
        self.tokens.append(ask())
        assert len(set(self.tokens)) == len(self.tokens)
        self.is_expired = False

    def refused(self, error: Any, ask: Callable[[], str]) -> None:
        with pytest.raises(error):
            ask()

    @rule()
    def end_at_the_provider(self) -> None:
        self.simulated.oauth.end(self.granted)
        self.is_alive = False

    @rule()
    def reconnect(self) -> None:
        self.grant()

    @rule()
    def replace_the_key(self) -> None:
        """Sealed again beside everything else, and the old key is gone afterwards."""
        self.kek(os.urandom(32))
        assert rotation.reseal_connections().unreadable == 0
        self.kek(keeps_old=False)

    @invariant()
    def row_is_as_the_model_says(self) -> None:
        with tenant_context(self.owner):
            row = Connection.objects.get(pk=self.connection.pk)
            assert AuditEntry.objects.filter(action="connection.needs_reconnect").count() == self.notices
        assert row.state == ("connected" if self.is_connected else "needs_reconnect")
        assert self.counted() == self.calls


@contextmanager
def in_this_process(slug: str) -> Iterator[Simulator]:
    """The provider's simulator without a network in between."""
    one = simulator(slug)(keys=connector_keys(slug), speed=1000)
    yield one
    one.close()


@pytest.mark.parametrize(("slug", "is_strict"), [("stripe", True), ("xero", False)], ids=["strict", "grace window"])
def test_tokens_are_what_a_plain_model_says(
    slug: str, is_strict: bool, tenant: Tenant, alice: User, settings: Settings, monkeypatch: pytest.MonkeyPatch,
    size: Size, seed: int, tell: Any,
) -> None:  # fmt: skip
    original = settings.TIEOUT_KEK

    def kek(fresh: bytes | None = None, *, keeps_old: bool = True) -> None:
        before, settings.TIEOUT_KEK = settings.TIEOUT_KEK, fresh or (settings.TIEOUT_KEK if not keeps_old else original)
        settings.TIEOUT_KEK_OLD = (before,) if fresh else ()

    settings.SIMULATORS = {**settings.SIMULATORS, slug: "http://simulated"}
    with in_this_process(slug) as simulated, httpx.Client(transport=httpx.WSGITransport(simulated)) as http:
        monkeypatch.setattr(registrations, "_token_http", lambda slug: http)
        given = {"owner": tenant, "user": alice, "simulated": simulated, "slug": slug, "is_strict": is_strict}
        machine = type("Machine", (RefreshMachine,), {**given, "kek": staticmethod(kek)})
        examples = size.pick(150, 5_000)
        run(machine, examples, seed)
    tell("C13", f"walks through refreshing, {slug}", tried=examples, events=examples * STEPS)
