"""The client: who retries what, who is asked to act, and that no amount passes through a float."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from decimal import Decimal

import httpx
import pytest

from connectors.sdk.client import Access, FixedToken, NoBudget, dump_json, parse_json, retry_after
from connectors.sdk.errors import (
    ConfigurationError,
    OutcomeUnknown,
    RateLimited,
    ReconnectRequired,
    TransientError,
    UnexpectedResponse,
)
from tests.connectors.sample.client import SampleClient

Answer = Callable[[httpx.Request], httpx.Response]


class Tokens:
    """Hands out token-0, token-1 ..."""

    def __init__(self) -> None:
        self.renewed: list[str] = []

    def current(self) -> str:
        return f"token-{len(self.renewed)}"

    def renew(self, rejected: str) -> str:
        self.renewed.append(rejected)
        return self.current()


class Wallet(NoBudget):
    """Writes down what is spent."""

    def __init__(self) -> None:
        self.spent: list[tuple[str, int]] = []
        self.refusals: list[float] = []

    def call(self, spends: Mapping[str, int], *, longest_wait: float = 30) -> AbstractContextManager[None]:
        self.spent += spends.items()
        return super().call(spends, longest_wait=longest_wait)

    def refused(self, retry_after: float) -> None:
        self.refusals.append(retry_after)

    def report(self, counts: str, remaining: int, restore_per_second: float) -> None:
        return None


class Bench:
    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []
        self.tokens = Tokens()
        self.wallet = Wallet()
        access = Access(token=self.tokens, budget=self.wallet, sleep=self.slept.append)
        self.client = SampleClient(access, httpx.Client(transport=httpx.MockTransport(self.answer)))

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read(self) -> object:
        return self.client.request("GET", "api", "/things")

    def write(self) -> object:
        return self.client.request("POST", "api", "/things", is_write=True, json={})


def good() -> httpx.Response:
    return httpx.Response(200, content=b'{"amount": 0.10}')


def test_a_call_goes_to_the_host_with_its_headers() -> None:
    bench = Bench(good())
    assert bench.read() == {"amount": Decimal("0.10")}
    (request,) = bench.requests
    assert str(request.url) == "https://api.sample.example/things"
    assert request.headers["authorization"] == "Bearer token-0"


def test_a_refused_token_is_renewed_once() -> None:
    bench = Bench(httpx.Response(401), good())
    assert bench.read() == {"amount": Decimal("0.10")}
    assert bench.tokens.renewed == ["token-0"]
    assert bench.requests[1].headers["authorization"] == "Bearer token-1"


def test_a_token_refused_again_asks_for_reconnecting() -> None:
    bench = Bench(httpx.Response(401), httpx.Response(401))
    with pytest.raises(ReconnectRequired):
        bench.read()
    assert len(bench.requests) == 2


def test_a_refused_token_is_renewed_for_a_write_too() -> None:
    bench = Bench(httpx.Response(401), good())
    assert bench.write() == {"amount": Decimal("0.10")}


def test_a_fixed_token_cannot_be_renewed() -> None:
    with pytest.raises(ReconnectRequired):
        FixedToken("value").renew("value")


def test_trouble_is_tried_again_with_growing_pauses() -> None:
    bench = Bench(httpx.Response(503), httpx.Response(502), good())
    assert bench.read() == {"amount": Decimal("0.10")}
    assert len(bench.slept) == 2
    assert bench.slept[0] < bench.slept[1]


def test_lasting_trouble_is_given_up() -> None:
    bench = Bench(*[httpx.Response(503)] * 3)
    with pytest.raises(TransientError):
        bench.read()
    assert bench.answers == []


@pytest.mark.parametrize("error", [httpx.ReadError("cut"), httpx.ReadTimeout("late"), httpx.WriteError("cut")])
def test_a_lost_answer_to_a_write_is_never_repeated(error: Exception) -> None:
    bench = Bench(error)
    with pytest.raises(OutcomeUnknown):
        bench.write()
    assert len(bench.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_trouble_during_a_write_leaves_its_outcome_unknown(status: int) -> None:
    bench = Bench(httpx.Response(status))
    with pytest.raises(OutcomeUnknown):
        bench.write()
    assert len(bench.requests) == 1


def test_a_write_that_never_left_is_tried_again() -> None:
    bench = Bench(httpx.ConnectError("no route"), good())
    assert bench.write() == {"amount": Decimal("0.10")}


def test_html_after_a_write_leaves_its_outcome_unknown() -> None:
    bench = Bench(httpx.Response(200, content=b"<html>"))
    with pytest.raises(OutcomeUnknown):
        bench.write()


def test_html_after_a_read_is_unexpected() -> None:
    bench = Bench(httpx.Response(200, content=b"<html>"))
    with pytest.raises(UnexpectedResponse):
        bench.read()


def test_slowing_down_waits_as_long_as_asked() -> None:
    bench = Bench(good(), httpx.Response(429, headers={"Retry-After": "7"}), good())
    bench.read()
    bench.read()
    assert bench.slept == bench.wallet.refusals == [7.0]


def test_a_limit_before_anything_was_done_holds_nobody() -> None:
    """The work is put back until then; in the middle of it, its earlier calls would have to be made again."""
    bench = Bench(httpx.Response(429, headers={"Retry-After": "7"}))
    with pytest.raises(RateLimited) as caught:
        bench.read()
    assert (caught.value.retry_after, bench.slept, bench.wallet.refusals) == (7.0, [], [7.0])


def test_a_refused_write_may_be_repeated_after_slowing_down() -> None:
    bench = Bench(httpx.Response(429, headers={"Retry-After": "1"}), good())
    assert bench.write() == {"amount": Decimal("0.10")}


def test_a_long_wait_is_left_to_the_engine() -> None:
    bench = Bench(httpx.Response(429, headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimited) as caught:
        bench.read()
    assert caught.value.retry_after == 3600
    assert bench.slept == []


def test_missing_permission_is_a_matter_of_settings() -> None:
    with pytest.raises(ConfigurationError):
        Bench(httpx.Response(403)).read()


def test_an_unknown_refusal_is_unexpected() -> None:
    with pytest.raises(UnexpectedResponse):
        Bench(httpx.Response(418)).read()


def test_every_attempt_is_paid_for() -> None:
    bench = Bench(httpx.Response(503), good())
    bench.client.request("GET", "api", "/things", spends={"call": 1, "cost": 12})
    assert bench.wallet.spent == [("call", 1), ("cost", 12)] * 2
    assert bench.client.calls == 2


def test_an_empty_answer_is_none() -> None:
    assert Bench(httpx.Response(204)).read() is None


@pytest.mark.parametrize("header", ["soon", "", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_an_unreadable_pause_has_a_default(header: str) -> None:
    assert retry_after(httpx.Response(429, headers={"Retry-After": header}), default=4) == 4


@pytest.mark.parametrize("digits", ["0.1", "0.01", "1234567.89", "99999999999999.99", "-0.05", "10.00"])
def test_amounts_survive_json_digit_for_digit(digits: str) -> None:
    body = f'{{"amount":{digits}}}'.encode()
    amount = parse_json(body)["amount"]
    assert isinstance(amount, Decimal)
    assert str(amount) == digits
    assert dump_json({"amount": amount}) == body


def test_garbage_is_no_json() -> None:
    with pytest.raises(ValueError):
        parse_json(b"{")
