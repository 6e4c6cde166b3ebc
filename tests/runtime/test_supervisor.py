"""Processes are kept running, and stopped in order."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from marketplace.core.runtime import supervisor as module
from marketplace.core.runtime.places import Places
from marketplace.core.runtime.programs import Program
from marketplace.core.runtime.servers import ensure_servers, stop_servers
from marketplace.core.runtime.stack import AlreadyRunning, _only_one
from marketplace.core.runtime.supervisor import Supervisor, UnableToStart
from marketplace.core.runtime.valkey import is_valkey_running

pytestmark = pytest.mark.stack

# Says when it starts and when it is stopped.
SCRIPT = """
import signal, sys, threading
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
with open(sys.argv[1], "a") as book:
    book.write(f"{sys.argv[2]} started\\n"); book.flush()
    stop.wait()
    book.write(f"{sys.argv[2]} stopped\\n")
"""


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book"


@pytest.fixture
def supervisor(tmp_path: Path, book: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setattr(module, "_FIRST_DELAY", 0.0)
    programs = [Program(name, (sys.executable, "-c", SCRIPT, str(book), name)) for name in ("first", "second")]
    watched = Supervisor(programs, working_folder=tmp_path, logs=tmp_path / "logs")
    yield watched
    watched.stop()


def lines(book: Path) -> list[str]:
    return book.read_text().splitlines() if book.exists() else []


def test_programs_stop_in_the_reverse_order(supervisor: Supervisor, book: Path) -> None:
    supervisor.start()
    until(lambda: len(lines(book)) == 2)
    assert supervisor.status == "first: up  second: up"
    supervisor.stop()
    assert lines(book)[2:] == ["second stopped", "first stopped"]


def test_crashed_program_is_restarted(supervisor: Supervisor, book: Path) -> None:
    supervisor.start()
    until(lambda: len(lines(book)) == 2)
    crashed = supervisor.pid("second")
    assert crashed
    os.kill(crashed, signal.SIGKILL)
    until(lambda: supervisor.pid("second") is None)
    supervisor.check()
    supervisor.watch(lambda: "second: up (1 restarts)" in supervisor.status, report=lambda line: None, every=0.02)
    assert supervisor.pid("second") not in (None, crashed)


def test_restarts_wait_longer_each_time() -> None:
    child = module._Child(Program("x", ("true",)), Path("/dev/null"), delay=1.0, started_at=100.0)
    waits = []
    for _ in range(7):
        child.plan_restart(101.0)
        waits.append((child.restart_at or 0) - 101.0)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    child.plan_restart(200.0)
    assert child.restart_at == 201.0


def test_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        program = Program("web", ("true",), address=("127.0.0.1", port))
        watched = Supervisor([program], working_folder=tmp_path, logs=tmp_path / "logs")
        with pytest.raises(UnableToStart, match=f"web needs port {port}"):
            watched.start()


def test_program_that_ends_at_once_is_named_with_its_log(tmp_path: Path) -> None:
    program = Program("web", (sys.executable, "-c", "raise SystemExit('no')"), address=("127.0.0.1", 1))
    watched = Supervisor([program], working_folder=tmp_path, logs=tmp_path / "logs")
    with pytest.raises(UnableToStart, match=r"web did not start; see .*web\.log"):
        watched._wait_ready(_started(watched, tmp_path), time.monotonic() + 20)
    assert (tmp_path / "logs" / "web.log").read_text() == "no\n"


def _started(watched: Supervisor, folder: Path) -> module._Child:
    (child,) = watched._children
    child.start(folder)
    return child


def test_second_stack_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    places = Places(tmp_path)
    with _only_one(places), pytest.raises(AlreadyRunning, match=str(os.getpid())), _only_one(places):
        pass
    with _only_one(places):
        pass


def test_broker_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    places = Places(tmp_path / "var")
    ensure_servers(places, needs_postgres=False)
    ensure_servers(places, needs_postgres=False)
    with redis.Redis(unix_socket_path=str(places.valkey_socket)) as client:
        client.set("kept", "yes")
    stop_servers(places)
    assert not is_valkey_running(places)
    ensure_servers(places, needs_postgres=False)
    with redis.Redis(unix_socket_path=str(places.valkey_socket)) as client:
        assert client.get("kept") == b"yes"
    stop_servers(places)
