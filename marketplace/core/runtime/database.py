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
