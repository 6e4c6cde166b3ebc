"""HTTP to one Stripe account, and the consent that opens it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from connectors.providers.stripe.manifest import API_VERSION, MANIFEST
from connectors.sdk.client import Client, parse_json, retry_after
from connectors.sdk.errors import (
    ConfigurationError,
    ConnectorError,
    OutcomeUnknown,
    RateLimited,
    ReconnectRequired,
    RecordRejected,
    TransientError,
    UnexpectedResponse,
)
from connectors.sdk.oauth import OAuth, Organisation, TokenSet
from connectors.sdk.streams import FORM

Params = Sequence[tuple[str, str]]

# Stripe's own sentences speak to programmers; these are for the person who can put it right.
_REFUSED_VALUES = {
    "email": "Stripe does not accept the e-mail address. Correct it where the customer comes from.",
    "phone": "Stripe does not accept the phone number; it takes at most 20 characters.",
    "name": "Stripe does not accept the name; it takes at most 256 characters.",
    "address[country]": "Stripe does not know the country. It takes two-letter codes such as GB.",
}
_GONE_ACCESS = frozenset({"account_invalid", "api_key_expired", "platform_api_key_expired"})


class StripeClient(Client):
    manifest = MANIFEST

    def __init__(self, access: Any, http: httpx.Client | None = None) -> None:
        super().__init__(access, http)
        self._heard_at = 0

    @property
    def now(self) -> int:
        """The later of our clock and the one in Stripe's answers, in unix seconds."""
        return max(self._heard_at, int(time.time()))

    def headers(self, token: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {token}",
            "Stripe-Version": API_VERSION,
            "Accept": "application/json",
        }

    def get(self, path: str, params: Params = ()) -> Any:
        return self.request("GET", "api", path, params=list(params))

    def post(self, path: str, form: bytes, *, key: str = "") -> Any:
        """Send a form; `key` makes Stripe answer a repetition with its first answer for a day."""
        headers = {"Content-Type": FORM} | ({"Idempotency-Key": key} if key else {})
        return self.request("POST", "api", path, is_write=True, headers=headers, content=form)

    def delete(self, path: str) -> Any:
        return self.request("DELETE", "api", path, is_write=True)

    def parse(self, response: httpx.Response, is_write: bool) -> Any:
        self._hear(response)
        answer = super().parse(response, is_write)
        if isinstance(answer, dict) and ("object" in answer or "data" in answer):
            return answer
        if is_write:
            raise self._lost_answer(True, response.text[:200])
        raise UnexpectedResponse("Stripe answered with something else than an object.", detail=response.text[:200])

    def read_error(self, response: httpx.Response) -> ConnectorError | None:
        if response.status_code < 400:
            return None
        error = _error_of(response)
        if error is None:
            return None
        return _refusal(response, error)

    def _hear(self, response: httpx.Response) -> None:
        """Note the time Stripe tells; proxies may add a line of their own, so the latest counts."""
        for line in response.headers.get_list("date"):
            try:
                self._heard_at = max(self._heard_at, int(parsedate_to_datetime(line).timestamp()))
            except ValueError:
                continue


def _error_of(response: httpx.Response) -> Mapping[str, Any] | None:
    """Stripe's error object, if the answer has one."""
    try:
        answer = parse_json(response.content)
    except ValueError:
        return None
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, dict) else None


def _refusal(response: httpx.Response, error: Mapping[str, Any]) -> ConnectorError | None:
    """What Stripe's status and code mean for the person; None leaves the status to its standard meaning."""
    status, code = response.status_code, str(error.get("code") or "")
    detail = f"HTTP {status} {error.get('type')} {code}: {str(error.get('message'))[:300]}"
    if status == 429 or code == "rate_limit":
        pause = retry_after(response, default=0.5 if code == "lock_timeout" else 1.0)
        return RateLimited("Stripe asked us to slow down.", retry_after=pause, detail=detail)
    if status == 401 or code in _GONE_ACCESS:
        return ReconnectRequired("Stripe no longer accepts this connection. Reconnect to go on.", detail=detail)
    if status == 403:
        return ConfigurationError(
            "Stripe does not let this connection do that. Reconnect and accept every permission asked for.",
            detail=detail,
        )
    if status == 409:
        return OutcomeUnknown("Stripe is still working on the same request; it is looked up first.", detail=detail)
    if status >= 500:
        return None
    return _refused_record(status, code, error, detail)


def _refused_record(status: int, code: str, error: Mapping[str, Any], detail: str) -> ConnectorError:
    param, message = str(error.get("param") or ""), str(error.get("message") or "")
    if error.get("type") == "idempotency_error":
        return UnexpectedResponse("We used one key for two different requests to Stripe.", detail=detail)
    if code == "resource_missing":
        return RecordRejected("Stripe no longer has this record.", code="missing_reference", detail=detail)
    if code == "email_invalid":
        param = "email"
    if param in _REFUSED_VALUES:
        return RecordRejected(_REFUSED_VALUES[param], detail=detail)
    if status == 404:
        return UnexpectedResponse("Stripe does not know what we asked for.", detail=detail)
    return RecordRejected(f"Stripe refused this record and says: {message[:300]}", detail=detail)


class StripeOAuth(OAuth):
    """Installing a Stripe app: our secret key proves us, and the permissions are those of the app's listing."""

    def authorize_url(self, *, redirect_uri: str, state: str, verifier: str) -> str:
        query = {"client_id": self.keys.client_id, "redirect_uri": redirect_uri, "state": state}
        return f"{self.url(self.manifest.auth.authorize)}?{httpx.QueryParams(query)}"

    def exchange(self, params: Mapping[str, str], *, redirect_uri: str, verifier: str) -> TokenSet:
        return self._token({"grant_type": "authorization_code", "code": params["code"]})

    def token_set(self, answer: Mapping[str, Any]) -> TokenSet:
        """Stripe names neither lifetimes nor permissions: an installed app has all it listed."""
        tokens = super().token_set(answer)
        days = self.manifest.auth.refresh_days
        return TokenSet(
            access_token=tokens.access_token,
            expires_in=tokens.expires_in,
            refresh_token=tokens.refresh_token,
            refresh_expires_in=days * 86_400 if days else None,
            scopes=tuple(scope.name for scope in self.manifest.auth.scopes),
            answer=answer,
        )

    def organisations(self, tokens: TokenSet, params: Mapping[str, str]) -> list[Organisation]:
        account_id = str(tokens.answer.get("stripe_user_id") or "")
        if not account_id:
            raise UnexpectedResponse("Stripe did not say which account was connected.")
        if self.environment == "production" and tokens.answer.get("livemode") is False:
            raise ConfigurationError(
                "This is a Stripe sandbox, which must not reach real books. Connect the live account."
            )
        account = self._account(tokens)
        return [
            Organisation(
                id=account_id,
                name=account_name(account),
                base_currency=str(account.get("default_currency") or "").upper(),
                country=str(account.get("country") or ""),
            )
        ]

    def _account(self, tokens: TokenSet) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {tokens.access_token}", "Stripe-Version": API_VERSION}
        response = self.ask("GET", self.url(("api", "/v1/account")), headers=headers)
        if response.status_code >= 400:
            raise TransientError("Stripe did not tell us about the account yet.", detail=str(response.status_code))
        try:
            account = parse_json(response.content)
        except ValueError as error:
            raise UnexpectedResponse("Stripe did not answer with readable JSON.") from error
        if not isinstance(account, dict):
            raise UnexpectedResponse("Stripe did not describe the account.")
        return account

    def _post(self, endpoint: tuple[str, str], form: Mapping[str, str]) -> httpx.Response:
        """The secret key alone identifies us, as the user name of basic authorisation."""
        auth = httpx.BasicAuth(self.keys.client_secret, "")
        return self.ask("POST", self.url(endpoint), data=dict(form), auth=auth, headers={"Accept": "application/json"})


def account_name(account: Mapping[str, Any]) -> str:
    """What the business calls itself in Stripe, or its e-mail address, or its id."""
    profile = account.get("business_profile") or {}
    dashboard = (account.get("settings") or {}).get("dashboard") or {}
    return str(profile.get("name") or dashboard.get("display_name") or account.get("email") or account.get("id", ""))


CLIENT = StripeClient
OAUTH = StripeOAuth
