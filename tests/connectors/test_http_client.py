"""Our pool of connections: whatever a hook does, no connection stays taken."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from connectors.sdk.exchange import http_client


class Watched(httpx.SyncByteStream):
    is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield b"{}"

    def close(self) -> None:
        self.is_closed = True


class Unhappy(Exception):
    pass


def refuse(response: httpx.Response) -> None:
    raise Unhappy


@pytest.mark.parametrize("stream", [False, True])
def test_answer_is_closed_when_a_hook_raises(stream: bool) -> None:
    body = Watched()
    with http_client(5, httpx.MockTransport(lambda request: httpx.Response(200, stream=body))) as http:
        http.event_hooks["response"].append(refuse)
        with pytest.raises(Unhappy):
            http.send(http.build_request("GET", "https://api.example"), stream=stream)
    assert body.is_closed


def test_answer_that_is_read_piece_by_piece_stays_open_until_its_reader_is_done() -> None:
    body = Watched()
    with (
        http_client(5, httpx.MockTransport(lambda request: httpx.Response(200, stream=body))) as http,
        http.stream("GET", "https://api.example") as response,
    ):
        assert not body.is_closed
        assert response.read() == b"{}"
    assert body.is_closed
