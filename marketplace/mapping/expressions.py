"""The expression language of the mapping form: fields, text, numbers, comparisons and a few functions.

    concat(customer.name, " / ", number)        if_(total > 100, "large", "small")        first(note, 30)

It has no loops, no attributes but the record's fields, no way to call anything else, and is limited in length and parts. An
expression is parsed, every part is checked, and new source is written from the parts.
"""

from __future__ import annotations

import ast
import datetime as dt
import inspect
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from connectors.sdk.records import Record
from marketplace.mapping.steps import LONGEST_NUMBER, LONGEST_TEXT, STEPS, as_text

LONGEST = 500
MOST_PARTS = 80
DEEPEST = 25


class Source(str):
    """Checked source text, and what is known of its value: `text` is a str that is not too long, `str` one of any length,
    `instant` an instant in the tenant's zone; `any` may be anything, nothing included."""

    kind: Literal["any", "str", "text", "instant"]

    def __new__(cls, code: str, kind: Literal["any", "str", "text", "instant"] = "any") -> Source:
        made = super().__new__(cls, code)
        made.kind = kind
        return made


def text_source(source: Source) -> Source:
    """Source text for how a value reads in a text field: `as_text`, written out where the type is known."""
    if source.kind == "text":
        return source
    if source.kind == "str":
        return Source(f"{source}[:{LONGEST_TEXT}]", "text")
    return Source(f"as_text({source})", "text")


def apply_source(name: str, parts: Sequence[Source], function: str) -> Source:
    """Source text for calling `function`, known as `name` to the form; the commonest are written out."""
    if name in _METHODS and len(parts) == 1:
        return Source(f"{text_source(parts[0])}.{_METHODS[name]}", "text" if name == "trim" else "str")
    if name == "concat":
        inside = "".join(f"{text_source(part)}, " for part in parts)
        return Source(f"''.join(({inside}))[:{LONGEST_TEXT}]", "text")
    return Source(f"{function}({', '.join(parts)})", "str" if name in _GIVE_TEXT else "any")


#: As the transforms of `steps` do it.
_METHODS = {"trim": "strip(' #')", "upper": "upper()", "lower": "lower()"}
_GIVE_TEXT = frozenset({"first", "replace", "prefix", "suffix"})


def field_source(record_type: type[Record], path: str) -> Source:
    """Source text reading a dotted path of the record; of a list, its first element. Instants are read in the tenant's zone.
    Raises ValueError for an unknown path."""
    kind: Any = record_type
    code, is_there = "record", True
    for part in path.split("."):
        element = _element(kind)
        if element is not None:
            code, kind, is_there = f"({code} or (None,))[0]", element, False
        found = _field_type(kind, part)
        if found is None:
            raise ValueError(f"there is no field “{path}”")
        code, kind = (f"{code}.{part}" if is_there else f"getattr({code}, {part!r}, None)"), found
    if is_there and kind is dt.datetime:
        return Source(f"{code}.astimezone(zone)", "instant")
    if _is_instant(kind):
        return Source(f"as_local({code}, zone)")
    return Source(code, "str" if is_there and kind is str else "any")


def _is_instant(kind: Any) -> bool:
    return kind is dt.datetime or dt.datetime in get_args(kind)


def _field_type(kind: Any, name: str) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)) or name not in kind.__struct_fields__:
        return None
    return get_type_hints(kind)[name]


def _element(kind: Any) -> Any:
    """The type of a list's elements; None for anything else."""
    arguments = get_args(kind)
    return arguments[0] if get_origin(kind) is tuple and len(arguments) == 2 and arguments[1] is ... else None


def compile_expression(text: str, record_type: type[Record], constants: dict[str, Any]) -> Source:
    """Source for a checked expression. Literals go into `constants`, by the names they have in the source; functions are called by
    `call_` and their name. Raises ValueError saying what is wrong."""
    if len(text) > LONGEST:
        raise ValueError(f"an expression has at most {LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError("this is not a complete expression") from error
    if sum(1 for _ in ast.walk(tree)) > MOST_PARTS * 3:
        raise ValueError("this expression has too many parts")
    if _depth(tree) > DEEPEST:
        raise ValueError("this expression is nested too deeply")
    return _Writer(record_type, constants).write(tree.body)


def _depth(tree: ast.AST) -> int:
    """How many parts stand inside one another. Counted level by level, since what is deep cannot be walked down by calls."""
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


class _Writer:
    def __init__(self, record_type: type[Record], constants: dict[str, Any]) -> None:
        self.record_type = record_type
        self.constants = constants

    def write(self, node: ast.expr) -> Source:
        writer = getattr(self, f"_{type(node).__name__.lower()}", None)
        if writer is None:
            raise ValueError(f"“{ast.unparse(node)[:40]}” is not possible in an expression")
        written: Source = writer(node)
        return written

    def _constant(self, node: ast.Constant) -> Source:
        if isinstance(node.value, bool) or not isinstance(node.value, str | int | float) or not _is_finite(node.value):
            raise ValueError(f"“{node.value!r}” is not possible in an expression")
        is_text = isinstance(node.value, str)
        value = node.value if is_text else Decimal(str(node.value))
        return Source(named(self.constants, value), "text" if is_text else "any")

    def _name(self, node: ast.Name) -> Source:
        return field_source(self.record_type, node.id)

    def _attribute(self, node: ast.Attribute) -> Source:
        return field_source(self.record_type, ast.unparse(node))

    def _call(self, node: ast.Call) -> Source:
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords:
            raise ValueError(f"there is no function “{ast.unparse(node.func)[:40]}”")
        fewest, most = _argument_counts(FUNCTIONS[node.func.id])
        if not fewest <= len(node.args) <= most:
            raise ValueError(f"“{node.func.id}” does not take {len(node.args)} values")
        return self._apply(node.func.id, *node.args)

    def _unaryop(self, node: ast.UnaryOp) -> Source:
        if isinstance(node.op, ast.Not):
            return Source(f"(not {self.write(node.operand)})")
        if not isinstance(node.op, ast.USub):
            raise ValueError("this operator is not possible in an expression")
        return self._apply("difference", ast.Constant(0), node.operand)

    def _binop(self, node: ast.BinOp) -> Source:
        return self._apply(_operator(_ARITHMETIC, node.op), node.left, node.right)

    def _compare(self, node: ast.Compare) -> Source:
        if len(node.ops) != 1:
            raise ValueError("compare two things at a time")
        return self._apply(_operator(_COMPARISONS, node.ops[0]), node.left, node.comparators[0])

    def _boolop(self, node: ast.BoolOp) -> Source:
        word = "and" if isinstance(node.op, ast.And) else "or"
        return Source("(" + f" {word} ".join(self.write(value) for value in node.values) + ")")

    def _ifexp(self, node: ast.IfExp) -> Source:
        return Source(f"({self.write(node.body)} if {self.write(node.test)} else {self.write(node.orelse)})")

    def _apply(self, name: str, *nodes: ast.expr) -> Source:
        return apply_source(name, [self.write(node) for node in nodes], f"call_{name}")


def named(constants: dict[str, Any], value: Any) -> str:
    """Keep a value under a name of its own."""
    name = f"constant_{len(constants)}"
    constants[name] = value
    return name


def _is_finite(value: str | int | float) -> bool:
    if isinstance(value, str):
        return True
    exact = Decimal(str(value))
    return exact.is_finite() and abs(exact.adjusted()) <= LONGEST_NUMBER


def _argument_counts(function: Callable[..., Any]) -> tuple[float, float]:
    """The fewest and the most values a function takes."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind == parameter.VAR_POSITIONAL for parameter in parameters):
        return 0, float("inf")
    return sum(1 for parameter in parameters if parameter.default is parameter.empty), len(parameters)


def _operator(known: dict[type[ast.AST], str], operator: ast.AST) -> str:
    try:
        return known[type(operator)]
    except KeyError:
        raise ValueError("this operator is not possible in an expression") from None


def number(value: Any) -> Decimal:
    """Arithmetic is on amounts only; text in a sum is nothing."""
    return value if isinstance(value, Decimal) else Decimal(0)


def divided(left: Any, right: Any) -> Decimal:
    """Division by nothing is nothing, so that one odd record does not stop a mapping."""
    return number(left) / number(right) if number(right) else Decimal(0)


def is_equal(left: Any, right: Any) -> bool:
    return bool(left == right) or as_text(left) == as_text(right)


FUNCTIONS: dict[str, Any] = {
    **{name: STEPS[name] for name in ("upper", "lower", "trim", "first", "replace", "add_days")},
    "concat": lambda *parts: "".join(as_text(part) for part in parts)[:LONGEST_TEXT],
    "if_": lambda condition, yes, no: yes if condition else no,
    "is_set": lambda value: as_text(value) != "",
    "round": lambda value, places=Decimal(0): round(number(value), int(places)),
    "contains": lambda text, part: as_text(part).lower() in as_text(text).lower(),
    "sum": lambda left, right: number(left) + number(right),
    "difference": lambda left, right: number(left) - number(right),
    "product": lambda left, right: number(left) * number(right),
    "quotient": divided,
    "is_equal": is_equal,
    "is_different": lambda left, right: not is_equal(left, right),
    "is_less": lambda left, right: number(left) < number(right),
    "is_more": lambda left, right: number(left) > number(right),
    "is_at_most": lambda left, right: number(left) <= number(right),
    "is_at_least": lambda left, right: number(left) >= number(right),
}
_ARITHMETIC: dict[type[ast.AST], str] = {
    ast.Add: "sum",
    ast.Sub: "difference",
    ast.Mult: "product",
    ast.Div: "quotient",
}
_COMPARISONS: dict[type[ast.AST], str] = {
    ast.Eq: "is_equal",
    ast.NotEq: "is_different",
    ast.Lt: "is_less",
    ast.Gt: "is_more",
    ast.LtE: "is_at_most",
    ast.GtE: "is_at_least",
}
