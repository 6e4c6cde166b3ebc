"""Everything on one machine: the embedded servers, migrations, and the supervised processes."""

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from django.conf import settings
from django.core.management import call_command
from django.db import connections

from marketplace.core.runtime.places import Places
from marketplace.core.runtime.programs import stack_programs
from marketplace.core.runtime.servers import ensure_servers, stop_servers
from marketplace.core.runtime.supervisor import Supervisor


class AlreadyRunning(RuntimeError):
    """Another stack uses the same folder."""


@contextmanager
def _only_one(places: Places) -> Iterator[None]:
    """The lock ends with the process, however that ends; the number in the file is for people."""
    places.var.mkdir(parents=True, exist_ok=True)
    with (places.var / "stack.pid").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            message = f"Tieout already runs on {places.var} (process {file.read().strip()})."
            raise AlreadyRunning(message) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


class StopAsked:
    """Becomes true at Ctrl-C or SIGTERM; the second Ctrl-C does not cut the orderly stop short."""

    def __init__(self) -> None:
        self._is_asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._is_asked = True

    def __call__(self) -> bool:
        return self._is_asked


def ensure_configured_servers() -> None:
    """The embedded servers that the settings do not replace by real ones."""
    ensure_servers(
        settings.PLACES,
        needs_postgres=settings.USES_EMBEDDED_POSTGRES,
        needs_valkey=settings.USES_EMBEDDED_VALKEY,
    )


@contextmanager
def running_servers() -> Iterator[None]:
    """The servers without our processes, migrated; stopped at the end unless a stack runs on them."""
    with _only_one(settings.PLACES):
        try:
            ensure_configured_servers()
            call_command("migrate_all", verbosity=0)
            yield
        finally:
            connections.close_all()
            if settings.USES_EMBEDDED_POSTGRES or settings.USES_EMBEDDED_VALKEY:
                stop_servers(settings.PLACES)


@contextmanager
def running_stack(report: Callable[[str], None]) -> Iterator[Supervisor]:
    """Servers, migrations and every process; all of it is stopped in order when the block ends."""
    with running_servers():
        report("Database and broker are up.")
        supervisor = Supervisor(stack_programs(), working_folder=settings.BASE_DIR, logs=settings.PLACES.logs)
        try:
            supervisor.start()
            yield supervisor
        finally:
            supervisor.stop()
    report("Stopped; the data is kept.")
