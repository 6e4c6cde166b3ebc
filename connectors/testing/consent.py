"""The OAuth endpoints every simulator has: consent, token, revocation. Every step can be overridden."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit

from werkzeug import Request, Response

from connectors.sdk.oauth import ConnectorKeys
from connectors.testing.consent_page import consent_page
from connectors.testing.oauth_server import Grant, OAuthRefusal, OAuthRules, OAuthServer
from connectors.testing.routing import Refused, json_body, json_response
from connectors.testing.store import Body

ASKED = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
)
SIMULATED_PERSON = "person-1"


class Consent(ABC):
    """Mixed into `Simulator`."""

    name: ClassVar[str]
    oauth_rules: ClassVar[OAuthRules]
    keys: ConnectorKeys
    oauth: OAuthServer

    @abstractmethod
    def organisations(self) -> list[Body]:
        """What a person may choose from."""

    @abstractmethod
    def on_disconnected(self, grant: Grant) -> None:
        """A grant has ended."""

    def authorize_page(self, request: Request, **path: str) -> Response:
        """What the person sees."""
        asked = self._asked(request.args)
        page = consent_page(
            provider=self.name,
            asks=f"“{asked['client_id']}”",
            scopes=self._scopes(asked),
            organisations=self.organisations() if self.oauth_rules.picks_organisation else [],
            hidden=asked,
        )
        policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        return Response(page, headers=headers, content_type="text/html; charset=utf-8")

    def authorize_decision(self, request: Request, **path: str) -> Response:
        """What the person decided, back to the caller's redirect address."""
        asked = self._asked(request.form)
        if request.form.get("decision") != "allow":
            return self._back(asked, {"error": "access_denied"})
        organisation = self.chosen_organisation(request)
        code = self.oauth.issue_code(
            organisation=organisation,
            user=request.form.get("user", SIMULATED_PERSON),
            scopes=self._scopes(asked),
            redirect_uri=asked["redirect_uri"],
            challenge=asked.get("code_challenge", ""),
        )
        return self._back(asked, {"code": code, **self.callback_extras(organisation)})

    def token_endpoint(self, request: Request, **path: str) -> Response:
        form = json_body(request) if request.is_json else request.form
        try:
            self._check_client(request, form)
            grant, answer = self.oauth.tokens(form)
        except OAuthRefusal as refusal:
            return self.oauth_error(refusal)
        return json_response(self.token_answer(grant, answer), headers={"Cache-Control": "no-store"})

    def revoke_endpoint(self, request: Request, **path: str) -> Response:
        form = json_body(request) if request.is_json else request.form
        try:
            self._check_client(request, form)
        except OAuthRefusal as refusal:
            return self.oauth_error(refusal)
        grant = self.oauth.revoke(form.get("token", ""))
        if grant is not None:
            self.on_disconnected(grant)
        return Response("", 200)

    def chosen_organisation(self, request: Request) -> str:
        """The id the person picked, or the first one where this provider's page does not ask."""
        known = [str(found["id"]) for found in self.organisations()]
        chosen = request.form.get("organisation", known[0] if known else "")
        if chosen not in known:
            raise Refused(400, "There is no such organisation.")
        return chosen

    def callback_extras(self, organisation: str) -> dict[str, str]:
        """Parameters this provider adds to the redirect."""
        return {}

    def signed_callback(self, query: Mapping[str, str]) -> dict[str, str]:
        """The redirect's parameters as sent; override where the provider signs them."""
        return dict(query)

    def token_answer(self, grant: Grant, answer: dict[str, Any]) -> dict[str, Any]:
        """The token answer in this provider's shape."""
        return answer

    def oauth_error(self, refusal: OAuthRefusal) -> Response:
        return json_response({"error": refusal.code}, refusal.status)

    def _oauth_routes(self) -> dict[tuple[str, str], str]:
        rules = self.oauth_rules
        return {
            ("GET", rules.authorize_path): "authorize_page",
            ("POST", rules.authorize_path): "authorize_decision",
            ("POST", rules.token_path): "token_endpoint",
            ("POST", rules.revoke_path): "revoke_endpoint",
        }

    def _check_client(self, request: Request, form: Mapping[str, str]) -> None:
        basic = request.authorization
        pair = (basic.username or "", basic.password or "") if basic and basic.type == "basic" else None
        self.oauth.check_client(form, pair)

    def _asked(self, params: Mapping[str, str]) -> dict[str, str]:
        """The authorization request, checked. A wrong client or address is never redirected to."""
        asked = {name: params[name] for name in ASKED if name in params}
        if asked.get("client_id") != self.keys.client_id:
            raise Refused(400, "This client is not registered.")
        if urlsplit(asked.get("redirect_uri", "")).scheme not in ("http", "https"):
            raise Refused(400, "The redirect address is not a web address.")
        if self.oauth_rules.pkce and asked.get("code_challenge_method") != "S256":
            raise Refused(400, "A code challenge is required.")
        return asked

    def _scopes(self, asked: Mapping[str, str]) -> tuple[str, ...]:
        parts = asked.get("scope", "").split(self.oauth_rules.scope_separator)
        return tuple(part.strip() for part in parts if part.strip())

    def _back(self, asked: Mapping[str, str], params: Mapping[str, str]) -> Response:
        query = self.signed_callback({**params, **({"state": asked["state"]} if "state" in asked else {})})
        joint = "&" if "?" in asked["redirect_uri"] else "?"
        location = f"{asked['redirect_uri']}{joint}{urlencode(query)}"
        return Response("", 302, headers={"Location": location})
