"""One request and its whole answer, bounded in time and size whatever the other side does.

httpx bounds each single wait: an answer that comes byte by byte would hold a worker for days, and a small compressed body may unpack
to any size. Here one deadline covers the whole exchange, and the body is unpacked only as far as it is allowed to be large.
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import httpcore
import httpx

MAX_ANSWER_BYTES = 20 * 1024 * 1024
CONNECT_SECONDS = 10.0
_WRITTEN_AT_ONCE = 64 * 1024
_GZIP = zlib.MAX_WBITS | 16
_OF_THE_TRANSFER = ("content-encoding", "content-length", "transfer-encoding")


class AnswerTooLarge(httpx.TransportError):
    """The body is larger than any right answer; it was not read to its end."""


def http_client(seconds: float, transport: httpx.BaseTransport) -> httpx.Client:
    """A pool of connections that keeps to the deadline of `exchange` and `deadline`, and goes nowhere it was not sent."""
    return _PlainClient(seconds, transport)


class _PlainClient(httpx.Client):
    """Hands a request to the transport as it is. Many organisations share one pool, so cookies are neither kept nor sent; no redirect
    is followed either, and an `auth` says what it says once."""

    def __init__(self, seconds: float, transport: httpx.BaseTransport) -> None:
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        super().__init__(transport=transport, timeout=timeout, follow_redirects=False)
        self._wire = transport
        self._waits = {"timeout": timeout.as_dict()}
        self._said = {name.lower(): (name, value) for name, value in self.headers.raw}

    def build_request(self, method: str, url: httpx.URL | str, **parts: Any) -> httpx.Request:
        body = {name: parts.get(name) for name in ("content", "data", "json")}
        own = httpx.Headers(parts.get("headers")).raw
        headers = {**self._said, **{name.lower(): (name, value) for name, value in own}}
        address = _address(str(url), _pairs(parts.get("params")))
        return httpx.Request(method, address, headers=list(headers.values()), extensions=self._waits, **body)

    def send(self, request: httpx.Request, *, stream: bool = False, auth: Any = None, **others: Any) -> httpx.Response:
        if isinstance(auth, httpx.Auth):
            request = next(auth.sync_auth_flow(request))
        for hook in self.event_hooks["request"]:
            hook(request)
        response = self._wire.handle_request(request)
        response.request = request
        try:
            for hook in self.event_hooks["response"]:
                hook(response)
            if not stream:
                response.read()
        except BaseException:
            response.close()
            raise
        if not stream:
            response.close()
        return response


def _pairs(params: Any) -> tuple[tuple[str, Any], ...] | None:
    if params is None:
        return None
    return tuple(params.items() if isinstance(params, Mapping) else params)


@lru_cache(maxsize=128)
def _address(url: str, params: tuple[tuple[str, Any], ...] | None) -> httpx.URL:
    """Most calls go where an earlier one went; taking an address apart is a third of what a call costs here."""
    return httpx.URL(url) if params is None else httpx.URL(url, params=params)


def exchange(
    http: httpx.Client, method: str, url: str, *, seconds: float, most_bytes: int = MAX_ANSWER_BYTES, **kwargs: Any
) -> httpx.Response:
    """Send, and read the answer to its last byte. Redirects are answers like any other.

    Raises `AnswerTooLarge` and the other errors of httpx; a body cut short is one of them, compressed or not.
    """
    headers = {"Accept-Encoding": "gzip", **(kwargs.pop("headers", None) or {})}
    with deadline(seconds), http.stream(method, url, headers=headers, follow_redirects=False, **kwargs) as response:
        body = b"".join(_bounded(_pieces(response), most_bytes))
    kept = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_TRANSFER]
    return httpx.Response(response.status_code, headers=kept, content=body, request=response.request)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Everything this thread sends and receives through an `http_client` ends within so many seconds."""
    token = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(token)


def _pieces(response: httpx.Response) -> Iterator[bytes]:
    """The body unpacked, a little at a time."""
    if response.is_stream_consumed:  # it was never on a wire
        yield response.content
        return
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        yield from response.iter_raw()
    elif encoding in ("gzip", "x-gzip"):
        yield from _unpacked(response.iter_raw())
    else:
        raise httpx.DecodingError(f"the answer is packed as {encoding[:40]!r}, which was not asked for")


def _unpacked(packed: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        for piece in packed:
            while piece and not unpacker.eof:
                yield unpacker.decompress(piece, _WRITTEN_AT_ONCE)
                piece = unpacker.unconsumed_tail
        while rest := unpacker.decompress(b"", _WRITTEN_AT_ONCE):
            yield rest
    except zlib.error as error:
        raise httpx.DecodingError(str(error)) from error
    if not unpacker.eof:
        raise httpx.DecodingError("the packed answer is cut short")


def _bounded(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise AnswerTooLarge(f"more than {most} bytes")
        yield piece


_until: ContextVar[float | None] = ContextVar("exchange_until", default=None)


def _left(timeout: float | None, error: type[Exception]) -> float | None:
    """The shorter of what one wait may take and what the whole exchange has left."""
    until = _until.get()
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise error("the whole exchange took too long")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITTEN_AT_ONCE):
            piece = buffer[start : start + _WRITTEN_AT_ONCE]
            self._inner.write(piece, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _left(timeout, httpcore.ConnectTimeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class BoundedNetwork(httpcore.NetworkBackend):
    """Every wait of its connections is cut to what the deadline of the exchange has left."""

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_unix_socket(path, left, socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)
