"""One connector wired to its simulator in process."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from connectors.sdk.client import Access, Client
from connectors.sdk.manifest import Manifest
from connectors.sdk.oauth import OAuth
from connectors.sdk.records import RECORD_TYPES
from connectors.sdk.streams import Cursor, Page, SourceRecord, Stream, WritableStream
from connectors.sdk.webhooks import Webhooks
from connectors.testing.simulator import Simulator

SIMULATOR_URL = "http://simulator.test"
MOST_PAGES = 500

Tamper = Callable[[bytes], bytes]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A connector's folder, taken apart."""

    folder: Path
    manifest: Manifest
    client: type[Client]
    oauth: type[OAuth]
    streams: tuple[Stream, ...]
    webhooks: Webhooks | None
    simulator: type[Simulator]

    @staticmethod
    def of(package: str) -> Parts:
        """The parts by the modules' agreed names."""
        client = importlib.import_module(f"{package}.client")
        has_webhooks = importlib.util.find_spec(f"{package}.webhooks") is not None
        return Parts(
            folder=Path(str(client.__file__)).parent,
            manifest=importlib.import_module(f"{package}.manifest").MANIFEST,
            client=client.CLIENT,
            oauth=client.OAUTH,
            streams=importlib.import_module(f"{package}.streams").STREAMS,
            webhooks=importlib.import_module(f"{package}.webhooks").WEBHOOKS if has_webhooks else None,
            simulator=importlib.import_module(f"{package}.simulator").SIMULATOR,
        )

    def stream(self, data_type: str) -> Stream:
        return next(stream for stream in self.streams if stream.data_type == data_type)


class Wire(httpx.BaseTransport):
    """Carries calls to the simulator, remembers the requests, and can garble one answer on the way back."""

    def __init__(self, simulator: Simulator) -> None:
        self._inner = httpx.WSGITransport(simulator)
        self.requests: list[httpx.Request] = []
        self.tamper: Tamper | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self._inner.handle_request(request)
        if self.tamper is None:
            return response
        headers = [pair for pair in response.headers.raw if pair[0].lower() != b"content-length"]
        return httpx.Response(response.status_code, headers=headers, content=self.tamper(response.read()))


class BenchToken:
    """A token of the simulator; a renewal takes a new one from it without a call."""

    def __init__(self, simulator: Simulator, organisation: str, scopes: Sequence[str]) -> None:
        self._simulator = simulator
        self._organisation = organisation
        self._scopes = tuple(scopes)
        self.renewals = 0
        self._value = self._fresh()

    def current(self) -> str:
        return self._value

    def renew(self, rejected: str) -> str:
        self.renewals += 1
        self._value = self._fresh()
        return self._value

    def _fresh(self) -> str:
        with self._simulator.lock:
            _, answer = self._simulator.oauth.grant_for(self._organisation, self._scopes, "person-1")
        return str(answer["access_token"])


class Bench:
    """Simulator, client and streams of one connector. Waiting winds the simulator's clock instead of passing time."""

    def __init__(self, parts: Parts, *, organisation: str, settings: dict[str, str], page_size: int | None) -> None:
        self.parts = parts
        self.simulator = parts.simulator(speed=1000)
        self.simulator.freeze()
        self.simulator.outbox.behave({"paused": True})
        self.organisation = organisation or str(self.simulator.organisations()[0]["id"])
        self.settings = settings
        self.page_size = page_size
        self.wire = Wire(self.simulator)
        self.http = httpx.Client(transport=self.wire)
        self.environment = next(iter(next(iter(parts.manifest.hosts.values()))))
        self.waited: list[float] = []
        scopes = [scope.name for scope in parts.manifest.auth.scopes]
        self.token = BenchToken(self.simulator, self.organisation, scopes)
        self.client = self.new_client()

    def close(self) -> None:
        self.http.close()
        self.simulator.close()

    @property
    def currency(self) -> str:
        return str(self.simulator.organisation(self.organisation)["base_currency"])

    def new_client(self) -> Client:
        access = Access(
            token=self.token,
            organisation_id=self.organisation,
            environment=self.environment,
            simulator=SIMULATOR_URL,
            settings=self.settings,
            base_currency=self.currency,
            sleep=self.wait,
        )
        return self.parts.client(access, self.http)

    def oauth(self) -> OAuth:
        return self.parts.oauth(
            self.parts.manifest,
            self.simulator.keys,
            environment=self.environment,
            simulator=SIMULATOR_URL,
            settings=self.settings,
            http=self.http,
        )

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        with self.simulator.lock:
            self.simulator.advance(seconds)

    def stream(self, data_type: str) -> Stream:
        """The stream with small pages, so that few records make many."""
        stream = copy.copy(self.parts.stream(data_type))
        if self.page_size is not None:
            stream.page_size = self.page_size  # type: ignore[misc]
        return stream

    def writable(self, data_type: str) -> WritableStream:
        stream = self.parts.stream(data_type)
        assert isinstance(stream, WritableStream)
        return stream

    def pages(self, data_type: str, cursor: Cursor | None = None) -> Iterator[Page]:
        """The listing in which records of this data type arrive, given up when it does not end."""
        stream = self.stream(data_type)
        carrier = self.stream(stream.carried_by) if stream.carried_by else stream
        yield from islice(carrier.pages(self.client, stored(cursor)), MOST_PAGES)

    def read(self, data_type: str, cursor: Cursor | None = None) -> list[SourceRecord]:
        return [record for page in self.pages(data_type, cursor) for record in only(data_type, page)]

    def calls_during(self, work: Callable[[], Any]) -> int:
        before = self.client.calls
        work()
        return self.client.calls - before


def only(data_type: str, page: Page) -> list[SourceRecord]:
    """The records of one data type on a page."""
    return [found for found in page.records if isinstance(found.record, RECORD_TYPES[data_type])]


def stored(cursor: Cursor | None) -> Cursor | None:
    """A cursor after a night in the database: only JSON survives."""
    return None if cursor is None else json.loads(json.dumps(cursor))


def path_only(path: str) -> str:
    return urlsplit(path).path
