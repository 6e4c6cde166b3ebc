"""Django's database settings from a URL, or for the embedded server."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from marketplace.core.runtime.places import Places


def database_from_url(url: str) -> dict[str, Any]:
    """`postgresql://user:password@host:port/name?sslmode=...`; a `host` parameter names a socket folder."""
    parts = urlsplit(url)
    name = unquote(parts.path.lstrip("/"))
    if parts.scheme not in ("postgres", "postgresql") or not name:
        raise ImproperlyConfigured("DATABASE_URL must look like postgresql://user:password@host:port/name.")
    options = dict(parse_qsl(parts.query))
    return {
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "OPTIONS": options,
    }


def embedded_database(places: Places) -> dict[str, Any]:
    return {"NAME": "tieout", "USER": "postgres", "HOST": str(places.sockets), "OPTIONS": {}}


#: A process that stands still in the middle of a transaction holds its rows no longer than one outside of it holds its lease.
IDLE_IN_TRANSACTION_SECONDS = 180


def with_patience(database: dict[str, Any], seconds: int = IDLE_IN_TRANSACTION_SECONDS) -> dict[str, Any]:
    """The same database, whose sessions end when nothing happens in an open transaction for so long."""
    options = database["OPTIONS"]
    told = f"{options.get('options', '')} -c idle_in_transaction_session_timeout={seconds * 1000}".strip()
    return {**database, "OPTIONS": {**options, "options": told}}


def with_values_apart(database: dict[str, Any]) -> dict[str, Any]:
    """The same database, told each value beside its statement: what the server shows of its work, or logs of it, holds no payload."""
    return {**database, "OPTIONS": {**database["OPTIONS"], "server_side_binding": True}}
