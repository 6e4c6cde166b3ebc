"""Bulk operations: the submitted query's selection compiled into a plan that writes one line per object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from graphql import GraphQLNamedType, SelectionSetNode, is_composite_type, is_list_type

from connectors.providers.shopify.simulator_schema import (
    Reader,
    Selected,
    document,
    is_connection,
    operation_of,
    schema,
)
from connectors.sdk.client import dump_json

Body = dict[str, Any]
Lookup = Callable[[str, str, Body], Any]

MOST_CONNECTIONS = 5
DEEPEST = 2


@dataclass
class Plan:
    """What to copy of one type. `connections` become lines of their own."""

    type: str
    scalars: list[tuple[str, str]] = field(default_factory=list)
    objects: list[tuple[str, str, Plan]] = field(default_factory=list)
    connections: list[tuple[str, Plan]] = field(default_factory=list)


@dataclass(frozen=True)
class Export:
    """`path` leads from the root to the connection listed, such as ("shopifyPaymentsAccount", "payouts")."""

    path: tuple[str, ...]
    arguments: dict[str, Any]
    plan: Plan


class InvalidBulkQuery(ValueError):
    """Shopify would refuse this query, with this message."""


def export_of(query: str) -> Export:
    """The plan of a bulk query. Raises `InvalidBulkQuery`."""
    parsed, errors = document(query)
    if parsed is None or errors:
        raise InvalidBulkQuery(f"Invalid bulk query: {errors[0].message}")
    reader = Reader(parsed, {})
    selection = operation_of(parsed, None).selection_set
    root = schema().query_type
    assert root is not None
    return _export(reader, root, selection, ())


def _export(
    reader: Reader, parent: GraphQLNamedType, selection: SelectionSetNode | None, path: tuple[str, ...]
) -> Export:
    fields = list(reader.fields(parent, selection))
    roots = [found for found in fields if is_connection(found.field)]
    if len(roots) > 1:
        raise InvalidBulkQuery("Bulk queries cannot contain more than one top level connection.")
    if roots:
        plan = _node_plan(reader, roots[0], 1)
        if _count(plan) > MOST_CONNECTIONS:
            raise InvalidBulkQuery("Bulk queries cannot contain more than 5 connections.")
        return Export((*path, roots[0].name), roots[0].arguments, plan)
    for found in fields:
        if is_composite_type(found.type):
            return _export(reader, found.type, found.selection, (*path, found.name))
    raise InvalidBulkQuery("Bulk queries must contain at least one connection.")


def _count(plan: Plan) -> int:
    return 1 + sum(_count(inner) for _, inner in plan.connections)


def _node_plan(reader: Reader, connection: Selected, depth: int) -> Plan:
    if depth > DEEPEST:
        raise InvalidBulkQuery("Bulk queries cannot contain connections with a nesting depth greater than 2.")
    for part in reader.fields(connection.type, connection.selection):
        if part.name == "nodes":
            return _plan(reader, part.type, part.selection, depth, is_in_list=False)
        if part.name == "edges":
            for inner in reader.fields(part.type, part.selection):
                if inner.name == "node":
                    return _plan(reader, inner.type, inner.selection, depth, is_in_list=False)
    raise InvalidBulkQuery("The parent 'node' field for a nested connection must select its nodes.")


def _plan(
    reader: Reader, type_: GraphQLNamedType, selection: SelectionSetNode | None, depth: int, *, is_in_list: bool
) -> Plan:
    plan = Plan(type_.name)
    for found in reader.fields(type_, selection):
        if is_connection(found.field):
            if is_in_list:
                raise InvalidBulkQuery("Queries that contain a connection field within a list field are not supported.")
            plan.connections.append((found.name, _node_plan(reader, found, depth + 1)))
        elif is_composite_type(found.type):
            is_list = is_list_type(getattr(found.field.type, "of_type", found.field.type))
            inner = _plan(reader, found.type, found.selection, depth, is_in_list=is_in_list or is_list)
            plan.objects.append((found.key, found.name, inner))
        else:
            plan.scalars.append((found.key, found.name))
    return plan


def lines(plan: Plan, bodies: list[Body], lookup: Lookup) -> Iterator[bytes]:
    """The file: each object on its line, its children right after it. `lookup` gives (type, field, body) -> value."""
    for body in bodies:
        yield dump_json(_copy(plan, body, lookup))
        yield from _children(plan, body, lookup)


def _children(plan: Plan, body: Body, lookup: Lookup) -> Iterator[bytes]:
    for name, inner in plan.connections:
        for child in lookup(plan.type, name, body):
            yield dump_json({**_copy(inner, child, lookup), "__parentId": body["id"]})
            yield from _children(inner, child, lookup)


def _copy(plan: Plan, body: Body, lookup: Lookup) -> Body:
    copied = {key: lookup(plan.type, name, body) for key, name in plan.scalars}
    for key, name, inner in plan.objects:
        value = lookup(plan.type, name, body)
        if isinstance(value, list):
            copied[key] = [_copy(inner, item, lookup) for item in value]
        else:
            copied[key] = None if value is None else _copy(inner, value, lookup)
    return copied
