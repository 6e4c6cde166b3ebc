"""The authorization-code grant: what is asked, and what each refusal means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from connectors.sdk.errors import ConfigurationError, ReconnectRequired, TransientError, UnexpectedResponse
from connectors.sdk.oauth import ConnectorKeys, OAuth, TokenSet, challenge_of, new_verifier
from tests.connectors.sample.manifest import MANIFEST

KEYS = ConnectorKeys(client_id="our-id", client_secret="our-secret", webhook_secrets=("hook-secret",))


class Bench:
    def __init__(self, answer: httpx.Response | Exception, **auth: Any) -> None:
        self.requests: list[httpx.Request] = []
        self.answer = answer
        manifest = replace(MANIFEST, auth=replace(MANIFEST.auth, **auth))
        http = httpx.Client(transport=httpx.MockTransport(self.take))
        self.oauth = OAuth(manifest, KEYS, environment="production", http=http)

    def take(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @property
    def form(self) -> dict[str, str]:
        return dict(httpx.QueryParams(self.requests[-1].content.decode()))


def tokens() -> httpx.Response:
    body = {"access_token": "a", "refresh_token": "r", "expires_in": 1800, "scope": "read,write"}
    return httpx.Response(200, json=body)


def test_the_link_asks_for_exactly_our_scopes() -> None:
    url = Bench(tokens()).oauth.authorize_url(redirect_uri="https://us/cb", state="s", verifier="v")
    params = httpx.URL(url).params
    assert params["scope"] == "read write"
    assert params["state"] == "s"
    assert params["code_challenge"] == challenge_of("v")
    assert "v" not in params.values()


def test_without_pkce_nothing_is_challenged() -> None:
    bench = Bench(tokens(), uses_pkce=False)
    url = bench.oauth.authorize_url(redirect_uri="https://us/cb", state="s", verifier="v")
    assert "code_challenge" not in httpx.URL(url).params
    bench.oauth.exchange({"code": "c"}, redirect_uri="https://us/cb", verifier="v")
    assert "code_verifier" not in bench.form


def test_the_code_is_exchanged_with_its_proofs() -> None:
    bench = Bench(tokens())
    found = bench.oauth.exchange({"code": "c"}, redirect_uri="https://us/cb", verifier="v")
    assert bench.form == {
        "grant_type": "authorization_code",
        "code": "c",
        "redirect_uri": "https://us/cb",
        "code_verifier": "v",
    }
    assert (found.access_token, found.refresh_token, found.expires_in) == ("a", "r", 1800)
    assert found.scopes == ("read", "write")


def test_credentials_go_where_the_provider_wants_them() -> None:
    basic = Bench(tokens())
    basic.oauth.refresh("r")
    assert basic.requests[0].headers["authorization"].startswith("Basic ")
    assert "client_secret" not in basic.form
    body = Bench(tokens(), client_auth="body")
    body.oauth.refresh("r")
    assert "authorization" not in body.requests[0].headers
    assert body.form["client_secret"] == "our-secret"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(400, json={"error": "invalid_grant"}), ReconnectRequired),
        (httpx.Response(400, json={"error": "invalid_client"}), ConfigurationError),
        (httpx.Response(401, json={"error": "unauthorized_client"}), ConfigurationError),
        (httpx.Response(503), TransientError),
        (httpx.Response(500, json={"error": "invalid_grant"}), TransientError),
        (httpx.Response(429), TransientError),
        (httpx.Response(200, content=b"<html>"), UnexpectedResponse),
        (httpx.Response(200, json=["a"]), UnexpectedResponse),
        (httpx.Response(200, json={}), ConfigurationError),
        (httpx.ConnectError("no route"), TransientError),
        (httpx.ReadTimeout("late"), TransientError),
    ],
)
def test_only_an_ended_grant_asks_for_reconnecting(answer: httpx.Response | Exception, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        Bench(answer).oauth.refresh("the-refresh-token")
    assert type(caught.value) is error
    assert "the-refresh-token" not in f"{caught.value}"


def test_revoking_without_an_endpoint_calls_nobody() -> None:
    bench = Bench(httpx.Response(200), revoke=None)
    bench.oauth.revoke(TokenSet(access_token="a", expires_in=1))
    assert bench.requests == []


def test_revoking_in_a_bad_moment_is_tried_later() -> None:
    with pytest.raises(TransientError):
        Bench(httpx.Response(502)).oauth.revoke(TokenSet(access_token="a", expires_in=1))


def test_secrets_are_never_shown() -> None:
    found = TokenSet(access_token="secret-a", refresh_token="secret-r", expires_in=1, answer={"x": "secret-x"})
    shown = f"{found!r} {KEYS!r}"
    assert "secret" not in shown


def test_verifiers_are_long_and_different() -> None:
    assert len(new_verifier()) >= 43
    assert new_verifier() != new_verifier()
    # The example of RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
