"""Figures read exactly: never rounded, never kinder than they are."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from marketplace.core.formatting import day_text, look_of, money_text, number_text, percent_text


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("1234.5000", "GBP", "GBP 1,234.50"),
        ("-0.1", "EUR", "EUR -0.10"),
        ("1000000", "JPY", "JPY 1,000,000"),
        ("1.5", "KWD", "KWD 1.500"),
        ("0.1234", "GBP", "GBP 0.1234"),
        ("1E+3", "USD", "USD 1,000.00"),
        ("0", "GBP", "GBP 0.00"),
        ("12", "", "12.00"),
    ],
)
def test_money_shows_the_decimals_of_its_currency_and_never_rounds(amount: str, currency: str, text: str) -> None:
    assert money_text(Decimal(amount), currency) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        ("1", "100%"),
        ("0.99996", "99.9%"),
        ("0.985", "98.5%"),
        ("0.5", "50%"),
        ("0.00001", "0.1%"),
        ("0", "0%"),
        ("0.1", "10%"),
    ],
)
def test_percent_is_whole_only_when_all_is_there(share: str, text: str) -> None:
    assert percent_text(Decimal(share)) == text


def test_nothing_is_a_dash() -> None:
    assert money_text(None, "GBP") == number_text(None) == percent_text(None) == day_text(None) == "–"


def test_numbers_and_days_read_as_people_write_them() -> None:
    assert number_text(12345) == "12,345"
    assert day_text(date(2026, 11, 1)) == "1 Nov 2026"


def test_look_takes_the_word_it_is_given() -> None:
    assert look_of("posted", "In the books").word == "In the books"
    assert look_of("posted").tone == "good"
