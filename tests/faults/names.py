"""A name server on this machine whose answers change from one question to the next, and the way to ask it."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

HEADER = struct.Struct("!HHHHHH")
ANSWERED = 0x8180


class NameServer:
    """`answers` maps a name to what it is each time it is asked for; the last answer stays."""

    def __init__(self, answers: dict[str, Sequence[Sequence[str]]]) -> None:
        self.answers = answers
        self.asked: Counter[str] = Counter()
        self.port = 0

    def answer(self, query: bytes) -> bytes:
        number, *_ = HEADER.unpack_from(query)
        name, end = _name(query)
        turns = self.answers.get(name, [[]])
        addresses = turns[min(self.asked[name], len(turns) - 1)]
        self.asked[name] += 1
        head = HEADER.pack(number, ANSWERED, 1, len(addresses), 0, 0)
        return head + query[HEADER.size : end + 4] + b"".join(map(_record, addresses))

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """Asks over UDP, as a machine's resolver does that keeps nothing."""
        labels = b"".join(bytes([len(label)]) + label.encode() for label in host.split("."))
        query = HEADER.pack(7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 255, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(5)
            asking.sendto(query, ("127.0.0.1", self.port))
            return _addresses(asking.recv(4096))


def _name(query: bytes) -> tuple[str, int]:
    labels, at = [], HEADER.size
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(labels), at + 1


def _record(address: str) -> bytes:
    family, kind = (socket.AF_INET6, 28) if ":" in address else (socket.AF_INET, 1)
    body = socket.inet_pton(family, address)
    return struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(body)) + body


def _addresses(answer: bytes) -> list[str]:
    count = HEADER.unpack_from(answer)[3]
    at = _name(answer)[1] + 4
    found = []
    for _ in range(count):
        _, kind, _, _, length = struct.unpack_from("!HHHIH", answer, at)
        found.append(
            socket.inet_ntop(socket.AF_INET6 if kind == 28 else socket.AF_INET, answer[at + 12 : at + 12 + length])
        )
        at += 12 + length
    return found


@contextmanager
def name_server(answers: dict[str, Sequence[Sequence[str]]]) -> Iterator[NameServer]:
    names = NameServer(answers)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query, asking = self.request
            asking.sendto(names.answer(query), self.client_address)

    with socketserver.UDPServer(("127.0.0.1", 0), Handler) as server:
        names.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield names
        finally:
            server.shutdown()
            thread.join()
