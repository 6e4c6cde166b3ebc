"""Trouble on demand: what the next matching calls meet instead of, or after, their work."""

from __future__ import annotations

import gzip
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import httpx
from werkzeug import Response

#: Instead of an answer: another one, or none. The work may be done all the same.
Instead = Literal[
    "status", "html", "error_body", "empty", "redirect", "deep", "large", "bomb", "garbage", "reset", "drop_before"
]
#: The right answer, spoilt on its way; the work is done.
Spoilt = Literal["drop_after", "half_body", "cut_gzip", "trickle"]
Kind = Literal[Instead, Spoilt, "slow", "reset_token"]
INSTEAD: tuple[str, ...] = get_args(Instead)
KINDS: tuple[str, ...] = get_args(Kind)
LARGE_BYTES = 50 * 1024 * 1024
JSON = "application/json"


class UnknownFault(ValueError):
    """The fault asked for does not exist."""


@dataclass(kw_only=True)
class Fault:
    """`match` is a method (or `*`) and a path prefix; `contains` is part of the query or body of the calls that are meant; `after`
    matches pass, the next `times` are hit.

    `works`: what was asked is done, and only the answer is not the right one. `seconds` are those of `Retry-After` with a status, and
    between two bytes of a trickle.
    """

    match: str
    kind: Kind
    status: int = 503
    seconds: float = 0.0
    works: bool = False
    times: int = 1
    after: int = 0
    contains: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownFault(f"kind must be one of {', '.join(KINDS)}")
        if " " not in self.match:
            raise UnknownFault("match must be a method and a path prefix, such as 'POST /v1/invoices'")
        self.seconds = float(self.seconds)  # numbers of a JSON body arrive as decimals, for which nobody can sleep

    def hits(self, method: str, path: str, content: Callable[[], str]) -> bool:
        wanted, prefix = self.match.split(" ", 1)
        is_meant = wanted in ("*", method) and path.startswith(prefix)
        return is_meant and (not self.contains or self.contains in content())


class Faults:
    """The faults still to come, oldest first."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self.met: Counter[str] = Counter()

    def add(self, fault: Fault) -> None:
        self._waiting.append(fault)

    def clear(self) -> None:
        self._waiting.clear()

    def take(self, method: str, path: str, content: Callable[[], str] = str) -> Fault | None:
        """The fault this call meets, counted down. `content` is the query and the body."""
        for fault in self._waiting:
            if not fault.hits(method, path, content):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.times -= 1
            self.met[fault.kind] += 1
            if fault.times <= 0:
                self._waiting.remove(fault)
            return fault
        return None


def answer_instead(fault: Fault, refuse: Callable[[int, str], Response], environ: dict[str, Any]) -> Response:
    """What the caller gets in the place of the right answer. `refuse` makes a refusal in the provider's shape."""
    match fault.kind:
        case "status":
            refusal = refuse(fault.status, "Trouble was asked for.")
            if fault.seconds:
                refusal.headers["Retry-After"] = f"{fault.seconds:g}"
            return refusal
        case "html":
            return Response("<html><body>Maintenance</body></html>", content_type="text/html")
        case "error_body":
            return Response('{"error": "internal", "message": "Something went wrong."}', content_type=JSON)
        case "redirect":
            return Response(status=302, headers={"Location": "/login"})
        case "deep":
            return Response(b"[" * 100_000 + b"]" * 100_000, content_type=JSON)
        case "large":
            return Response(_spaces(), content_type=JSON, headers={"Content-Length": str(LARGE_BYTES)})
        case "bomb":
            packed = gzip.compress(b" " * LARGE_BYTES, compresslevel=1)
            return Response(packed, content_type=JSON, headers={"Content-Encoding": "gzip"})
        case "garbage":
            send_raw(environ, b"\x15\x03\x01\x00\x02\x02\x46")
            break_off(environ)
        case "reset":
            reset(environ)
        case "drop_before":
            break_off(environ)
    return Response(content_type=JSON)


def spoilt(fault: Fault, response: Response, environ: dict[str, Any]) -> Response:
    """The right answer, or what arrives of it."""
    body, status, kind = response.get_data(), response.status_code, response.content_type
    match fault.kind:
        case "drop_after":
            break_off(environ)
        case "half_body":
            return _with_length(Response(half_of(body, environ), status, content_type=kind), max(2, len(body)))
        case "trickle":
            return _with_length(Response(_byte_by_byte(body, fault.seconds), status, content_type=kind), len(body))
        case "cut_gzip":
            packed = gzip.compress(body)
            cut = Response(packed[: len(packed) // 2], status, content_type=kind)
            cut.headers["Content-Encoding"] = "gzip"
            return cut
    return response


def _with_length(response: Response, length: int) -> Response:
    response.content_length = length
    return response


def _spaces() -> Iterator[bytes]:
    for _ in range(LARGE_BYTES // 65536):
        yield b" " * 65536


def _byte_by_byte(body: bytes, seconds: float) -> Iterator[bytes]:
    for byte in body:
        time.sleep(seconds)
        yield bytes([byte])


def _socket(environ: dict[str, Any]) -> socket.socket | None:
    found: socket.socket | None = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    return found


def send_raw(environ: dict[str, Any], said: bytes) -> None:
    """Bytes that are no HTTP."""
    connection = _socket(environ)
    if connection is not None:
        connection.sendall(said)


def reset(environ: dict[str, Any]) -> None:
    """RST instead of an answer: the server closes the connection when it sees this error."""
    connection = _socket(environ)
    if connection is None:
        raise httpx.ReadError("Connection reset by peer.")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionResetError("trouble was asked for")


def break_off(environ: dict[str, Any]) -> None:
    """Close the caller's connection. In process there is none: the caller's transport error is raised."""
    connection = _socket(environ)
    if connection is None:
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
    connection.shutdown(socket.SHUT_RDWR)


def half_of(body: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
    """The first half of an answer, then nothing."""
    yield body[: max(1, len(body) // 2)]
    break_off(environ)
