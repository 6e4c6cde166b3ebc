"""One connection's HTTP to its provider: authorisation, retries that are safe, limits, and errors that say who acts."""

from __future__ import annotations

import datetime as dt
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import httpx
import msgspec

from connectors.sdk.egress import Egress
from connectors.sdk.errors import (
    AllowanceUsed,
    ConfigurationError,
    ConnectorError,
    OutcomeUnknown,
    RateLimited,
    ReconnectRequired,
    TransientError,
    UnexpectedResponse,
)
from connectors.sdk.exchange import AnswerTooLarge, exchange, http_client
from connectors.sdk.manifest import Manifest
from connectors.sdk.reports import TrialBalance

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.8
ONE_CALL: Mapping[str, int] = {"call": 1}
#: A worker is held for a limit this long at most: little before anything was done, which can as well be begun later; longer in the
#: middle of a piece of work, whose calls would otherwise have to be made again.
LONGEST_FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 30.0
#: No try begins later than this after the first, so that a call with all its waits ends within a worker's lease.
LAST_TRY_SECONDS = 50.0
#: A reader looks at its token again after this time: it was good for at least a minute, and a connection that ended at the provider
#: is refused there. A write looks every time.
TOKEN_KEPT_SECONDS = 20.0


class Token(Protocol):
    """The access token of one connection; the engine's vault implements it."""

    def current(self) -> str:
        """A token that is still valid, refreshed early when it is about to expire."""

    def renew(self, rejected: str) -> str:
        """Called once when the provider refused `rejected`. Raises `ReconnectRequired` when nothing newer is to be had."""


class Budget(Protocol):
    """The shared allowance of one connection, in the provider's own units."""

    def call(
        self, spends: Mapping[str, int], *, longest_wait: float = LONGEST_WAIT_SECONDS
    ) -> AbstractContextManager[None]:
        """Around one call: wait until so many units of each kind may be used, and for one of the places where a provider limits
        calls at the same time. Raises `AllowanceUsed` when units take longer than `longest_wait` seconds, or a place too long."""

    def report(self, counts: str, remaining: int, restore_per_second: float) -> None:
        """What the provider said is left, so that all workers agree with it."""

    def refused(self, retry_after: float) -> None:
        """The provider refused a call for so many seconds: until then no worker makes another one."""

    def room(self) -> int:
        """About how many calls can be made now without waiting for long: a hint for how much to begin."""


class NoBudget:
    """For tests and tools: the provider's own limits are the only ones."""

    def call(
        self, spends: Mapping[str, int], *, longest_wait: float = LONGEST_WAIT_SECONDS
    ) -> AbstractContextManager[None]:
        return nullcontext()

    def report(self, counts: str, remaining: int, restore_per_second: float) -> None:
        return None

    def refused(self, retry_after: float) -> None:
        return None

    def room(self) -> int:
        return 1_000_000


@dataclass(frozen=True)
class FixedToken:
    """A token that cannot be renewed."""

    value: str

    def current(self) -> str:
        return self.value

    def renew(self, rejected: str) -> str:
        raise ReconnectRequired("The provider no longer accepts this connection. Reconnect to go on.")


@dataclass(kw_only=True)
class Access:
    """Everything a client needs to act for one connection. `simulator` stands in for the provider's hosts when set.

    `sending` is held during each write: it is entered after all waiting, right before the first byte; what it raises keeps the write
    from being sent. `patience`: the longest that one exchange and its repetitions may take in seconds, where that is shorter than
    the connector's own. `base_currency` is what the organisation keeps its books in, where that is known.
    """

    token: Token
    organisation_id: str = ""
    environment: str = "production"
    simulator: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    budget: Budget = field(default_factory=NoBudget)
    sending: Callable[[], AbstractContextManager[None]] = nullcontext
    patience: float | None = None
    base_currency: str = ""
    sleep: Callable[[float], None] = time.sleep


class Client(ABC):
    """Subclass per provider: says the headers and reads the errors; this class does the rest.

    `is_write` requests are never repeated here once they may have reached the provider: a lost answer becomes
    `OutcomeUnknown` and the posting protocol looks the document up. `timeout_seconds` is how long a whole exchange may take, to
    the last byte of the answer.
    """

    manifest: ClassVar[Manifest]
    timeout_seconds: ClassVar[float] = 60.0
    tries: ClassVar[int] = 3

    def __init__(self, access: Access, http: httpx.Client | None = None) -> None:
        self.access = access
        self.http = http or http_client(self.timeout_seconds, Egress(self.manifest, simulator=lambda: access.simulator))
        self.calls = 0  # since what they brought was committed; whoever commits it sets this back
        self._kept_token, self._looked_at = "", 0.0

    def trial_balance(self, as_of: dt.date) -> TrialBalance | None:
        """The provider's own report of what stands on each ledger account; None where it has none to offer. Raises
        `ConfigurationError`, naming the consent, when this connection may not read it."""
        return None

    def url(self, host: str, path: str) -> str:
        base = self.manifest.base_url(
            host,
            self.access.environment,
            organisation=self.access.organisation_id,
            simulator=self.access.simulator,
        )
        return base + path

    @abstractmethod
    def headers(self, token: str) -> dict[str, str]:
        """Authorisation and content negotiation for every call."""

    @abstractmethod
    def read_error(self, response: httpx.Response) -> ConnectorError | None:
        """The provider's refusal as one of ours, or None when the answer is good. Statuses 401, 403, 429 and 5xx without
        a provider-specific meaning are left to `standard_error`."""

    def request(
        self,
        method: str,
        host: str,
        path: str,
        *,
        is_write: bool = False,
        spends: Mapping[str, int] | None = None,
        headers: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Send and return the parsed JSON, numbers as Decimal. `spends` are budget units, one call unless told."""
        token = self._token(is_write)
        renewed = False
        failures = 0
        started_at = time.monotonic()
        longest_wait = LONGEST_WAIT_SECONDS if self.calls else LONGEST_FIRST_WAIT_SECONDS
        while True:
            try:
                with self.access.budget.call(spends or ONE_CALL, longest_wait=longest_wait):
                    response = self._once(method, self.url(host, path), token, is_write, headers, kwargs)
                return self.parse(response, is_write)
            except AllowanceUsed:
                raise
            except ReconnectRequired:
                if renewed:
                    raise
                token, renewed = self.access.token.renew(token), True
                self._keep(token)
            except OutcomeUnknown:
                raise
            except TransientError as error:
                failures += 1
                if isinstance(error, RateLimited) and error.retry_after > longest_wait:
                    raise
                self._wait_or_raise(error, failures, started_at)

    def _token(self, is_write: bool) -> str:
        if is_write or not self._kept_token or time.monotonic() - self._looked_at >= TOKEN_KEPT_SECONDS:
            self._keep(self.access.token.current())
        return self._kept_token

    def _keep(self, token: str) -> None:
        self._kept_token, self._looked_at = token, time.monotonic()

    def _wait_or_raise(self, error: TransientError, failures: int, started_at: float) -> None:
        pause = error.retry_after if isinstance(error, RateLimited) else FIRST_PAUSE_SECONDS * 4 ** (failures - 1)
        is_late = time.monotonic() + pause - started_at > min(
            LAST_TRY_SECONDS, self.access.patience or LAST_TRY_SECONDS
        )
        if failures >= self.tries or pause > LONGEST_WAIT_SECONDS or is_late:
            raise error
        self.access.sleep(pause)

    def _once(
        self,
        method: str,
        url: str,
        token: str,
        is_write: bool,
        headers: Mapping[str, str] | None,
        kwargs: dict[str, Any],
    ) -> httpx.Response:
        """A good answer, not parsed yet."""
        self.calls += 1
        all_headers = {**self.headers(token), **(headers or {})}
        try:
            with self.access.sending() if is_write else nullcontext():
                response = exchange(self.http, method, url, seconds=self._seconds(), headers=all_headers, **kwargs)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise TransientError(f"{self.manifest.name} cannot be reached at the moment.", detail=str(error)) from error
        except AnswerTooLarge as error:
            raise self._unreadable("sent an answer too large to be right.", str(error), is_write) from error
        except httpx.HTTPError as error:
            raise self._lost_answer(is_write, repr(error)) from error
        refusal = self.read_error(response) or self.standard_error(response, is_write)
        if isinstance(refusal, RateLimited):
            self.access.budget.refused(refusal.retry_after)
        if refusal is not None:
            raise refusal
        return response

    def _seconds(self) -> float:
        return min(self.timeout_seconds, self.access.patience or self.timeout_seconds)

    def _lost_answer(self, is_write: bool, detail: str) -> TransientError:
        if is_write:
            return OutcomeUnknown(
                f"{self.manifest.name} did not confirm a write; it is looked up before anything is repeated.",
                detail=detail,
            )
        return TransientError(f"{self.manifest.name} broke off its answer.", detail=detail)

    def _unreadable(self, words: str, detail: str, is_write: bool) -> ConnectorError:
        """An answer that says nothing; to a write it may have been a yes."""
        return (
            self._lost_answer(True, detail)
            if is_write
            else UnexpectedResponse(f"{self.manifest.name} {words}", detail=detail)
        )

    def standard_error(self, response: httpx.Response, is_write: bool) -> ConnectorError | None:
        """What a status means when the provider's body says nothing more."""
        name, status = self.manifest.name, response.status_code
        if status < 300:
            return None
        detail = f"HTTP {status}: {response.text[:500]}"
        if status < 400:  # never followed: it would carry the token to wherever the answer names
            return self._unreadable("sent us to another address.", f"HTTP {status}", is_write)
        if status == 401:
            return ReconnectRequired(f"{name} no longer accepts this connection. Reconnect to go on.", detail=detail)
        if status == 403:
            return ConfigurationError(
                f"{name} does not let this connection do that. Check its permissions.", detail=detail
            )
        if status == 429:
            return RateLimited(f"{name} asked us to slow down.", retry_after=retry_after(response), detail=detail)
        if status >= 500 or status == 408:
            return (
                self._lost_answer(is_write, detail)
                if is_write
                else TransientError(f"{name} cannot answer at the moment.", detail=detail)
            )
        return UnexpectedResponse(f"{name} answered in a way we do not understand.", detail=detail)

    def parse(self, response: httpx.Response, is_write: bool) -> Any:
        """JSON with exact numbers; None where the status says that there is nothing to say. Anything else is the provider's
        fault; on a write the outcome is then unknown."""
        if response.status_code == 204 and not response.content:
            return None
        try:
            return parse_json(response.content)
        except ValueError as error:
            detail = f"HTTP {response.status_code} {response.headers.get('content-type', '')}: {response.text[:200]}"
            raise self._unreadable("did not answer with readable JSON.", detail, is_write) from error


def parse_json(body: bytes | str) -> Any:
    """JSON whose numbers with a fraction become Decimal, so that no amount ever passes through a float. Raises ValueError."""
    try:
        return _DECODER.decode(body)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


class TypedDecoder(Generic[T]):
    """`parse_json` for bodies of one shape, decoded straight from the text; what the shape does not name is passed over."""

    def __init__(self, shape: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(shape, float_hook=Decimal)

    def decode(self, body: bytes | str) -> T:
        """Raises ValueError."""
        try:
            return self._decoder.decode(body)
        except RecursionError as error:
            raise ValueError("the JSON is nested too deeply") from error

    def decode_lines(self, body: bytes) -> list[T]:
        """Of bodies line by line. Raises ValueError."""
        try:
            return self._decoder.decode_lines(body)
        except RecursionError as error:
            raise ValueError("the JSON is nested too deeply") from error


def dump_json(body: Any) -> bytes:
    """The inverse of `parse_json`: Decimals are written as JSON numbers, digit for digit."""
    return _ENCODER.encode(body)


def retry_after(response: httpx.Response, default: float = 5.0) -> float:
    """Seconds from a Retry-After header, a day at most; dates and nonsense give `default`."""
    try:
        seconds = float(response.headers.get("retry-after", default))
    except ValueError:
        return default
    return min(max(0.0, seconds), 86_400.0) if math.isfinite(seconds) else default


_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
