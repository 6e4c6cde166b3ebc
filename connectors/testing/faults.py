"""Trouble on demand: what the next matching calls meet instead of, or after, their work."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import httpx

Kind = Literal["status", "drop_before", "drop_after", "half_body", "html", "slow", "reset_token"]
KINDS: tuple[str, ...] = get_args(Kind)


class UnknownFault(ValueError):
    """The fault asked for does not exist."""


@dataclass(kw_only=True)
class Fault:
    """`match` is a method (or `*`) and a path prefix; `after` matches pass, the next `times` are hit."""

    match: str
    kind: Kind
    status: int = 503
    seconds: float = 0.0
    times: int = 1
    after: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownFault(f"kind must be one of {', '.join(KINDS)}")
        if " " not in self.match:
            raise UnknownFault("match must be a method and a path prefix, such as 'POST /v1/invoices'")

    def hits(self, method: str, path: str) -> bool:
        wanted, prefix = self.match.split(" ", 1)
        return wanted in ("*", method) and path.startswith(prefix)


class Faults:
    """The faults still to come, oldest first."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._waiting.append(fault)

    def clear(self) -> None:
        self._waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault this call meets, counted down."""
        for fault in self._waiting:
            if not fault.hits(method, path):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.times -= 1
            if fault.times <= 0:
                self._waiting.remove(fault)
            return fault
        return None


def break_off(environ: dict[str, Any]) -> None:
    """Close the caller's connection. In process there is none: the caller's transport error is raised."""
    connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if connection is None:
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
    connection.shutdown(socket.SHUT_RDWR)


def half_of(body: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
    """The first half of an answer, then nothing."""
    yield body[: max(1, len(body) // 2)]
    break_off(environ)
