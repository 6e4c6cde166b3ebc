"""The published schema, trimmed to what is simulated, and what a query costs under Shopify's rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    build_schema,
    get_named_type,
    is_composite_type,
    is_list_type,
    parse,
    validate,
)
from graphql.pyutils import Undefined
from graphql.utilities import value_from_ast_untyped

MAX_COST = 1000
MUTATION_COST = 10
#: Parts of a connection that cost nothing by themselves.
FREE = {"PageInfo"}


@cache
def schema() -> GraphQLSchema:
    text = (resources.files(__package__) / "schema.graphql").read_text(encoding="utf-8")
    return build_schema(text)


@lru_cache(maxsize=256)
def document(query: str) -> tuple[DocumentNode | None, tuple[GraphQLError, ...]]:
    """The query parsed and checked, or what is wrong with it."""
    try:
        parsed = parse(query)
    except GraphQLError as error:
        return None, (error,)
    return parsed, tuple(validate(schema(), parsed))


def operation_of(parsed: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The operation to run. Raises `GraphQLError` when that is unclear."""
    found = [node for node in parsed.definitions if isinstance(node, OperationDefinitionNode)]
    named = [node for node in found if name and node.name and node.name.value == name]
    if not (named or len(found) == 1):
        raise GraphQLError("An operation name is required")
    return (named or found)[0]


def is_connection(field: GraphQLField) -> bool:
    return get_named_type(field.type).name.endswith("Connection")


@dataclass(frozen=True)
class Selected:
    """One field of a selection, with its arguments as plain values."""

    key: str
    name: str
    field: GraphQLField
    arguments: dict[str, Any]
    selection: SelectionSetNode | None

    @property
    def type(self) -> GraphQLNamedType:
        return get_named_type(self.field.type)


class Reader:
    """Walks a document's selections with fragments resolved and variables filled in."""

    def __init__(self, parsed: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._variables = dict(variables)
        self._fragments = {
            node.name.value: node for node in parsed.definitions if isinstance(node, FragmentDefinitionNode)
        }

    def fields(self, parent: GraphQLNamedType, selection: SelectionSetNode | None) -> Iterator[Selected]:
        for node in selection.selections if selection else ():
            if isinstance(node, FieldNode):
                if not node.name.value.startswith("__"):
                    yield self._selected(parent, node)
            elif isinstance(node, InlineFragmentNode | FragmentSpreadNode):
                fragment = self._fragments[node.name.value] if isinstance(node, FragmentSpreadNode) else node
                condition = fragment.type_condition
                owner = schema().type_map[condition.name.value] if condition else parent
                yield from self.fields(owner, fragment.selection_set)

    def _selected(self, parent: GraphQLNamedType, node: FieldNode) -> Selected:
        assert isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
        arguments = {
            argument.name.value: value_from_ast_untyped(argument.value, self._variables)
            for argument in node.arguments or ()
        }
        return Selected(
            key=node.alias.value if node.alias else node.name.value,
            name=node.name.value,
            field=parent.fields[node.name.value],
            arguments={name: value for name, value in arguments.items() if value is not Undefined},
            selection=node.selection_set,
        )


def cost(reader: Reader, parent: GraphQLNamedType, selection: SelectionSetNode | None, answer: Any = None) -> int:
    """Points: an object 1, a connection 2 and its nodes, a mutation 10.

    Without an `answer` lists count what was asked for; with one, what came.
    """
    return sum(_field_cost(reader, parent, selected, answer) for selected in reader.fields(parent, selection))


def _field_cost(reader: Reader, parent: GraphQLNamedType, selected: Selected, answer: Any) -> int:
    if parent is schema().mutation_type:
        return MUTATION_COST
    if not is_composite_type(selected.type) or selected.type.name in FREE:
        return 0
    value = None if answer is None else answer.get(selected.key, {})
    if answer is not None and value is None:
        return 0
    if is_connection(selected.field):
        return 2 + _connection_cost(reader, selected, value)
    if is_list_type(_nullable(selected.field.type)):
        return _list_cost(reader, selected, value)
    return 1 + cost(reader, selected.type, selected.selection, value)


def _list_cost(reader: Reader, selected: Selected, value: Any) -> int:
    """A plain list counts once, however long; `nodes` counts every id."""
    ids = selected.arguments.get("ids")
    if value is None:
        each = 1 + cost(reader, selected.type, selected.selection)
        return each * (len(ids) if ids is not None else 1)
    items = [item for item in value if item]
    counted = items if ids is not None else items[:1]
    return sum(1 + cost(reader, selected.type, selected.selection, item) for item in counted)


def _connection_cost(reader: Reader, selected: Selected, value: Any) -> int:
    count = int(selected.arguments.get("first") or selected.arguments.get("last") or 0)
    total = 0
    for part in reader.fields(selected.type, selected.selection):
        if part.name == "nodes":
            total += _nodes_cost(reader, part, None if value is None else value[part.key], count)
        elif part.name == "edges":
            items = None if value is None else value[part.key]
            for inner in reader.fields(part.type, part.selection):
                if inner.name == "node":
                    nodes = None if items is None else [item[inner.key] for item in items]
                    total += _nodes_cost(reader, inner, nodes, count)
    return total


def _nodes_cost(reader: Reader, selected: Selected, nodes: list[Any] | None, count: int) -> int:
    if nodes is None:
        return count * (1 + cost(reader, selected.type, selected.selection))
    return sum(1 + cost(reader, selected.type, selected.selection, node) for node in nodes)


def _nullable(type_: Any) -> Any:
    return getattr(type_, "of_type", type_) if type_.__class__.__name__ == "GraphQLNonNull" else type_
