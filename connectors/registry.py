"""Finds the connectors: every folder in `connectors/providers` is one, by its modules' agreed names."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from connectors import providers
from connectors.sdk.client import Client
from connectors.sdk.manifest import Manifest
from connectors.sdk.oauth import OAuth
from connectors.sdk.streams import Stream, WritableStream
from connectors.sdk.webhooks import Webhooks
from connectors.testing.simulator import Simulator


class UnknownConnector(LookupError):
    """No connector has this slug."""


@dataclass(frozen=True)
class Connector:
    """One connector, assembled from its folder."""

    manifest: Manifest
    client: type[Client]
    oauth: type[OAuth]
    streams: tuple[Stream, ...]
    webhooks: Webhooks | None

    @property
    def slug(self) -> str:
        return self.manifest.slug

    def stream(self, data_type: str) -> Stream:
        """Raises `UnknownConnector` when this connector does not have the data type."""
        for stream in self.streams:
            if stream.data_type == data_type:
                return stream
        raise UnknownConnector(f"{self.slug} has no data type {data_type}")

    def writable(self, data_type: str) -> WritableStream:
        stream = self.stream(data_type)
        if not isinstance(stream, WritableStream):
            raise UnknownConnector(f"{self.slug} cannot write {data_type}")
        return stream

    @property
    def folder(self) -> Path:
        return Path(str(resources.files(f"connectors.providers.{self.slug}")))

    @property
    def readme(self) -> str:
        return (self.folder / "README.md").read_text(encoding="utf-8")

    @property
    def logo(self) -> str:
        return (self.folder / "logo.svg").read_text(encoding="utf-8")


@cache
def connectors() -> dict[str, Connector]:
    """All connectors by slug, in order of their names."""
    found = [load(module.name) for module in pkgutil.iter_modules(providers.__path__) if module.ispkg]
    return {connector.slug: connector for connector in sorted(found, key=lambda found: found.manifest.name)}


def load(slug: str) -> Connector:
    """One folder as a connector. The agreed names: MANIFEST, CLIENT, OAUTH, STREAMS, WEBHOOKS."""
    package = f"connectors.providers.{slug}"
    client_module = importlib.import_module(f"{package}.client")
    has_webhooks = importlib.util.find_spec(f"{package}.webhooks") is not None
    return Connector(
        manifest=importlib.import_module(f"{package}.manifest").MANIFEST,
        client=client_module.CLIENT,
        oauth=client_module.OAUTH,
        streams=importlib.import_module(f"{package}.streams").STREAMS,
        webhooks=importlib.import_module(f"{package}.webhooks").WEBHOOKS if has_webhooks else None,
    )


def connector(slug: str) -> Connector:
    """Raises `UnknownConnector`."""
    try:
        return connectors()[slug]
    except KeyError:
        raise UnknownConnector(slug) from None


def simulator(slug: str) -> type[Simulator]:
    """The stand-in for a connector's provider. Raises `UnknownConnector` for a connector without one."""
    if slug not in connectors() or importlib.util.find_spec(f"connectors.providers.{slug}.simulator") is None:
        raise UnknownConnector(f"{slug} has no simulator")
    found: type[Simulator] = importlib.import_module(f"connectors.providers.{slug}.simulator").SIMULATOR
    return found
