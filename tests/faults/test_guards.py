"""C17: a guard that is taken away must be noticed, or the campaign's zeros mean nothing."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.faults.campaign import CI, SEED, SIZE, Size
from tests.faults.forked import Forked
from tests.faults.removal import REMOVE, REPORT, Guard, guards

pytestmark = [pytest.mark.faults, pytest.mark.stack]

LEAST = 30
PATIENCE = 180.0
FAILED = 1  # pytest's exit code for tests that ran and failed
#: What is loaded before is not a test, so there is nothing in it to be rewritten.
OPTIONS = ["-q", "-n0", "-p", "no:cacheprovider", "--tb=short", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
#: Whose number leads to counters of its own, which nobody beside it empties or uses up.
COUNTED_APART = "PYTEST_XDIST_WORKER"
#: What a test ends with that could not be run at all, rather than having noticed something.
BROKEN = ("ImportError", "ModuleNotFoundError", "NameError", "AttributeError", "SyntaxError", "fixture ")


def chosen() -> list[Guard]:
    """At release size all of them; otherwise the ones that stand for each area."""
    found = guards().values()
    return [guard for guard in found if guard.in_ci or Size.asked().is_release]


def test_there_are_guards_enough_to_take_away() -> None:
    assert len(guards()) >= LEAST


@pytest.mark.parametrize("guard", guards().values(), ids=lambda guard: guard.name)
def test_guard_is_where_it_is_taken_away_and_its_test_exists(guard: Guard) -> None:
    """So that a guard that moved is seen with the change that moved it, not when all are taken away before a release."""
    file, _, name = guard.noticed_by.partition("::")
    assert f"def {name.partition('[')[0]}(" in (settings.BASE_DIR / file).read_text()
    if (child := os.fork()) == 0:
        status = 1
        try:
            guard.remove()
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def without(guard: Guard, report: Path) -> dict[str, str]:
    """The environment in which the test that must notice runs, at its small size and with its own seed."""
    kept = {
        name: value for name, value in os.environ.items() if name == COUNTED_APART or not name.startswith("PYTEST_")
    }
    return {**kept, SIZE: CI, SEED: "", REMOVE: guard.name, REPORT: str(report)}


@pytest.mark.parametrize("guard", chosen(), ids=lambda guard: guard.name)
def test_guard_taken_away_is_noticed(guard: Guard, tmp_path: Path, tell: Any) -> None:
    report = tmp_path / "report"
    told = tmp_path / "told"
    process = Forked("pytest", [guard.noticed_by, *OPTIONS], without(guard, report), told)
    try:
        code = process.wait(PATIENCE)
    finally:
        process.kill()
    failures = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    words = told.read_text()[-5000:]
    assert code == FAILED, f"Nobody noticed that this was gone: {guard.name}\n{words}"
    noticed = [one for one in failures if one["when"] == "call" and not one["message"].startswith(BROKEN)]
    assert noticed, f"The test could not be run without: {guard.name}\n{words}"
    tell("C17", f"without: {guard.name}", tried=1)
