"""Every address of a business, with real ids: found by following the links and forms its owner sees."""

from __future__ import annotations

import re
from collections import deque
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve, reverse

from tests.journeys.caller import Caller

LINK = re.compile(r'(?:href|action|formaction|hx-get|hx-post)="([^"]+)"')
#: How many pages of one kind are read; more of the same show no new kind.
PAGES_OF_A_KIND = 6
#: What the journey leaves no instance of, by the name of its address.
NOT_THERE = "00000000-0000-4000-8000-000000000000"
NONE_SEEN = {
    "row_id": 1,
    "conflict_id": 1,
    "copy_id": 1,
    "state_id": NOT_THERE,
    "run_id": NOT_THERE,
    "to_stage": "live",
}


def seen_by(caller: Caller, home: str) -> dict[str, str]:
    """One address of each kind that links lead to, by the kind's name."""
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    waiting, known = deque([home]), {home}
    while waiting:
        path = waiting.popleft()
        kind = _kind(path)
        if not kind:
            continue
        found.setdefault(kind, path)
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] > PAGES_OF_A_KIND:
            continue
        for link in _links(caller, path):
            if link.startswith(home) and link not in known:
                known.add(link)
                waiting.append(link)
    return found


def _links(caller: Caller, path: str) -> list[str]:
    answer = caller.get(path)
    if "html" not in answer.headers.get("content-type", ""):
        return []
    return [urlsplit(urljoin(path, unescape(link))).path for link in LINK.findall(answer.text)]


def _kind(path: str) -> str:
    try:
        return resolve(path).url_name or ""
    except Resolver404:
        return ""


def of_every_kind(seen: dict[str, str]) -> dict[str, str]:
    """Every address of the URL configuration below a business; what no link led to gets the ids of what was seen."""
    ids: dict[str, Any] = dict(NONE_SEEN)
    for path in seen.values():
        ids |= resolve(path).kwargs
    made = {}
    for name, arguments in _tenant_patterns(get_resolver().url_patterns):
        made[name] = seen.get(name) or reverse(name, kwargs={argument: ids[argument] for argument in arguments})
    return made


def _tenant_patterns(patterns: list[Any]) -> list[tuple[str, set[str]]]:
    found: list[tuple[str, set[str]]] = []
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            found += _tenant_patterns(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and "tenant_slug" in pattern.pattern.converters:
            assert pattern.name
            found.append((pattern.name, set(pattern.pattern.converters)))
    return found
