"""Answers that never end, burst, or are not answers: each ends in time, in little memory, as an error that says who acts."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from connectors.sdk.client import Access, Client, FixedToken
from connectors.sdk.errors import OutcomeUnknown, RateLimited, RecordRejected, TransientError, UnexpectedResponse
from connectors.sdk.exchange import MAX_ANSWER_BYTES
from connectors.sdk.streams import Outcome, Written, part_by_part
from tests.connectors.sample.client import SampleClient
from tests.faults import rough
from tests.faults.rough import Rough

pytestmark = pytest.mark.faults

#: What a whole exchange may take: little where that is what ends it, and otherwise so much that a busy machine is not what ends it.
HURRIED, PATIENT = 0.4, 10.0
ENDED_BY_TIME = ("head a byte at a time", "body a byte at a time")
IN_TIME = 5.0
MOST_MEMORY = 3 * MAX_ANSWER_BYTES
LISTING = b'{"rows": [' + b",".join(b'{"id": %d}' % number for number in range(5000)) + b"]}"
LOGIN = rough.whole(b"", "Location: http://127.0.0.1:1/login", status="302 Found")
#: What a server does, and what reading makes of it; to a write the outcome is unknown every time.
ANSWERS: dict[str, tuple[Callable[[Rough], rough.Answer], type[Exception]]] = {
    "head a byte at a time": (lambda server: server.trickled(rough.head("X-Long: " + "a" * 150), 0.05), TransientError),
    "body a byte at a time": (lambda server: server.trickled(rough.head() + LISTING, 0.005), TransientError),
    "endless": (lambda server: rough.endless, UnexpectedResponse),
    "bomb": (lambda server: rough.bomb(100), UnexpectedResponse),
    "cut short": (lambda server: rough.cut_short(LISTING), TransientError),
    "packed and cut": (lambda server: rough.packed_and_cut(LISTING), TransientError),
    "packed in another way": (lambda server: rough.whole(b"x", "Content-Encoding: br"), TransientError),
    "reset": (lambda server: rough.reset, TransientError),
    "garbage": (lambda server: rough.garbage, TransientError),
    "empty": (lambda server: rough.whole(b""), UnexpectedResponse),
    "login page": (lambda server: rough.whole(b"<html>Log in</html>"), UnexpectedResponse),
    "sent elsewhere": (lambda server: LOGIN, UnexpectedResponse),
    "nested deeply": (lambda server: rough.whole(b"[" * 100_000 + b"]" * 100_000), UnexpectedResponse),
    "cut short by a gateway": (lambda server: rough.whole(b"{}", status="504 Gateway Timeout"), TransientError),
}


class PatientClient(SampleClient):
    timeout_seconds = PATIENT
    tries = 1


class HurriedClient(PatientClient):
    timeout_seconds = HURRIED


@pytest.fixture
def server() -> Iterator[Rough]:
    with rough.rough() as made:
        yield made


def client_of(server: Rough, name: str = "") -> Client:
    kind = HurriedClient if name in ENDED_BY_TIME else PatientClient
    return kind(Access(token=FixedToken("secret"), simulator=server.url))


def ask(client: Client, *, is_write: bool) -> Any:
    return client.request("POST" if is_write else "GET", "api", "/things", is_write=is_write)


@pytest.mark.parametrize("is_write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("name", ANSWERS)
def test_answer_that_is_none_ends_in_time_and_says_what_it_means(
    name: str, is_write: bool, server: Rough, tell: Any
) -> None:
    answer, expected = ANSWERS[name]
    server.answer = answer(server)
    client = client_of(server, name)
    before = time.monotonic()
    with client.http, pytest.raises(OutcomeUnknown if is_write else expected) as caught:
        ask(client, is_write=is_write)
    assert time.monotonic() - before < (IN_TIME if name in ENDED_BY_TIME else PATIENT)
    assert len(server.requests) == 1
    assert isinstance(caught.value, OutcomeUnknown) is is_write
    assert "secret" not in f"{caught.value} {getattr(caught.value, 'detail', '')}"
    tell("C6", "answers that are none, on a real socket", tried=1, malformed=1)


@pytest.mark.parametrize("name", ["endless", "bomb"])
def test_answer_too_large_takes_little_memory(name: str, server: Rough) -> None:
    server.answer = ANSWERS[name][0](server)
    client = client_of(server)
    tracemalloc.start()
    try:
        with client.http, pytest.raises(UnexpectedResponse):
            ask(client, is_write=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY


def test_token_goes_to_no_other_address(server: Rough) -> None:
    with rough.rough() as other:
        server.answer = rough.whole(b"", f"Location: {other.url}/steal", status="307 Temporary Redirect")
        client = client_of(server)
        with client.http, pytest.raises(UnexpectedResponse):
            ask(client, is_write=False)
        assert other.requests == []


def test_cookies_go_from_no_organisation_to_another(server: Rough) -> None:
    """Their clients share one pool of connections."""
    server.answer = rough.whole(b"{}", "Set-Cookie: session=kestrel; Path=/")
    first = client_of(server)
    with first.http:
        second = type(first)(first.access, first.http)
        assert ask(first, is_write=False) == ask(second, is_write=True) == {}
    assert [b"cookie" in request.lower() for request in server.requests] == [False, False]


def test_packed_answer_is_unpacked(server: Rough) -> None:
    server.answer = rough.whole(gzip.compress(LISTING), "Content-Encoding: gzip")
    client = client_of(server)
    with client.http:
        assert len(ask(client, is_write=False)["rows"]) == 5000
    assert b"accept-encoding: gzip\r\n" in server.requests[0].lower()


def test_waiting_for_the_next_try_ends_within_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tries of a provider that takes its time would outlast the lease of the worker that waits."""
    clock = Clock()
    monkeypatch.setattr("connectors.sdk.client.time", clock)

    def slow(request: httpx.Request) -> httpx.Response:
        clock.now += 26.0
        return httpx.Response(503)

    access = Access(token=FixedToken("secret"), sleep=clock.sleep)
    client = SampleClient(access, httpx.Client(transport=httpx.MockTransport(slow)))
    with client.http, pytest.raises(TransientError):
        ask(client, is_write=False)
    assert client.calls == 2
    assert clock.now < 60


class Clock:
    """Time that passes only while somebody sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_batch_confirmed_in_part_is_not_unwritten() -> None:
    """A batch that takes several writes: whoever thinks that nothing was written sends what was written once more."""

    def sending(*outcomes: Outcome) -> Iterator[Outcome]:
        yield from outcomes
        raise RateLimited("Slow down.", retry_after=1)

    refused = RecordRejected("No.")
    with pytest.raises(OutcomeUnknown):
        part_by_part("Sample", sending(refused, Written(external_id="1")))
    with pytest.raises(RateLimited):
        part_by_part("Sample", sending(refused))
    assert part_by_part("Sample", iter([refused])) == [refused]
