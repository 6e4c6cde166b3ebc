"""HTTP to one QuickBooks company: queries, batches and the consent."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import httpx

from connectors.providers.quickbooks.faults import THROTTLE_SECONDS, fault_of, refusal
from connectors.providers.quickbooks.manifest import BATCH_SIZE, MANIFEST, MINOR_VERSION
from connectors.providers.quickbooks.reports import trial_balance as read_trial_balance
from connectors.providers.quickbooks.reports import year_begins
from connectors.sdk.client import Access, Client, dump_json, parse_json, retry_after
from connectors.sdk.errors import (
    ConfigurationError,
    ConnectorError,
    OutcomeUnknown,
    ReconnectRequired,
    TransientError,
    UnexpectedResponse,
)
from connectors.sdk.oauth import OAuth, Organisation, TokenSet
from connectors.sdk.reports import TrialBalance

Json = dict[str, Any]
T = TypeVar("T")


class QuickBooksClient(Client):
    """One company file. `seen` keeps ids looked up before, so that a name is asked for once per client."""

    manifest = MANIFEST
    timeout_seconds = 90.0

    def __init__(self, access: Access, http: httpx.Client | None = None) -> None:
        super().__init__(access, http)
        self.seen: dict[str, dict[str, Json]] = {}
        self.fully_read: set[str] = set()

    def headers(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def read_error(self, response: httpx.Response) -> ConnectorError | None:
        """QuickBooks puts a fault into any status, 200 included."""
        if response.status_code < 400 and not _starts_with_fault(response.content):
            return None
        if response.status_code >= 500:
            return None
        try:
            fault = fault_of(parse_json(response.content))
        except ValueError:
            fault = None
        if fault is None and response.status_code == 429:
            fault = {"type": "THROTTLE", "errors": []}
        pause = retry_after(response, THROTTLE_SECONDS)
        return None if fault is None else refusal(fault, status=response.status_code, pause=pause)

    def company_path(self, tail: str) -> str:
        return f"/v3/company/{self.access.organisation_id}/{tail}"

    def trial_balance(self, as_of: dt.date) -> TrialBalance:
        """Of the financial year so far: QuickBooks works income and expenses out between two days."""
        company = self.query("select * from CompanyInfo").get("CompanyInfo", [{}])[0]
        start = year_begins(as_of, str(company.get("FiscalYearStartMonth", "")))
        answer = self.request(
            "GET",
            "api",
            self.company_path("reports/TrialBalance"),
            params={
                "start_date": start.isoformat(),
                "end_date": as_of.isoformat(),
                "accounting_method": "Accrual",
                "minorversion": MINOR_VERSION,
            },
        )
        return read_trial_balance(answer, as_of)

    def query(self, statement: str) -> Json:
        """One page of one query; `QueryResponse` without rows when nothing matches."""
        answer = self.request(
            "POST",
            "api",
            self.company_path("query"),
            params={"minorversion": MINOR_VERSION},
            headers={"Content-Type": "application/text"},
            content=statement.encode(),
        )
        return _part(answer, "QueryResponse") | {"time": answer.get("time", "")}

    def queries(self, statements: Sequence[str]) -> list[Json]:
        """Several queries in one call."""
        items = [{"bId": str(number), "Query": statement} for number, statement in enumerate(statements, 1)]
        results, answered_at = self._batch(batch_content(items), _ids(items), {}, is_write=False)
        for result in results:
            fault = fault_of(result)
            if fault is not None:
                raise refusal(fault, status=200)
        return [_part(result, "QueryResponse") | {"time": answered_at} for result in results]

    def changes(self, entities: Sequence[str], since: str) -> tuple[dict[str, list[Json]], str]:
        """The change feed: changed and deleted objects by entity, and when QuickBooks answered."""
        answer = self.request(
            "GET",
            "api",
            self.company_path("cdc"),
            params={"entities": ",".join(entities), "changedSince": since, "minorversion": MINOR_VERSION},
        )
        found: dict[str, list[Json]] = {entity: [] for entity in entities}
        for block in _change_blocks(answer):
            for entity in entities:
                found[entity] += block.get(entity, [])
        return found, str(answer["time"])

    def write(self, items: Sequence[Json], *, key: str) -> list[Json]:
        """Up to 30 operations in one idempotent call; one result an operation, in order."""
        return self.send(batch_content(items), _ids(items), key=key)

    def send(self, content: bytes, ids: Sequence[str], *, key: str) -> list[Json]:
        """The same for the bytes of a batch, whose operations have these ids."""
        results, _ = self._batch(content, ids, {"requestid": request_id(key)}, is_write=True)
        return results

    def _batch(
        self, content: bytes, ids: Sequence[str], params: Mapping[str, str], *, is_write: bool
    ) -> tuple[list[Json], str]:
        if len(ids) > BATCH_SIZE:
            raise ValueError(f"QuickBooks takes {BATCH_SIZE} operations a batch, not {len(ids)}.")
        answer = self.request(
            "POST",
            "api",
            self.company_path("batch"),
            is_write=is_write,
            spends={"call": 1, "batch": 1},
            params={"minorversion": MINOR_VERSION, **params},
            headers={"Content-Type": "application/json"},
            content=content,
        )
        results = {result.get("bId"): result for result in (answer or {}).get("BatchItemResponse", [])}
        missing = [id for id in ids if id not in results]
        if missing:
            raise incomplete(is_write, f"no result for {missing}")
        return [results[id] for id in ids], str(answer.get("time", ""))

    def remember(self, kind: str, rows: Mapping[str, Json]) -> None:
        self.seen.setdefault(kind, {}).update(rows)

    def known(self, kind: str) -> dict[str, Json]:
        return self.seen.setdefault(kind, {})


def batch_content(items: Sequence[Json]) -> bytes:
    """The body of a batch of these operations."""
    return dump_json({"BatchItemRequest": items})


def _ids(items: Sequence[Json]) -> list[str]:
    return [item["bId"] for item in items]


def incomplete(is_write: bool, detail: str) -> ConnectorError:
    if is_write:
        return OutcomeUnknown(
            "QuickBooks did not confirm a write; it is looked up before anything is repeated.", detail=detail
        )
    return UnexpectedResponse("QuickBooks left part of a request unanswered.", detail=detail)


def _part(answer: Any, name: str) -> Json:
    part = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(part, dict):
        raise UnexpectedResponse("QuickBooks answered in a way we do not understand.", detail=f"{name} is missing")
    return part


def _change_blocks(answer: Any) -> list[Json]:
    """A feed without its blocks, or with a fault in one of them, must not pass for a feed without changes."""
    try:
        blocks: list[Json] = [block for response in answer["CDCResponse"] for block in response["QueryResponse"]]
        faulty = [block for block in blocks if fault_of(block)]
    except (KeyError, TypeError) as error:
        raise UnexpectedResponse("QuickBooks answered in a way we do not understand.", detail=repr(error)) from error
    if faulty or not answer.get("time"):
        raise UnexpectedResponse("QuickBooks left part of a request unanswered.", detail=repr(faulty)[:300])
    return blocks


def _starts_with_fault(body: bytes) -> bool:
    return body.lstrip()[:12].lower().startswith((b'{"fault"', b'{ "fault"'))


def request_id(key: str) -> str:
    """Our key in the 50 characters QuickBooks allows."""
    limit = MANIFEST.idempotency.max_length if MANIFEST.idempotency else 0
    return key if len(key) <= limit else hashlib.sha256(key.encode()).hexdigest()[:limit]


def quoted(value: str) -> str:
    """A string literal of the query language."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quoted_list(values: Sequence[str]) -> str:
    return "(" + ", ".join(quoted(value) for value in values) + ")"


def portions(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


class QuickBooksOAuth(OAuth):
    """Intuit's consent page asks for the company and names it only in the callback's `realmId`."""

    def check_callback(self, params: Mapping[str, str]) -> None:
        if not params.get("realmId", "").isdigit():
            raise ConfigurationError("QuickBooks did not say which company was chosen. Connect again.")

    def organisations(self, tokens: TokenSet, params: Mapping[str, str]) -> list[Organisation]:
        self.check_callback(params)
        realm = params["realmId"]
        company, preferences = self._describe(tokens, realm)
        currency = preferences.get("CurrencyPrefs", {}).get("HomeCurrency", {}).get("value", "")
        return [
            Organisation(
                id=realm,
                name=str(company.get("CompanyName", realm)),
                base_currency=str(currency),
                country=str(company.get("Country", "")),
            )
        ]

    def _describe(self, tokens: TokenSet, realm: str) -> tuple[Json, Json]:
        items = [
            {"bId": "1", "Query": "select * from CompanyInfo"},
            {"bId": "2", "Query": "select * from Preferences"},
        ]
        response = self.ask(
            "POST",
            self.url(("api", f"/v3/company/{realm}/batch")),
            params={"minorversion": MINOR_VERSION},
            headers={
                "Authorization": f"Bearer {tokens.access_token}",
                "Accept": "application/json",
                "Content-Type": "application/json",
            },
            content=dump_json({"BatchItemRequest": items}),
        )
        first, second = _company_answers(response)
        return first.get("CompanyInfo", [{}])[0], second.get("Preferences", [{}])[0]

    def revoke(self, tokens: TokenSet) -> None:
        """Intuit takes JSON here; a token it no longer knows (400) is as good as revoked."""
        if self.manifest.auth.revoke is None:
            return
        response = self.ask(
            "POST",
            self.url(self.manifest.auth.revoke),
            content=dump_json({"token": tokens.refresh_token or tokens.access_token}),
            auth=httpx.BasicAuth(self.keys.client_id, self.keys.client_secret),
            headers={"Accept": "application/json", "Content-Type": "application/json"},
        )
        if response.status_code >= 500 or response.status_code == 429:
            raise TransientError("QuickBooks could not end the connection yet.")


def _company_answers(response: httpx.Response) -> tuple[Json, Json]:
    if response.status_code in (401, 403):
        raise ReconnectRequired("QuickBooks did not let this person open the company. Connect as an administrator.")
    if response.status_code >= 400:
        raise TransientError("QuickBooks could not describe the company.", detail=str(response.status_code))
    try:
        results = parse_json(response.content)["BatchItemResponse"]
        return _part(results[0], "QueryResponse"), _part(results[1], "QueryResponse")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UnexpectedResponse("QuickBooks described the company in a way we do not understand.") from error


CLIENT = QuickBooksClient
OAUTH = QuickBooksOAuth
