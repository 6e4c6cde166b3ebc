"""How tokens are handed out, replaced and ended."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from connectors.sdk.oauth import ConnectorKeys
from connectors.testing import OAuthRefusal, OAuthRules, Store
from connectors.testing.oauth_server import OAuthServer

KEYS = ConnectorKeys(client_id="id", client_secret="secret")
START = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


class Clock:
    def __init__(self) -> None:
        self.moment = START

    def __call__(self) -> dt.datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += dt.timedelta(seconds=seconds)


def grant(rules: OAuthRules, clock: Clock) -> tuple[OAuthServer, dict[str, Any]]:
    counter = iter(range(1000))
    server = OAuthServer(rules, KEYS, Store(), clock, lambda kind, organisation: f"{kind}-{next(counter)}")
    _, answer = server.grant_for("kestrel", ("read",), "alice")
    return server, answer


def rules(**changes: Any) -> OAuthRules:
    return OAuthRules(authorize_path="/a", token_path="/t", **changes)


def refresh(server: OAuthServer, token: str) -> dict[str, Any]:
    return server.tokens({"grant_type": "refresh_token", "refresh_token": token})[1]


def test_strict_rotation_ends_the_family_on_reuse() -> None:
    server, first = grant(rules(rotation="strict"), Clock())
    second = refresh(server, first["refresh_token"])
    assert server.grant_of(second["access_token"]) is not None
    with pytest.raises(OAuthRefusal):
        refresh(server, first["refresh_token"])
    assert server.grant_of(second["access_token"]) is None
    with pytest.raises(OAuthRefusal):
        refresh(server, second["refresh_token"])


def test_grace_rotation_accepts_the_old_value_for_a_while() -> None:
    clock = Clock()
    server, first = grant(rules(rotation="grace", rotation_seconds=1800), clock)
    second = refresh(server, first["refresh_token"])
    clock.advance(1799)
    refresh(server, first["refresh_token"])
    clock.advance(2)
    with pytest.raises(OAuthRefusal):
        refresh(server, first["refresh_token"])
    refresh(server, second["refresh_token"])


def test_lazy_rotation_replaces_an_old_value_only() -> None:
    clock = Clock()
    server, first = grant(rules(rotation="lazy", rotation_seconds=86400), clock)
    assert refresh(server, first["refresh_token"])["refresh_token"] == first["refresh_token"]
    clock.advance(86401)
    replaced = refresh(server, first["refresh_token"])["refresh_token"]
    assert replaced != first["refresh_token"]
    with pytest.raises(OAuthRefusal):
        refresh(server, first["refresh_token"])


def test_first_use_rotation_keeps_the_old_value_until_the_new_one_works() -> None:
    server, first = grant(rules(rotation="first_use"), Clock())
    refresh(server, first["refresh_token"])
    second = refresh(server, first["refresh_token"])
    refresh(server, second["refresh_token"])
    with pytest.raises(OAuthRefusal):
        refresh(server, first["refresh_token"])


def test_access_and_refresh_tokens_expire() -> None:
    clock = Clock()
    server, first = grant(rules(access_seconds=60, refresh_seconds=600), clock)
    clock.advance(61)
    assert server.grant_of(first["access_token"]) is None
    clock.advance(600)
    with pytest.raises(OAuthRefusal):
        refresh(server, first["refresh_token"])


@pytest.mark.parametrize(
    ("way", "form", "basic"),
    [
        ("basic", {}, ("id", "secret")),
        ("body", {"client_id": "id", "client_secret": "secret"}, None),
        ("secret_as_user", {}, ("secret", "")),
    ],
)
def test_the_client_proves_itself_one_way_only(way: Any, form: dict[str, str], basic: Any) -> None:
    server, _ = grant(rules(client_auth=way), Clock())
    server.check_client(form, basic)
    with pytest.raises(OAuthRefusal):
        server.check_client({}, None)
    with pytest.raises(OAuthRefusal):
        server.check_client({"client_id": "id", "client_secret": "wrong"}, ("id", "wrong"))


def test_a_grant_knows_all_organisations_of_its_person() -> None:
    server, _ = grant(rules(), Clock())
    found, _ = server.grant_for("harbor", ("read",), "alice")
    assert found.organisations == ("kestrel", "harbor")
    stranger, _ = server.grant_for("harbor", ("read",), "charlie")
    assert stranger.organisations == ("harbor",)


def test_the_redirect_address_has_to_match() -> None:
    server, _ = grant(rules(), Clock())
    code = server.issue_code(organisation="kestrel", user="alice", scopes=(), redirect_uri="https://us/cb")
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "https://them/cb"}
    with pytest.raises(OAuthRefusal):
        server.tokens(form)
