"""Bulk operations: one query over everything, prepared by Shopify as a file whose lines name their parents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from connectors.providers.shopify.client import ShopifyClient
from connectors.providers.shopify.queries import BULK_STATUS, BULK_STATUS_COST, MUTATION_COST, RUN_BULK, Shape
from connectors.sdk.errors import ConfigurationError, RateLimited, TransientError, UnexpectedResponse

PAUSES = (2.0, 6.0)  # then the worker does something else
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


def wait_for(client: ShopifyClient, operation_id: str) -> Operation:
    """The finished operation. Raises `Gone`, or `RateLimited` when it takes long: its cursor resumes the waiting."""
    for pause in PAUSES:
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


@dataclass(frozen=True)
class Place:
    """Where in the file the next root object begins: the byte, and how many lines lie before it."""

    at: int = 0
    lines: int = 0


def rows(
    client: ShopifyClient, url: str, shape: Shape, *, begin: Place, lines: int
) -> Iterator[tuple[Operation, Place]]:
    """The root objects from a place of the file on, their children gathered into lists, each with the place after it. An empty
    result has no file. A file that was cut between two lines is known by their number. Raises `FileGone`."""
    if not url:
        return
    fields = {_child_type(part.field): part.field for part in shape.parts}
    current: dict[str, Any] | None = None
    at, found = begin.at, begin.lines
    for end, node in client.download(url, at):
        if "__parentId" in node:
            if current is None:
                raise UnexpectedResponse("Shopify's file does not begin with an object of its own.")
            del node["__parentId"]
            current[fields[_type(node["id"])]].append(node)
        else:
            if current is not None:
                yield current, Place(at, found)
            current = node | {field: [] for field in fields.values()}
        at, found = end, found + 1
    if found != lines:
        raise TransientError("Shopify's file is not complete.", detail=f"{found} of {lines} lines")
    if current is not None:
        yield current, Place(at, found)


def _type(gid: str) -> str:
    return gid.split("/")[3]


def _child_type(field: str) -> str:
    """`lineItems` holds objects of type `LineItem`."""
    return field[0].upper() + field[1:].removesuffix("s")
