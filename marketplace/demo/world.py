"""The demo's hands at the simulators: entering things as the provider's own people would, consenting, and reading their books."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx
import msgspec
from django.conf import settings

from connectors.sdk.records import Record, encode


class SimulatedConsentFailed(Exception):
    """The simulator's consent page did not lead back to us."""


class Simulated:
    """One provider's simulator, over HTTP like everybody else."""

    def __init__(self, slug: str) -> None:
        self.slug = slug
        # Plain HTTP on this machine: reading the list of the world's authorities would cost more than the call.
        no_authorities = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.http = httpx.Client(base_url=settings.SIMULATORS[slug], timeout=120, verify=no_authorities)

    def enter(self, organisation: str, records: Sequence[Record], *, by: str, emit: bool = False) -> list[str]:
        """Enter records as the shop's customers, the provider or staff; with `emit`, webhooks are sent. Returns native ids."""
        bodies = [{"data_type": record.data_type, **msgspec.json.decode(encode(record))} for record in records]
        return list(
            self._post("seed", {"organisation": organisation, "by": by, "emit": emit, "records": bodies})["ids"]
        )

    def books(self, organisation: str) -> list[dict[str, Any]]:
        """The provider's own append-only journal of one organisation."""
        answer = self.http.get("/_sim/ledger", params={"after": 0}).raise_for_status().json()
        lines = answer["lines"] if isinstance(answer, dict) else answer
        return [line for line in lines if line["organisation"] == organisation]

    def counts(self) -> dict[str, Any]:
        return dict(self.http.get("/_sim/counts").raise_for_status().json())

    def deliveries(self) -> list[dict[str, Any]]:
        answer = self.http.get("/_sim/deliveries").raise_for_status().json()
        return list(answer["deliveries"] if isinstance(answer, dict) else answer)

    def consent(self, authorize_url: str, organisation: str) -> dict[str, str]:
        """Press Allow on the provider's page. Returns what it sends back to our callback."""
        page = self.http.get(authorize_url)
        form = dict(_inputs(page.text))
        form |= {"decision": "allow", "organisation": organisation}
        action = re.search(r'<form[^>]*action="([^"]*)"', page.text)
        target = urljoin(str(page.url), unescape(action[1])) if action else str(page.url)
        answer = self.http.post(target, data=form)
        location = answer.headers.get("location", "")
        if "code=" not in location:
            raise SimulatedConsentFailed(f"{self.slug}: {answer.status_code} {answer.text[:200]}")
        return dict(parse_qsl(urlsplit(location).query))

    def _post(self, command: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.post(f"/_sim/{command}", content=msgspec.json.encode(body))
        answer.raise_for_status()
        return dict(answer.json())


def _inputs(page: str) -> list[tuple[str, str]]:
    """Hidden fields of a form, in order."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page)
    return [(unescape(name), unescape(value)) for name, value in found]
