"""Compiling choices: what is refused with words, what a tenant types is never executed, odd records are held."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sdk.records import Invoice, Order
from marketplace.mapping.compiling import MappingError, compile_spec, problems_of
from marketplace.mapping.expressions import LONGEST, compile_expression
from marketplace.mapping.plan import Held
from marketplace.mapping.scope import is_in_scope
from marketplace.mapping.templates import TEMPLATES, template
from tests.mapping.plans import SALES, circumstances, plan
from tests.mapping.world import LONDON, NOON, line, order

ORDERS = template("orders")


def value_of(text: str, found: Order | None = None) -> str:
    """What an expression gives as the invoice's reference."""
    fields = SALES | {"reference": {"from": "expression", "text": text}}
    mapped = compile_spec(ORDERS, {"fields": fields})
    return str(mapped.fields(found or order(1), circumstances())["reference"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("number", "#1001"),
        ('concat(customer.name, " / ", trim(number))', "Ada Buyer / 1001"),
        ('if_(total > 50, "large", "small")', "large"),
        ('"large" if total >= 100 else "small"', "small"),
        ('not is_set(note) and country == "GB"', "True"),
        ("total * 2 - 8 / 2", "104"),
        ("total / 0", "0"),
        ("round(total / 7, 2)", "7.71"),
        ("-total", "-54"),
        ("first(upper(customer.name), 3)", "ADA"),
        ("add_days(placed_at, -3)", "2026-10-31"),
        ("payments.method", "Shopify Payments"),
        ("lines.taxes.name", "VAT"),
        ("0.1 + 0.2", "0.3"),
    ],
)
def test_expression_gives(text: str, expected: str) -> None:
    assert value_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__",
        "number.__class__",
        "record",
        "constants",
        "customer.name.upper()",
        "[n for n in number]",
        "lambda: 1",
        "(x := 1)",
        "f'{number}'",
        "number[0]",
        "{1: 2}",
        "2 ** 99999",
        "1 if True else 2",
        "b'bytes'",
        "1e999",
        "1 < 2 < 3",
        "upper()",
        "upper(number, number)",
        "first(number)",
        "concat(*number)",
        "eval(number)",
        "number; number",
        "secret",
        "",
        "~1",
        "x" * (LONGEST + 1),
        "+".join(["1"] * 200),
    ],
)
def test_hostile_expression_is_refused_in_words(text: str) -> None:
    fields = SALES | {"reference": {"from": "expression", "text": text}}
    with pytest.raises(MappingError) as refused:
        compile_spec(ORDERS, {"fields": fields})
    assert refused.value.field == "reference"
    assert "“Reference”" in str(refused.value)


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_a_sentence(text: str) -> None:
    try:
        compile_expression(text, Order, {})
    except ValueError as error:
        assert str(error)


@given(st.text(max_size=40))
def test_text_in_quotes_stays_text(text: str) -> None:
    """Whatever stands in a literal is data: it comes out as it went in."""
    assert value_of(repr(text)) == text


@pytest.mark.parametrize(
    "text", ['first(number, "many")', "add_days(placed_at, 999999999999)", "round(total, 999999999999)"]
)
def test_expression_that_fails_on_a_record_holds_only_that_record(text: str) -> None:
    with pytest.raises(Held, match="“Reference” cannot be worked out") as held:
        value_of(text)
    assert held.value.code == "not_computed"


def test_date_made_of_something_else_is_held() -> None:
    fields = SALES | {"date": {"from": "field", "path": "note"}}
    for note in ("", "yesterday"):
        with pytest.raises(Held, match="“Date” cannot be worked out"):
            plan("orders", order(1, note=note), fields)
    invoice = plan("orders", order(1, note="2026-11-09"), fields)[0].document
    assert isinstance(invoice, Invoice)
    assert invoice.date == dt.date(2026, 11, 9)


@pytest.mark.parametrize(
    ("name", "entry", "words"),
    [
        ("sales_ledger_account", {}, "Choose where “Sales” comes from"),
        ("sales_ledger_account", {"from": "constant", "value": ""}, "Choose where “Sales” comes from"),
        ("date", {"from": "nothing"}, "Choose where “Date” comes from"),
        ("memo", {"from": "field", "path": "lines.secret"}, "no field “lines.secret”"),
        ("memo", {"from": "field"}, "no field"),
        ("memo", {"from": "somewhere"}, "no source called"),
        ("memo", {"from": "field", "path": "note", "steps": [["explode"]]}, "no transform called explode"),
        ("memo", {"from": "field", "path": "note", "steps": [["replace", "a"]]}, "needs 2 values"),
        ("memo", {"from": "field", "path": "note", "steps": [["first", "ten"]]}, "needs a whole number"),
    ],
)
def test_wrong_choice_is_refused_at_its_field(name: str, entry: dict[str, Any], words: str) -> None:
    problems = problems_of(ORDERS, {"fields": SALES | {name: entry}})
    assert list(problems) == [name]
    assert words in problems[name]


def test_steps_follow_one_another() -> None:
    steps = [["trim"], ["prefix", "SO-"], ["replace", "1", "I"], ["suffix", "!"]]
    fields = SALES | {"memo": {"from": "field", "path": "number", "steps": steps}}
    invoice = plan("orders", order(1), fields)[0].document
    assert isinstance(invoice, Invoice)
    assert invoice.memo == "SO-I00I!"


@pytest.mark.parametrize("slug", sorted(TEMPLATES))
def test_defaults_of_every_template_compile_but_for_the_accounts_to_choose(slug: str) -> None:
    chosen = template(slug)
    problems = problems_of(chosen, {"fields": {}})
    assert set(problems) == {field.name for field in chosen.fields if field.is_required and field.choices}


@pytest.mark.parametrize(
    ("path", "operator", "value", "expected"),
    [
        ("country", "is", " gb ", True),
        ("country", "is_not", "GB", False),
        ("customer.name", "contains", "buyer", True),
        ("total", "at_least", "54", True),
        ("total", "at_most", "53.99", False),
        ("total", "at_least", "plenty", True),
        ("placed_at", "on_or_after", "2026-11-03", True),
        ("placed_at", "on_or_before", "2026-11-02", False),
        ("note", "on_or_before", "2026-11-02", False),
        ("lines.kind", "is", "shipping", True),
        ("lines.amount", "at_least", "40", True),
        ("lines.taxes.name", "is", "vat", True),
        ("tags", "is", "wholesale", False),
        ("is_test", "is", "false", True),
    ],
)
def test_condition_holds(path: str, operator: str, value: str, expected: bool) -> None:
    condition = {"path": path, "operator": operator, "value": value}
    assert is_in_scope([condition], order(1), LONDON) is expected


def test_all_conditions_must_hold_by_the_tenants_day() -> None:
    late = order(1, placed_at=dt.datetime(2026, 6, 30, 23, 30, tzinfo=dt.UTC))
    july = {"path": "placed_at", "operator": "on_or_after", "value": "2026-07-01"}
    large = {"path": "total", "operator": "at_least", "value": "1000"}
    assert is_in_scope([july], late, LONDON)
    assert not is_in_scope([july, large], late, LONDON)
    assert is_in_scope([], late, LONDON)


def test_amounts_in_text_are_exact() -> None:
    found = order(1, line("0.10"), total=Decimal("0.12"), placed_at=NOON)
    assert value_of("total", found) == "0.12"
