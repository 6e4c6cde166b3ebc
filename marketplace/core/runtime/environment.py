"""Settings come from the environment, strictly: a value that cannot be read, or a name nobody asked for, stops the start."""

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

_asked: set[str] = set()
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def _read(name: str) -> str | None:
    """The value of `name`, or the content of the file that `name_FILE` points to (container secrets)."""
    _asked.update({name, f"{name}_FILE"})
    file_name = os.environ.get(f"{name}_FILE")
    if name in os.environ and file_name:
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE, not both.")
    if not file_name:
        return os.environ.get(name)
    try:
        return Path(file_name).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error}") from error


def env_str(name: str, default: str = "", *, choices: tuple[str, ...] = ()) -> str:
    value = _read(name)
    value = default if value is None else value
    if choices and value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value


def env_bool(name: str, default: bool) -> bool:
    value = _read(name)
    if value is None:
        return default
    if value.lower() not in _TRUE | _FALSE:
        raise ImproperlyConfigured(f"{name} must be yes or no, not {value!r}.")
    return value.lower() in _TRUE


def env_int(name: str, default: int) -> int:
    value = _read(name)
    try:
        return default if value is None else int(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from error


def env_list(name: str, default: tuple[str, ...] = ()) -> list[str]:
    value = _read(name)
    return list(default) if value is None else [part.strip() for part in value.split(",") if part.strip()]


def env_urls(name: str) -> dict[str, str] | None:
    """A JSON object of name to URL, or None when the variable is not set."""
    value = _read(name)
    if value is None:
        return None
    try:
        urls = json.loads(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a JSON object: {error}") from error
    if not isinstance(urls, dict) or not all(isinstance(url, str) for url in urls.values()):
        raise ImproperlyConfigured(f"{name} must be a JSON object of name to URL.")
    return urls


def refuse_unknown_names(prefixes: tuple[str, ...]) -> None:
    """A misspelt setting would otherwise be ignored without a word."""
    unknown = sorted(name for name in os.environ if name.startswith(prefixes) and name not in _asked)
    if unknown:
        raise ImproperlyConfigured(f"Unknown settings in the environment: {', '.join(unknown)}.")


def asked_names() -> frozenset[str]:
    """Every environment name that the settings read."""
    return frozenset(_asked)


class Secrets:
    """Secrets from the environment; locally the missing ones are made once and kept in a file only we can read."""

    def __init__(self, path: Path, *, may_generate: bool) -> None:
        self._path = path
        self._may_generate = may_generate

    def text(self, name: str, *, is_required: bool = True) -> str:
        value = _read(name)
        if value is not None:
            return value
        if self._may_generate:
            return self._kept(name)
        if is_required:
            raise ImproperlyConfigured(f"{name} (or {name}_FILE) must be set.")
        return ""

    def key(self, name: str) -> bytes:
        """Exactly 32 bytes, written as URL-safe base64."""
        return self._decoded(name, self.text(name))

    def keys(self, name: str) -> tuple[bytes, ...]:
        """Any number of keys, separated by commas; none unless they are set, for these are never made up."""
        return tuple(self._decoded(name, text) for text in env_list(name))

    def _decoded(self, name: str, text: str) -> bytes:
        try:
            value = base64.urlsafe_b64decode(text.encode() + b"==")
        except ValueError as error:
            raise ImproperlyConfigured(f"{name} must be 32 bytes in URL-safe base64.") from error
        if len(value) != 32:
            raise ImproperlyConfigured(f"{name} must be 32 bytes in URL-safe base64.")
        return value

    def _kept(self, name: str) -> str:
        kept = self._load()
        if name not in kept:
            with self._locked():
                kept = self._load()
                kept.setdefault(name, secrets.token_urlsafe(32))
                self._store(kept)
        return kept[name]

    def _load(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        kept: dict[str, str] = json.loads(self._path.read_text(encoding="utf-8"))
        return kept

    def _store(self, kept: dict[str, str]) -> None:
        part = self._path.with_suffix(".part")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(kept, file, indent=1, sort_keys=True)
        part.replace(self._path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Processes that start together must agree on one value."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
