"""HTTP to one shop: GraphQL over POST, Shopify's point budget and its error bodies."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import httpx

from connectors.providers.shopify.manifest import API_VERSION, MANIFEST
from connectors.providers.shopify.nodes import LINE, Line
from connectors.providers.shopify.oauth import ShopifyOAuth
from connectors.sdk.client import Client, dump_json, parse_json
from connectors.sdk.errors import (
    ConfigurationError,
    ConnectorError,
    RateLimited,
    ReconnectRequired,
    TransientError,
    UnexpectedResponse,
)
from connectors.sdk.exchange import deadline

GRAPHQL = f"/admin/api/{API_VERSION}/graphql.json"
PART_BYTES, IN_MEMORY_BYTES, LINES_BYTES = 24 * 1024 * 1024, 4 * 1024 * 1024, 64 * 1024
LARGEST_FILE_BYTES = 4 * 1024**3
DOWNLOAD_SECONDS = 120.0

_DENIED = "Shopify does not let this connection read or change that. Reconnect and allow everything that is asked for."
_REFUSALS: dict[int, ConnectorError] = {
    402: ConfigurationError(
        "The shop is frozen because its Shopify plan is unpaid. Its owner can settle it in Shopify."
    ),
    403: ConfigurationError(_DENIED),
    404: ReconnectRequired(
        "Shopify knows no shop with this address any more. Reconnect with the shop's current address."
    ),
    423: ConfigurationError("Shopify has locked this shop. Its owner can ask Shopify's support why."),
}


class InvalidVariables(UnexpectedResponse):
    """A value is of a kind Shopify's schema does not know, such as a country that does not exist."""


class FileGone(TransientError):
    """The address of a bulk operation's file is no longer good; the operation knows a new one, or is over."""


class ShopifyClient(Client):
    manifest = MANIFEST

    def url(self, host: str, path: str) -> str:
        if not self.access.simulator:
            return super().url(host, path)
        return f"{self.access.simulator.rstrip('/')}/shops/{self.access.organisation_id}{path}"

    def headers(self, token: str) -> dict[str, str]:
        return {"X-Shopify-Access-Token": token, "Accept": "application/json"}

    def graphql(
        self, query: str, variables: Mapping[str, Any] | None = None, *, cost: int, is_write: bool = False
    ) -> Any:
        """The `data` of one query or mutation."""
        return self.send(graphql_content(query, variables or {}), cost=cost, is_write=is_write)

    def send(self, content: bytes, *, cost: int, is_write: bool) -> Any:
        """The same for one that is written out."""
        headers, spends = {"Content-Type": "application/json"}, {"cost": cost}
        return self.request(
            "POST", "admin", GRAPHQL, is_write=is_write, spends=spends, headers=headers, content=content
        )

    def read_error(self, response: httpx.Response) -> ConnectorError | None:
        if response.status_code in _REFUSALS:
            refusal = _REFUSALS[response.status_code]
            return type(refusal)(refusal.user_message, detail=response.text[:300])
        if response.status_code != 200 or b'"errors"' not in response.content:
            return None
        return self._graphql_error(response)

    def standard_error(self, response: httpx.Response, is_write: bool) -> ConnectorError | None:
        """Shopify's own fault comes as an error inside a good answer, too."""
        if response.status_code == 200 and "INTERNAL_SERVER_ERROR" in _codes(response):
            return self._lost_answer(is_write, response.text[:300])
        return super().standard_error(response, is_write)

    def parse(self, response: httpx.Response, is_write: bool) -> Any:
        answer = super().parse(response, is_write)
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
            detail = response.text[:200]
            if is_write:
                raise self._lost_answer(True, detail)
            raise UnexpectedResponse("Shopify answered without any data.", detail=detail)
        self._report(answer)
        return answer["data"]

    def _graphql_error(self, response: httpx.Response) -> ConnectorError | None:
        codes = _codes(response)
        detail = response.text[:500]
        if "THROTTLED" in codes:
            return RateLimited("Shopify asked us to slow down.", retry_after=self._pause(response), detail=detail)
        if "ACCESS_DENIED" in codes:
            return ConfigurationError(_DENIED, detail=detail)
        if "SHOP_INACTIVE" in codes:
            return ConfigurationError("This shop is closed or paused in Shopify.", detail=detail)
        if "INVALID_VARIABLE" in codes:
            return InvalidVariables("Shopify does not know one of these values, such as the country.", detail=detail)
        if codes and "INTERNAL_SERVER_ERROR" not in codes:
            return UnexpectedResponse("Shopify did not understand a question we asked.", detail=detail)
        return None

    def _pause(self, response: httpx.Response) -> float:
        """Seconds until the bucket holds what the throttled query asked for."""
        answer = parse_json(response.content)
        self._report(answer)
        cost = answer.get("extensions", {}).get("cost", {})
        status = cost.get("throttleStatus", {})
        missing = float(cost.get("requestedQueryCost", 0)) - float(status.get("currentlyAvailable", 0))
        return max(0.1, missing / float(status.get("restoreRate") or 50))

    def _report(self, answer: Mapping[str, Any]) -> None:
        status = answer.get("extensions", {}).get("cost", {}).get("throttleStatus")
        if status:
            remaining, rate = int(status["currentlyAvailable"]), float(status["restoreRate"])
            self.access.budget.report("cost", remaining, rate)

    def download(self, url: str, at: int = 0) -> Iterator[tuple[int, str, Line]]:
        """The rows of a bulk operation's file from byte `at` on: the place of the row after it, its text, and what it belongs to.
        The file lies outside the shop and is fetched without our token, a part at a time, so that going on in the middle costs one
        part. Raises `FileGone`."""
        while True:
            with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as file:
                size = self._fetched(url, at, file)
                began = at
                file.seek(0)
                for lines in _lines(file, at, size):
                    for length, text, line in _told(lines):
                        at += length
                        yield at, text, line
            if at >= size:
                return
            if at == began:  # a part without the end of any row
                raise TransientError("Shopify's file is not complete.", detail=f"{at} of {size} bytes")

    def _fetched(self, url: str, at: int, file: IO[bytes]) -> int:
        """Put the part that begins at `at` into `file`. Answers the size of the whole. Raises `TransientError` when it was tried
        often enough."""
        started_at, failures = time.monotonic(), 0
        while (size := self._part(url, at, file, failures := failures + 1, started_at)) is None:
            file.seek(0)
            file.truncate()
        return size

    def _part(self, url: str, at: int, file: IO[bytes], failures: int, started_at: float) -> int | None:
        self.calls += 1
        asked = {"Range": f"bytes={at}-{at + PART_BYTES - 1}"}
        try:
            with (
                deadline(DOWNLOAD_SECONDS),
                self.http.stream("GET", url, headers=asked, follow_redirects=False) as response,
            ):
                if response.status_code in (403, 404, 410):
                    raise FileGone("Shopify no longer keeps this file.", detail=str(response.status_code))
                response.raise_for_status()
                most = PART_BYTES if response.status_code == 206 else LARGEST_FILE_BYTES
                for chunk in response.iter_bytes():
                    _keep(chunk, file, most)
                return _cut_to(file, at, response)
        except httpx.HTTPError as error:
            trouble = TransientError("Shopify broke off its file.", detail=type(error).__name__)
            self._wait_or_raise(trouble, failures, started_at)
            return None


def graphql_content(query: str, variables: Mapping[str, Any]) -> bytes:
    """The body of a query or mutation."""
    return dump_json({"query": query, "variables": dict(variables)})


def _lines(file: IO[bytes], at: int, size: int) -> Iterator[list[bytes]]:
    """Some at a time. With the last one the next part begins, where this one breaks off in it."""
    while lines := file.readlines(LINES_BYTES):
        at += sum(map(len, lines))
        if not lines[-1].endswith(b"\n") and at < size:
            lines.pop()
        yield lines


def _told(lines: list[bytes]) -> Iterable[tuple[int, str, Line]]:
    """Each line's length and text, and what it belongs to."""
    try:
        told = LINE.decode_lines(b"".join(lines))
        texts = [line.decode().strip() for line in lines]
    except ValueError as error:
        raise TransientError("Shopify's file is not complete.", detail=str(error)) from error
    if len(told) != len(lines):
        raise TransientError("Shopify's file is not complete.", detail="not one object a line")
    return zip(map(len, lines), texts, told, strict=True)


def _keep(chunk: bytes, file: IO[bytes], most: int) -> None:
    if file.tell() + len(chunk) > most:
        raise UnexpectedResponse("Shopify's file is too large to be right.")
    file.write(chunk)


def _cut_to(file: IO[bytes], at: int, response: httpx.Response) -> int:
    """The size of the whole file. Storage that knows no parts sends all of it: what lies before `at` is cut off."""
    if response.status_code == 206:
        size = response.headers.get("content-range", "").rpartition("/")[2]
        if not size.isdecimal() or int(size) > LARGEST_FILE_BYTES:
            raise UnexpectedResponse("Shopify's file is too large to be right.", detail=size[:100])
        return int(size)
    whole = file.tell()
    file.seek(at)
    rest = file.read()
    file.seek(0)
    file.truncate()
    file.write(rest)
    return whole


def _codes(response: httpx.Response) -> set[str]:
    """The codes of a GraphQL answer's errors; `UNKNOWN` where an error has none."""
    try:
        answer = parse_json(response.content)
    except ValueError:
        return set()
    errors = answer.get("errors") if isinstance(answer, dict) else None
    if not isinstance(errors, list):
        return {"UNKNOWN"} if errors else set()
    return {str(error.get("extensions", {}).get("code", "UNKNOWN")) for error in errors}


CLIENT = ShopifyClient
OAUTH = ShopifyOAuth
