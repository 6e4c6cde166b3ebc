"""Which template can run between which two connections, by what their connectors read and write."""

from __future__ import annotations

from collections.abc import Iterable

from connectors.registry import connector
from connectors.sdk.streams import WritableStream
from marketplace.installations.models import Connection
from marketplace.mapping.templates import Template


def reads(slug: str, data_type: str) -> bool:
    return any(stream.data_type == data_type for stream in connector(slug).streams)


def writes_all(slug: str, data_types: Iterable[str]) -> bool:
    streams = connector(slug).streams
    written = {stream.data_type for stream in streams if isinstance(stream, WritableStream)}
    return set(data_types) <= written


def can_run(chosen: Template, source: Connection, target: Connection) -> bool:
    """Whether a template can run between these two."""
    is_pair = source.pk != target.pk
    return is_pair and reads(source.connector, chosen.source_type) and writes_all(target.connector, chosen.needs)
