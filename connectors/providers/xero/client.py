"""HTTP to Xero: its headers, its error bodies, its allowance, and the consent of an organisation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import httpx

from connectors.providers.xero.manifest import MANIFEST, TRIAL_BALANCE
from connectors.providers.xero.refusals import messages_of, refusal
from connectors.providers.xero.reports import trial_balance as read_trial_balance
from connectors.sdk.client import Client, dump_json, parse_json, retry_after
from connectors.sdk.errors import (
    ConfigurationError,
    ConnectorError,
    RateLimited,
    ReconnectRequired,
    RecordRejected,
    TransientError,
    UnexpectedResponse,
)
from connectors.sdk.manifest import Manifest
from connectors.sdk.oauth import OAuth, Organisation, TokenSet
from connectors.sdk.reports import TrialBalance

API = "/api.xro/2.0"

LIMIT_SENTENCES = {
    "day": "Xero's daily number of calls for this organisation is used up. Work goes on by itself.",
    "appminute": "All Xero connections together were too busy for a moment.",
}


class XeroClient(Client):
    manifest: ClassVar[Manifest] = MANIFEST

    def headers(self, token: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {token}",
            "xero-tenant-id": self.access.organisation_id,
            "Accept": "application/json",  # Xero answers XML unless told
        }

    def get(self, path: str, params: Mapping[str, Any], modified_since: str = "") -> dict[str, Any]:
        """One read. Raises `UnexpectedResponse` on anything but an object."""
        headers = {"If-Modified-Since": modified_since} if modified_since else {}
        answer = self.request("GET", "api", API + path, params=dict(params), headers=headers)
        return _object(answer)

    def trial_balance(self, as_of: dt.date) -> TrialBalance:
        """Needs a consent of its own, which connections from before it was asked for do not have."""
        try:
            answer = self.get("/Reports/TrialBalance", {"date": as_of.isoformat()})
        except ConfigurationError as error:
            raise ConfigurationError(
                f"The consent “{TRIAL_BALANCE.words}” ({TRIAL_BALANCE.name}) is missing. Reconnect Xero and allow it.",
                detail=error.detail,
            ) from error
        return read_trial_balance(answer, as_of)

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes,
        params: Mapping[str, Any],
        *,
        key: str,
        reads: Callable[[bytes], Any] = parse_json,
    ) -> dict[str, Any]:
        """One write, which Xero recognises when it is repeated with the same `key` within its window. A body in bytes goes out as it
        is; `reads` parses the answer and raises ValueError."""
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key[:128]
        answer = self.request(
            method,
            "api",
            API + path,
            is_write=True,
            params=dict(params),
            headers=headers,
            content=body if isinstance(body, bytes) else dump_json(body),
        )
        try:
            found = reads(answer)
        except ValueError as error:
            raise self._unreadable("did not answer with readable JSON.", repr(answer[:200]), is_write=True) from error
        if not isinstance(found, dict):
            raise self._lost_answer(True, repr(found)[:200])
        return found

    def parse(self, response: httpx.Response, is_write: bool) -> Any:
        """The answer to a write is parsed by `send`."""
        return response.content if is_write else super().parse(response, is_write)

    def read_error(self, response: httpx.Response) -> ConnectorError | None:
        self._report_allowance(response)
        status = response.status_code
        if status == 429:
            return _slow_down(response)
        if status not in (400, 401, 403, 404):
            return None
        body = _error_body(response)
        if status in (401, 403):
            return _denied(status, str(body.get("Detail", "")))
        if status == 404:
            return RecordRejected(
                "Xero no longer has this record.", code="missing_reference", detail=response.text[:300]
            )
        return _bad_request(body)

    def _report_allowance(self, response: httpx.Response) -> None:
        """Every answer says what is left of this minute; all workers share it."""
        left = response.headers.get("x-minlimit-remaining", "")
        if left.isdigit():
            self.access.budget.report("call", int(left), 1.0)


class XeroOAuth(OAuth):
    """Xero's own page asks for the organisation, but lists every one this person ever connected."""

    def organisations(self, tokens: TokenSet, params: Mapping[str, str]) -> list[Organisation]:
        response = self.ask(
            "GET",
            self.url(("api", "/connections")),
            headers={"Authorization": f"Bearer {tokens.access_token}", "Accept": "application/json"},
        )
        if response.status_code >= 500 or response.status_code == 429:
            raise TransientError("Xero could not list your organisations yet.", detail=str(response.status_code))
        if response.status_code >= 400:
            raise ReconnectRequired("Xero no longer accepts this consent. Please start again.")
        return [
            Organisation(id=str(item["tenantId"]), name=str(item.get("tenantName", "")))
            for item in _connections(response)
            if item.get("tenantType") == "ORGANISATION"
        ]


def _connections(response: httpx.Response) -> list[dict[str, Any]]:
    try:
        found = parse_json(response.content)
    except ValueError as error:
        raise UnexpectedResponse("Xero did not answer with readable JSON.") from error
    if not isinstance(found, list):
        raise UnexpectedResponse("Xero did not list the organisations.")
    return found


def _object(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise UnexpectedResponse("Xero answered with something else than an object.", detail=repr(answer)[:200])
    return answer


def rows_of(answer: Mapping[str, Any], list_key: str) -> list[dict[str, Any]]:
    """The list inside an answer. An answer without it says nothing; it must not pass for an empty list."""
    rows = answer.get(list_key)
    if not isinstance(rows, list):
        raise UnexpectedResponse("Xero answered without the list that was asked for.", detail=f"no {list_key}")
    return rows


def _error_body(response: httpx.Response) -> dict[str, Any]:
    try:
        body = parse_json(response.content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _slow_down(response: httpx.Response) -> RateLimited:
    problem = response.headers.get("x-rate-limit-problem", "").lower()
    sentence = LIMIT_SENTENCES.get(problem, "Xero asked us to slow down.")
    return RateLimited(sentence, retry_after=retry_after(response), detail=f"429 {problem}")


def _denied(status: int, detail: str) -> ConnectorError | None:
    """Authorization: a scope is missing; authentication with 403: the organisation disconnected us."""
    if detail == "AuthorizationUnsuccessful":
        return ConfigurationError(
            "This connection may not do that in Xero. Reconnect and allow all that is asked.",
            detail=detail,
        )
    if status == 403 and detail == "AuthenticationUnsuccessful":
        return ReconnectRequired("This organisation was disconnected in Xero. Reconnect to go on.", detail=detail)
    return None


def _bad_request(body: Mapping[str, Any]) -> ConnectorError | None:
    """A validation refusal names its reasons; any other bad request is a fault of ours."""
    elements = body.get("Elements") or []
    said = [text for element in elements if isinstance(element, dict) for text in messages_of(element)]
    if said or body.get("Type") == "ValidationException":
        return refusal(said or [str(body.get("Message", ""))], detail=str(body.get("Type", "")))
    if body.get("Message"):
        return UnexpectedResponse("Xero did not understand our request.", detail=str(body["Message"])[:300])
    return None


CLIENT = XeroClient
OAUTH = XeroOAuth
