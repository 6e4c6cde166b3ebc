"""Bulk operations: one query over everything, prepared by Shopify as a file whose lines name their parents."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from connectors.providers.shopify.client import ShopifyClient
from connectors.providers.shopify.nodes import Line
from connectors.providers.shopify.queries import BULK_STATUS, BULK_STATUS_COST, MUTATION_COST, RUN_BULK, Shape
from connectors.sdk.client import dump_json, parse_json
from connectors.sdk.errors import ConfigurationError, RateLimited, TransientError, UnexpectedResponse

PAUSES = (2.0, 6.0)  # then the worker does something else
#: A file of so many rows is not asked for sooner: each question is a call.
ROWS_PER_SECOND = 800
LATER_SECONDS = 20.0

Operation = dict[str, Any]


class Gone(Exception):
    """The operation is unknown, failed or too old; it has to be started again."""


def start(client: ShopifyClient, query: str) -> Operation:
    """Submit; several at a time are refused, which passes."""
    answer = client.graphql(RUN_BULK, {"query": query}, cost=MUTATION_COST)["bulkOperationRunQuery"]
    if answer["userErrors"]:
        first = answer["userErrors"][0]
        if first["code"] in ("OPERATION_IN_PROGRESS", "LIMIT_REACHED"):
            raise RateLimited("Shopify prepares other exports of this shop first.", retry_after=LATER_SECONDS)
        raise UnexpectedResponse("Shopify did not accept our export query.", detail=str(first)[:300])
    operation: Operation = answer["bulkOperation"]
    return operation


def wait_for(client: ShopifyClient, operation_id: str, *, expected: int = 0) -> Operation:
    """The finished operation, of `expected` rows if that is known. Raises `Gone`, or `RateLimited` when it takes long: its cursor
    resumes the waiting."""
    shortest, longest = PAUSES
    for pause in (min(max(shortest, expected / ROWS_PER_SECOND), longest), longest):
        client.access.sleep(pause)
        operation = _status(client, operation_id)
        if operation["status"] == "COMPLETED":
            return operation
        if operation["status"] not in ("CREATED", "RUNNING"):
            raise _failure(operation)
    raise RateLimited("Shopify is still preparing the export.", retry_after=LATER_SECONDS)


def _status(client: ShopifyClient, operation_id: str) -> Operation:
    operation = client.graphql(BULK_STATUS, {"id": operation_id}, cost=BULK_STATUS_COST)["bulkOperation"]
    if operation is None:
        raise Gone(operation_id)
    found: Operation = operation
    return found


def _failure(operation: Operation) -> Exception:
    if operation["status"] in ("EXPIRED", "CANCELED", "CANCELING"):
        return Gone(operation["id"])
    if operation["errorCode"] == "ACCESS_DENIED":
        return ConfigurationError("Shopify does not let this connection export that. Reconnect and allow everything.")
    return TransientError("Shopify could not prepare the export; it is asked again.", detail=str(operation)[:300])


class Place(NamedTuple):
    """Where in the file the next root object begins: the byte, and how many lines lie before it."""

    at: int = 0
    lines: int = 0


def rows(
    client: ShopifyClient, url: str, shape: Shape, *, begin: Place, lines: int
) -> Iterator[tuple[str, str, Place]]:
    """The root objects from a place of the file on, as text with their children gathered into lists, each with its time of change
    and the place after it. An empty result has no file. A file that was cut between two lines is known by their number.
    Raises `FileGone`."""
    if not url:
        return
    current: _Gathering | None = None
    at, found = begin.at, begin.lines
    for end, text, line in client.download(url, at):
        if line.parent_id:
            if current is None:
                raise UnexpectedResponse("Shopify's file does not begin with an object of its own.")
            current.add(text, line)
        else:
            if current is not None:
                yield current.whole(), current.stamp, Place(at, found)
            current = _Gathering(shape, text, line.stamp)
        at, found = end, found + 1
    if found != lines:
        raise TransientError("Shopify's file is not complete.", detail=f"{found} of {lines} lines")
    if current is not None:
        yield current.whole(), current.stamp, Place(at, found)


class _Gathering:
    """A root object whose children still come: put together as text, as each of them came."""

    def __init__(self, shape: Shape, text: str, stamp: str) -> None:
        self.stamp = stamp
        self._text = text
        self._children: dict[str, list[str]] = {part.field: [] for part in shape.parts}

    def add(self, text: str, line: Line) -> None:
        field = _field_of(_type(str(line.id)))
        if field not in self._children:
            raise UnexpectedResponse("Shopify's file holds something that was not asked for.", detail=text[:200])
        self._children[field].append(_without_parent(text, line.parent_id))

    def whole(self) -> str:
        if not self._children:
            return self._text
        lists = [f'"{field}":[{",".join(children)}]' for field, children in self._children.items()]
        return f"{self._text[:-1]},{','.join(lists)}}}"


def _without_parent(text: str, parent_id: str) -> str:
    """A child as if it had come in a list. Shopify names the parent last."""
    named = f',"__parentId":"{parent_id}"}}'
    if text.endswith(named):
        return f"{text[: -len(named)]}}}"
    node = parse_json(text)
    del node["__parentId"]
    return dump_json(node).decode()


def _type(gid: str) -> str:
    """Of "gid://shopify/LineItem/7": "LineItem"; nothing of what is no identity."""
    parts = gid.split("/")
    return parts[3] if len(parts) == 5 else ""


@lru_cache(maxsize=64)
def _field_of(type_: str) -> str:
    """Objects of type `LineItem` are in the list `lineItems`."""
    return f"{type_[:1].lower()}{type_[1:]}s"
