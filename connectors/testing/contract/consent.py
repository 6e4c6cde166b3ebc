"""Letting us in, keeping the door open, and leaving."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape

import pytest
from httpx import URL

from connectors.sdk.errors import ConnectorError, ReconnectRequired
from connectors.sdk.oauth import OAuth, TokenSet, new_verifier
from connectors.testing.contract.bench import Bench
from connectors.testing.contract.setup import Setup

REDIRECT = "https://tieout.example/connections/callback"
HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


@dataclass(frozen=True)
class Consented:
    """A person's yes: what came back with the redirect."""

    oauth: OAuth
    params: dict[str, str]
    verifier: str

    def exchange(self) -> TokenSet:
        return self.oauth.exchange(self.params, redirect_uri=REDIRECT, verifier=self.verifier)


def consent(bench: Bench, *, decision: str = "allow") -> Consented:
    """Walk from our link over the provider's page back to the callback."""
    oauth, verifier = bench.oauth(), new_verifier()
    address = oauth.authorize_url(redirect_uri=REDIRECT, state="state-1", verifier=verifier)
    page = bench.http.get(address)
    assert page.status_code == 200, page.text
    form = {unescape(name): unescape(value) for name, value in HIDDEN.findall(page.text)}
    answer = {**form, "decision": decision, "organisation": bench.organisation}
    back = bench.http.post(address, data=answer)
    assert back.status_code == 302, back.text
    location = URL(back.headers["location"])
    assert str(location).startswith(REDIRECT)
    return Consented(oauth, dict(location.params), verifier)


class ConsentRules(Setup):
    def test_consent_leads_to_the_organisation(self, bench: Bench) -> None:
        consented = consent(bench)
        assert consented.params["state"] == "state-1"
        consented.oauth.check_callback(consented.params)
        tokens = consented.exchange()
        assert tokens.access_token and tokens.expires_in > 0
        found = consented.oauth.organisations(tokens, consented.params)
        chosen = next(organisation for organisation in found if organisation.id == bench.organisation)
        assert chosen.name
        assert tokens.access_token not in repr(tokens)

    def test_denied_consent_brings_no_code(self, bench: Bench) -> None:
        params = consent(bench, decision="deny").params
        assert params["error"] == "access_denied"
        assert "code" not in params

    def test_a_used_code_is_refused(self, bench: Bench) -> None:
        consented = consent(bench)
        consented.exchange()
        with pytest.raises(ConnectorError):
            consented.exchange()

    def test_a_stale_code_is_refused(self, bench: Bench) -> None:
        consented = consent(bench)
        bench.pass_time(bench.simulator.oauth_rules.code_seconds + 1)
        with pytest.raises(ConnectorError):
            consented.exchange()

    def test_a_foreign_code_is_refused(self, bench: Bench) -> None:
        consented = consent(bench)
        consented.params["code"] = "somebody-elses-code"
        with pytest.raises(ConnectorError):
            consented.exchange()

    def test_the_verifier_proves_who_asked(self, bench: Bench) -> None:
        if not self.parts().manifest.auth.uses_pkce:
            pytest.skip("this provider has no PKCE")
        consented = consent(bench)
        stolen = Consented(consented.oauth, consented.params, new_verifier())
        with pytest.raises(ConnectorError):
            stolen.exchange()

    def test_refreshing_follows_the_rotation_rule(self, bench: Bench) -> None:
        rules, consented = bench.simulator.oauth_rules, consent(bench)
        first = consented.exchange()
        bench.pass_time(rules.rotation_seconds + 1 if rules.rotation == "lazy" else 1)
        second = consented.oauth.refresh(first.refresh_token)
        assert second.access_token != first.access_token
        is_replaced = bool(second.refresh_token) and second.refresh_token != first.refresh_token
        assert is_replaced == (rules.rotation != "none")
        if rules.rotation == "strict":
            with pytest.raises(ReconnectRequired):
                consented.oauth.refresh(first.refresh_token)
            with pytest.raises(ReconnectRequired):
                consented.oauth.refresh(second.refresh_token)
        if rules.rotation == "grace":
            assert consented.oauth.refresh(first.refresh_token).access_token
            bench.pass_time(rules.rotation_seconds + 1)
            with pytest.raises(ReconnectRequired):
                consented.oauth.refresh(first.refresh_token)

    def test_a_grant_ended_at_the_provider_asks_for_reconnecting(self, bench: Bench) -> None:
        consented = consent(bench)
        tokens = consented.exchange()
        bench.http.post(
            "http://simulator.test/_sim/disconnect", json={"organisation": bench.organisation}
        ).raise_for_status()
        with pytest.raises(ReconnectRequired):
            consented.oauth.refresh(tokens.refresh_token)

    def test_trouble_at_the_token_endpoint_never_disconnects(self, bench: Bench) -> None:
        consented = consent(bench)
        tokens = consented.exchange()
        token_path = bench.simulator.oauth_rules.token_path.split("<")[0]
        for kind in ("status", "drop_before"):
            fault = {"match": f"POST {token_path}", "kind": kind}
            bench.http.post("http://simulator.test/_sim/faults", json=fault).raise_for_status()
            with pytest.raises(ConnectorError) as caught:
                consented.oauth.refresh(tokens.refresh_token)
            assert not isinstance(caught.value, ReconnectRequired)
        assert consented.oauth.refresh(tokens.refresh_token).access_token

    def test_revoking_ends_the_grant(self, bench: Bench) -> None:
        consented = consent(bench)
        tokens = consented.exchange()
        consented.oauth.revoke(tokens)
        if self.parts().manifest.auth.revoke is None:
            return
        with pytest.raises(ReconnectRequired):
            consented.oauth.refresh(tokens.refresh_token)
