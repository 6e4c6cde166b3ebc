"""A server that answers as badly as a test asks, on a real socket."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from connectors.sdk.exchange import MAX_ANSWER_BYTES

Answer = Callable[[socket.socket], None]
MORE_THAN_ENOUGH = 5 * MAX_ANSWER_BYTES


class Rough:
    """Gives each connection the same answer, and counts the requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self.closing.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(5)
            try:
                self.requests.append(connection.recv(65536))
                self.answer(connection)
            except OSError:
                return  # the caller had enough

    def trickled(self, text: bytes, seconds: float) -> Answer:
        """One byte at a time."""

        def answer(connection: socket.socket) -> None:
            for byte in text:
                if self.closing.wait(seconds):
                    return
                connection.sendall(bytes([byte]))

        return answer


@contextmanager
def rough(answer: Answer | None = None) -> Iterator[Rough]:
    server = Rough(answer or whole(b"{}"))
    try:
        yield server
    finally:
        server.close()


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: application/json", *lines, "", ""]).encode()


def whole(body: bytes, *lines: str, status: str = "200 OK") -> Answer:
    return lambda connection: connection.sendall(
        head(f"Content-Length: {len(body)}", "Connection: close", *lines, status=status) + body
    )


def cut_short(body: bytes, *lines: str) -> Answer:
    """Half of what was announced, then the end."""
    announced = head(f"Content-Length: {len(body)}", *lines)
    return lambda connection: connection.sendall(announced + body[: len(body) // 2])


def endless(connection: socket.socket) -> None:
    """A list that does not end: more of it than anybody may read, as fast as it can be read, and then nothing."""
    connection.sendall(head("Connection: close") + b"[")
    for _ in range(MORE_THAN_ENOUGH // 65_536):
        connection.sendall(b"1," * 32_768)
    connection.settimeout(None)
    while connection.recv(1024):  # until the reader hangs up
        continue


def bomb(megabytes: int) -> Answer:
    """A small answer that unpacks to a large one."""
    return whole(gzip.compress(b" " * (megabytes * 1024 * 1024)), "Content-Encoding: gzip")


def packed_and_cut(body: bytes) -> Answer:
    """Packed, cut, and announced at the length it has after the cut: nothing but the packing says that something is missing."""
    packed = gzip.compress(body)
    return whole(packed[: len(packed) // 2], "Content-Encoding: gzip")


def reset(connection: socket.socket) -> None:
    """RST instead of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def garbage(connection: socket.socket) -> None:
    """A TLS alert where HTTP was spoken."""
    connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")
