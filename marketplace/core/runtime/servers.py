"""The embedded servers together. Whoever needs them calls `ensure_servers`; who finds them running uses them."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from marketplace.core.runtime.places import Places
from marketplace.core.runtime.postgres import start_postgres, stop_postgres
from marketplace.core.runtime.valkey import start_valkey, stop_valkey


@contextmanager
def _one_at_a_time(places: Places) -> Iterator[None]:
    places.var.mkdir(parents=True, exist_ok=True)
    with (places.var / "servers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure_servers(
    places: Places, *, needs_postgres: bool = True, needs_valkey: bool = True, is_durable: bool = True
) -> None:
    """Starts what is not running yet; safe to call from several processes at once."""
    with _one_at_a_time(places):
        if needs_postgres:
            start_postgres(places, is_durable=is_durable)
        if needs_valkey:
            start_valkey(places)


def stop_servers(places: Places) -> None:
    with _one_at_a_time(places):
        stop_valkey(places)
        stop_postgres(places)
