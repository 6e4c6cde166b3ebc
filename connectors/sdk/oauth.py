"""The authorization-code grant, written once; a provider overrides what it does differently."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from connectors.sdk.client import parse_json
from connectors.sdk.egress import Egress
from connectors.sdk.errors import ConfigurationError, ReconnectRequired, TransientError, UnexpectedResponse
from connectors.sdk.exchange import exchange, http_client
from connectors.sdk.manifest import Manifest

TOKEN_TIMEOUT_SECONDS = 10.0
MAX_TOKEN_ANSWER_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Organisation:
    """A company file at the provider the person may connect."""

    id: str
    name: str
    base_currency: str = ""
    country: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class TokenSet:
    """What the token endpoint answered; lifetimes in seconds from now. Never shown: `repr` is masked."""

    access_token: str
    expires_in: int
    refresh_token: str = ""
    refresh_expires_in: int | None = None
    scopes: tuple[str, ...] = ()
    answer: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"TokenSet(expires_in={self.expires_in}, scopes={self.scopes})"


@dataclass(frozen=True, kw_only=True, repr=False)
class ConnectorKeys:
    """Our own registration at the provider."""

    client_id: str
    client_secret: str
    webhook_secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ConnectorKeys(client_id={self.client_id!r})"


class OAuth:
    """One provider's consent flow in one environment.

    `settings` are what the tenant typed before the consent. `simulator` stands in for every host when set.
    """

    def __init__(
        self,
        manifest: Manifest,
        keys: ConnectorKeys,
        *,
        environment: str,
        simulator: str = "",
        settings: Mapping[str, str] | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self.manifest = manifest
        self.keys = keys
        self.environment = environment
        self.simulator = simulator
        self.settings = dict(settings or {})
        self.http = http or http_client(TOKEN_TIMEOUT_SECONDS, Egress(manifest, simulator=lambda: simulator))

    def organisation_in_url(self) -> str:
        """What `{organisation}` in a host stands for before a connection exists."""
        return ""

    def url(self, endpoint: tuple[str, str]) -> str:
        host, path = endpoint
        return (
            self.manifest.base_url(
                host, self.environment, organisation=self.organisation_in_url(), simulator=self.simulator
            )
            + path
        )

    def authorize_url(self, *, redirect_uri: str, state: str, verifier: str) -> str:
        """Where to send the person; `verifier` is used only where the provider has PKCE."""
        auth = self.manifest.auth
        query = {
            "response_type": "code",
            "client_id": self.keys.client_id,
            "redirect_uri": redirect_uri,
            "scope": auth.scope_separator.join(scope.name for scope in auth.scopes),
            "state": state,
        }
        if auth.uses_pkce:
            query |= {"code_challenge": challenge_of(verifier), "code_challenge_method": "S256"}
        return f"{self.url(auth.authorize)}?{urlencode(query)}"

    def check_issuer(self, params: Mapping[str, str]) -> None:
        """A provider that names itself in the callback (RFC 9207) must be this one: another's code is never sent here, nor this one's to
        another. Raises `ConfigurationError`."""
        issuer, auth = params.get("iss", ""), self.manifest.auth
        if issuer and urlsplit(issuer)[:2] not in {urlsplit(self.url(end))[:2] for end in (auth.authorize, auth.token)}:
            raise ConfigurationError(f"This answer does not come from {self.manifest.name}. Start connecting again.")

    def check_callback(self, params: Mapping[str, str]) -> None:
        """Provider-specific proof that the callback is genuine. Raises `ConfigurationError`."""

    def exchange(self, params: Mapping[str, str], *, redirect_uri: str, verifier: str) -> TokenSet:
        """Turn the callback's code into tokens."""
        form = {"grant_type": "authorization_code", "code": params["code"], "redirect_uri": redirect_uri}
        if self.manifest.auth.uses_pkce:
            form["code_verifier"] = verifier
        return self._token(form)

    def refresh(self, refresh_token: str) -> TokenSet:
        """Raises `ReconnectRequired` when the provider says the grant is gone, `TransientError` when it cannot say."""
        return self._token({"grant_type": "refresh_token", "refresh_token": refresh_token})

    def revoke(self, tokens: TokenSet) -> None:
        """End the grant at the provider. Providers without a revocation endpoint need an override or do nothing."""
        if self.manifest.auth.revoke is None:
            return
        response = self._post(self.manifest.auth.revoke, {"token": tokens.refresh_token or tokens.access_token})
        if response.status_code >= 500:
            raise TransientError(f"{self.manifest.name} could not end the connection yet.")

    def organisations(self, tokens: TokenSet, params: Mapping[str, str]) -> list[Organisation]:
        """What the person may choose from; one entry when the provider's page already asked."""
        raise ConfigurationError(f"{self.manifest.name} named no organisation.")

    def _post(self, endpoint: tuple[str, str], form: Mapping[str, str]) -> httpx.Response:
        body = dict(form)
        auth: httpx.Auth = httpx.Auth()
        if self.manifest.auth.client_auth == "basic":
            auth = httpx.BasicAuth(self.keys.client_id, self.keys.client_secret)
        else:
            body |= {"client_id": self.keys.client_id, "client_secret": self.keys.client_secret}
        return self.ask("POST", self.url(endpoint), data=body, auth=auth, headers={"Accept": "application/json"})

    def ask(self, method: str, url: str, **kwargs: Any) -> httpx.Response:
        """One bounded call outside any connection. Raises `TransientError` when there is no whole answer."""
        try:
            return exchange(
                self.http, method, url, seconds=TOKEN_TIMEOUT_SECONDS, most_bytes=MAX_TOKEN_ANSWER_BYTES, **kwargs
            )
        except httpx.HTTPError as error:
            raise TransientError(
                f"{self.manifest.name} cannot be reached at the moment.", detail=repr(error)
            ) from error

    def _token(self, form: Mapping[str, str]) -> TokenSet:
        return self.read_tokens(self._post(self.manifest.auth.token, form))

    def read_tokens(self, response: httpx.Response) -> TokenSet:
        """The token answer or the right error. Only `invalid_grant` means the grant is gone."""
        name = self.manifest.name
        if response.status_code >= 500 or response.status_code == 429:
            raise TransientError(f"{name} cannot renew the connection at the moment.", detail=str(response.status_code))
        try:
            answer = parse_json(response.content)
        except ValueError as error:
            raise UnexpectedResponse(f"{name} did not answer with readable JSON.") from error
        if not isinstance(answer, dict):
            raise UnexpectedResponse(f"{name} answered the token call with something else.")
        if answer.get("error") == "invalid_grant":
            raise ReconnectRequired(
                f"{name} no longer accepts this connection. Reconnect to go on.", detail="invalid_grant"
            )
        if response.status_code >= 400 or "access_token" not in answer:
            raise ConfigurationError(f"{name} refused our registration.", detail=str(answer.get("error", ""))[:200])
        return self.token_set(answer)

    def token_set(self, answer: Mapping[str, Any]) -> TokenSet:
        auth = self.manifest.auth
        granted = str(answer.get("scope", ""))
        return TokenSet(
            access_token=str(answer["access_token"]),
            expires_in=int(answer.get("expires_in", auth.access_seconds)),
            refresh_token=str(answer.get("refresh_token", "")),
            scopes=tuple(part for part in granted.replace(",", " ").split() if part),
            answer=answer,
        )


def new_verifier() -> str:
    """A PKCE code verifier of full entropy."""
    return secrets.token_urlsafe(48)


def challenge_of(verifier: str) -> str:
    """The S256 challenge of RFC 7636."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
