"""Whatever a form can say, the written-out function gives what a plain interpreter of the same choices gives."""

from __future__ import annotations

import ast
import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sdk.records import Order, Party, SaleLine, SalePayment, Tax
from marketplace.mapping.compiling import compile_spec
from marketplace.mapping.expressions import FUNCTIONS
from marketplace.mapping.plan import Held
from marketplace.mapping.steps import STEPS, as_date, as_local, as_text
from marketplace.mapping.templates import template
from tests.mapping.plans import SALES, circumstances
from tests.mapping.world import order

ORDERS = template("orders")
PATHS = (
    "number", "note", "total", "placed_at", "updated_at", "customer.name", "customer.id", "country", "status", "tags",
    "taxes_included", "payments.method", "payments.paid_at", "payments.amount", "lines.description", "lines.taxes.name",
    "lines.quantity",
)  # fmt: skip
WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
LONG = st.sampled_from(["", "#1001 ", "ß" * 3999, "x" * 4001, "İ" * 4000])
MONEY = st.decimals(min_value=-(10**9), max_value=10**9, places=2, allow_nan=False)
INSTANTS = st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2030, 12, 31), timezones=st.just(dt.UTC))
PAYMENTS = st.builds(SalePayment, id=WORDS, method=WORDS, amount=MONEY, paid_at=INSTANTS)
LINES = st.builds(
    SaleLine,
    description=WORDS,
    amount=MONEY,
    quantity=st.just(Decimal("1.50")),
    taxes=st.lists(st.builds(Tax, name=WORDS, rate=st.just(Decimal("0.2")), amount=MONEY), max_size=1).map(tuple),
)
RECORDS = st.builds(
    lambda **changes: msgspec.structs.replace(order(1), **changes),
    number=WORDS | LONG,
    note=WORDS | LONG,
    total=MONEY,
    placed_at=INSTANTS,
    updated_at=INSTANTS,
    customer=st.builds(Party, id=WORDS, name=WORDS | LONG),
    country=st.sampled_from(["GB", ""]),
    tags=st.lists(WORDS, max_size=3).map(tuple),
    payments=st.lists(PAYMENTS, max_size=2).map(tuple),
    lines=st.lists(LINES, max_size=2).map(tuple),
)
STEP = st.one_of(
    st.sampled_from([["upper"], ["lower"], ["trim"], ["first", "3"], ["first", "0"], ["add_days", "2"], ["add_days", "-2"]]),
    st.tuples(st.sampled_from(["prefix", "suffix"]), WORDS).map(list),
    st.tuples(st.just("replace"), WORDS, WORDS).map(list),
)  # fmt: skip
PART = st.sampled_from(PATHS) | WORDS.map(repr) | st.sampled_from(["1", "2.5", "0"])
CALL = st.one_of(
    st.tuples(st.sampled_from(["upper", "lower", "trim", "is_set"]), PART).map(lambda one: f"{one[0]}({one[1]})"),
    st.lists(PART, max_size=4).map(lambda parts: f"concat({', '.join(parts)})"),
    st.tuples(PART, PART, PART).map(lambda three: f"if_({three[0]} == {three[1]}, {three[2]}, {three[0]})"),
    st.tuples(PART, PART).map(lambda two: f"{two[0]} + {two[1]}"),
)
EXPRESSION = CALL | CALL.map(lambda inner: f"trim(concat({inner}, {inner}))") | PART
SOURCE = st.one_of(
    st.builds(lambda path: {"from": "field", "path": path}, st.sampled_from(PATHS)),
    st.builds(lambda value: {"from": "constant", "value": value}, WORDS | LONG),
    st.builds(lambda text: {"from": "expression", "text": text}, EXPRESSION),
)
ENTRY = st.builds(lambda source, steps: {**source, "steps": steps}, SOURCE, st.lists(STEP, max_size=2))


def interpreted(entry: dict[str, Any], record: Order, zone: ZoneInfo, kind: str) -> Any:
    if entry["from"] == "constant":
        value: Any = entry["value"]
    elif entry["from"] == "field":
        value = walked(record, entry["path"], zone)
    else:
        value = evaluated(ast.parse(entry["text"].strip(), mode="eval").body, record, zone)
    for step, *arguments in entry["steps"]:
        value = STEPS[step](value, *arguments)
    return as_date(value, zone) if kind == "date" else as_text(value)


def walked(record: Any, path: str, zone: ZoneInfo) -> Any:
    value = record
    for part in path.split("."):
        if isinstance(value, tuple):
            value = (value or (None,))[0]
        value = getattr(value, part, None)
    return as_local(value, zone)


def evaluated(node: ast.expr, record: Order, zone: ZoneInfo) -> Any:
    def inside(part: ast.expr) -> Any:
        return evaluated(part, record, zone)

    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.Constant(value=value):
            return Decimal(str(value))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return FUNCTIONS[name](*map(inside, arguments))
        case ast.BinOp(left=left, right=right):
            return FUNCTIONS["sum"](inside(left), inside(right))
        case ast.Compare(left=left, comparators=[right]):
            return FUNCTIONS["is_equal"](inside(left), inside(right))
    return walked(record, ast.unparse(node), zone)


@settings(max_examples=300)
@given(record=RECORDS, reference=ENTRY, memo=ENTRY, due=ENTRY)
def test_compiled_equals_interpreted(
    record: Order, reference: dict[str, Any], memo: dict[str, Any], due: dict[str, Any]
) -> None:
    entries = {"reference": (reference, "text"), "memo": (memo, "text"), "due_date": (due, "date")}
    around = circumstances()
    mapped = compile_spec(ORDERS, {"fields": SALES | {name: entry for name, (entry, _) in entries.items()}})
    try:
        expected = {name: interpreted(entry, record, around.time_zone, kind) for name, (entry, kind) in entries.items()}
    except (ArithmeticError, TypeError, ValueError):
        expected = {}
    try:
        found = mapped.fields(record, around)
    except Held as held:
        assert (held.code, expected) == ("not_computed", {})
        return
    assert {name: found[name] for name in entries} == expected
