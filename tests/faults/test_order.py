"""The list of long tests names tests there are."""

from pathlib import Path

import pytest

from tests.faults.order import LONG, place_of

pytestmark = pytest.mark.faults


def test_every_long_test_is_there() -> None:
    written = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in LONG if f"def {name}(" not in written] == []


def test_tests_that_are_not_named_come_last() -> None:
    assert sorted(["test_short", *reversed(LONG)], key=place_of) == [*LONG, "test_short"]
