"""Where the trails stood, written down outside of the database.

Whoever owns the database can rewrite a trail and all its digests. So the head of a trail is appended, as soon as an act is committed, to
a file that belongs on a disk, or a machine, that the application cannot rewrite; a sweep now and then adds what was missed. Each
line names the one before it and is signed with a key that is not in the database: a line that was changed, taken out or put in shows,
and so does a trail that no longer leads to its anchors.

The file that the settings name holds the month in which it was begun. Every later month has a file beside it, whose first line names the
last one of the file before; nothing is written to a file once its month is over.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import hmac
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db import transaction

from marketplace.audit.models import AuditEntry
from marketplace.core.clock import now
from tenants.context import current_tenant, tenant
from tenants.models import Tenant

Heads = dict[str, list[Any]]

OVERLAP = dt.timedelta(hours=1)  # an act may be committed later than its time says
TAIL_BYTES = 64 * 1024


class AnchorsDamaged(Exception):
    """The file is not as it was written."""


@dataclass(frozen=True)
class Anchor:
    """At `at`, the entry `sequence` of a trail had this digest."""

    at: str
    sequence: int
    digest: str


def append_when_committed(entry: AuditEntry) -> None:
    """Write this act down once it can no longer be taken back. Where that fails the act stands, and the next sweep writes it down."""
    path = settings.AUDIT_ANCHORS
    if path is not None:
        heads: Heads = {str(current_tenant().pk): [entry.sequence, entry.digest]}
        transaction.on_commit(lambda: _append_act(Path(path), heads), robust=True)


def _append_act(path: Path, heads: Heads) -> None:
    with _locked(path):
        _append(path, {"at": now().isoformat(), "heads": heads, "is_act": True})


def append_anchors() -> int:
    """The sweep: where the trails stand whose acts were not all written down. Answers how many; none where no file is named."""
    if settings.AUDIT_ANCHORS is None:
        return 0
    path, began = Path(settings.AUDIT_ANCHORS), now()
    with _locked(path):
        since, known, has_acts = _since_last_sweep(_file_for(path, began.isoformat()))
    heads = _heads_since(since, known)  # takes a while with many tenants; nobody who acts waits for it
    if heads or has_acts:
        with _locked(path):
            _append(path, {"at": began.isoformat(), "heads": heads})
    return len(heads)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Whoever writes to any of the files holds the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _files(path: Path) -> list[Path]:
    """The oldest first; those that are there."""
    months = (other for other in path.parent.glob("*") if _MONTH.fullmatch(_middle(path, other)))
    return [*([path] if path.exists() else []), *sorted(months)]


def _middle(path: Path, other: Path) -> str:
    """What stands between the two parts of the file's name in another one's."""
    name = other.name
    is_beside = name.startswith(path.stem) and name.endswith(path.suffix)
    return name[len(path.stem) : len(name) - len(path.suffix)] if is_beside else ""


_MONTH = re.compile(r"\.\d{4}-\d{2}")


def _append(path: Path, told: dict[str, Any]) -> None:
    body = told | {"previous": _digest(_last_line(_files(path)[-1]))}
    line = json.dumps(body | {"signature": _signature(body, settings.TIEOUT_KEK)}, sort_keys=True).encode() + b"\n"
    with _file_for(path, told["at"]).open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _file_for(path: Path, at: str) -> Path:
    """The newest, until its month is over: the order of the files is that of their lines, whatever a host's clock says."""
    newest, month = _files(path)[-1], at[:7]
    last = _loaded(_last_line(newest))
    is_over = last is not None and last["at"][:7] < month
    return path.with_name(f"{path.stem}.{month}{path.suffix}") if is_over else newest


def _last_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return _tail(file)[-1]


def anchors_of(tenant_id: uuid.UUID) -> list[Anchor]:
    """Every time one trail was written down, oldest first. Raises `AnchorsDamaged`."""
    return anchors_of_all().get(str(tenant_id), [])


def anchors_of_all() -> dict[str, list[Anchor]]:
    """The same for every trail, by its tenant's id."""
    found: dict[str, dict[tuple[int, str], Anchor]] = {}
    for line in _genuine_lines():
        for owner, (sequence, digest) in line["heads"].items():
            found.setdefault(owner, {}).setdefault((sequence, digest), Anchor(line["at"], sequence, digest))
    return {owner: list(anchors.values()) for owner, anchors in found.items()}


def _since_last_sweep(path: Path) -> tuple[dt.datetime, Heads, bool]:
    """From when on acts may be missing, the heads written down from then on, and whether acts were written after the sweep. A file
    gets the heads of all trails with its first sweep."""
    if not path.exists():
        return dt.datetime.min.replace(tzinfo=dt.UTC), {}, False
    with path.open("rb") as file:
        return _since_last_sweep_in(file)


def _since_last_sweep_in(file: IO[bytes]) -> tuple[dt.datetime, Heads, bool]:
    size, window = file.seek(0, os.SEEK_END), TAIL_BYTES
    while True:
        lines = [body for line in _tail(file, window) if (body := _loaded(line))]
        sweeps = [number for number, body in enumerate(lines) if "is_act" not in body]
        since = (
            dt.datetime.fromisoformat(lines[sweeps[-1]]["at"]) - OVERLAP
            if sweeps
            else dt.datetime.min.replace(tzinfo=dt.UTC)
        )
        if window >= size or (sweeps and dt.datetime.fromisoformat(lines[0]["at"]) < since):
            known = {owner: head for body in lines for owner, head in body["heads"].items()}
            return since, known, bool(lines) and (not sweeps or sweeps[-1] < len(lines) - 1)
        window *= 4


def _heads_since(since: dt.datetime, known: Heads) -> Heads:
    heads = {}
    for owner in Tenant.objects.order_by("pk"):
        with tenant(owner):
            head = AuditEntry.objects.order_by("-sequence").values_list("at", "sequence", "digest").first()
        if head is not None and head[0] > since and known.get(str(owner.pk)) != list(head[1:]):
            heads[str(owner.pk)] = list(head[1:])
    return heads


def _genuine_lines() -> list[dict[str, Any]]:
    """Of all files. A line that a key signed which is gone by now is vouched for by the lines after it. Raises `AnchorsDamaged`."""
    found: list[dict[str, Any]] = []
    before, unsigned = b"", ""
    for where, line in _lines():
        body = _loaded(line)
        if body is None:
            raise AnchorsDamaged(f"{where} is none of ours.")
        if body["previous"] != _digest(before):
            raise AnchorsDamaged(f"{where} does not follow the one before it.")
        unsigned = "" if _is_signed(body) else where
        before = line
        found.append(body)
    if unsigned:
        raise AnchorsDamaged(f"{unsigned} is signed with no key of ours.")
    return found


def _lines() -> Iterator[tuple[str, bytes]]:
    """Each with the words for where it stands."""
    if settings.AUDIT_ANCHORS is not None:
        for path in _files(Path(settings.AUDIT_ANCHORS)):
            with path.open("rb") as file:
                yield from ((f"Line {number} of {path.name}", line) for number, line in enumerate(file, 1))


def _loaded(line: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(line)
    except ValueError:
        return None
    return (
        body if isinstance(body, dict) and set(body) - {"is_act"} == {"at", "heads", "previous", "signature"} else None
    )


def _is_signed(body: dict[str, Any]) -> bool:
    signed = {name: value for name, value in body.items() if name != "signature"}
    keys = (settings.TIEOUT_KEK, *settings.TIEOUT_KEK_OLD)
    return any(hmac.compare_digest(_signature(signed, key), str(body["signature"])) for key in keys)


def _signature(body: dict[str, Any], key: bytes) -> str:
    own = hmac.digest(key, b"tieout audit anchors", hashlib.sha256)
    return hmac.digest(own, json.dumps(body, sort_keys=True).encode(), hashlib.sha256).hex()


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest() if line else ""


def _tail(file: IO[bytes], window: int = 0) -> list[bytes]:
    """The last lines; at least one whole one, which is empty at the beginning of a file."""
    window = window or TAIL_BYTES
    size = file.seek(0, os.SEEK_END)
    while True:
        file.seek(max(0, size - window))
        lines = file.read().splitlines(keepends=True)
        if window >= size:
            return lines or [b""]
        if len(lines) > 1:
            return lines[1:]  # the first may be the rest of a longer one
        window *= 4
