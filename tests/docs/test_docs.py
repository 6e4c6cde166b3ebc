"""The documentation keeps up with the product: settings, commands and links."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
#: Read from the environment through these functions; a name made of parts is documented with its pattern.
READ = re.compile(r'(?:env_(?:str|bool|int|list|urls)|SECRETS\.(?:text|key|keys))\(\s*f?"([^"]+)"')
SETTING = re.compile(r"`((?:TIEOUT|CONNECTOR|DATABASE|REDIS)_[A-Z_<>]+)`")
#: As pages name tests: a file and a function.
TEST = re.compile(r"`((?:tests|connectors)/[\w/.]+\.py)::(\w+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def settings_read() -> set[str]:
    found = READ.findall((ROOT / "marketplace" / "settings.py").read_text())
    names = {re.sub(r"\{slug\.upper\(\)\}", "<SLUG>", name) for name in found if not name.startswith("{")}
    return names | {f"CONNECTOR_<SLUG>_{part}" for part in ("CLIENT_ID", "CLIENT_SECRET", "WEBHOOK_SECRET")}


def settings_documented() -> set[str]:
    table = (ROOT / "docs" / "operators.md").read_text().split("## Settings")[1].split("\n## ")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for cell in first_cells for name in SETTING.findall(cell)}


def test_operators_page_names_exactly_the_settings_there_are() -> None:
    assert len(settings_read()) > 20
    assert settings_documented() == settings_read()


def test_example_environment_names_only_settings_there_are() -> None:
    lines = (ROOT / "deploy" / "env.example").read_text().splitlines()
    names = {line.lstrip("# ").split("=")[0] for line in lines if re.match(r"(# )?[A-Z][A-Z_]+=", line)}
    patterns = {re.sub(r"^CONNECTOR_[A-Z]+_(?=CLIENT|WEBHOOK)", "CONNECTOR_<SLUG>_", name) for name in names}
    assert patterns - {"POSTGRES_PASSWORD"} <= settings_read()


def test_readme_sets_up_with_exactly_two_commands() -> None:
    set_up = (ROOT / "README.md").read_text().split("## Set-up")[1].split("\n## ")[0]
    assert [line.strip() for line in set_up.splitlines() if line.startswith("    ")] == ["make demo", "make test"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_a_page_links_to_exists(page: Path) -> None:
    targets = [
        target for target in LINK.findall(page.read_text()) if not target.startswith(("http:", "https:", "mailto:"))
    ]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


def promises() -> dict[int, list[tuple[str, str]]]:
    """The rows of the page, each with the tests it names."""
    rows = [re.match(r"\| (\d+) \|(.*)", line) for line in (ROOT / "docs" / "promises.md").read_text().splitlines()]
    return {int(row[1]): TEST.findall(row[2]) for row in rows if row}


def test_every_promise_has_a_row_and_tests() -> None:
    found = promises()
    assert list(found) == list(range(1, 33))
    assert [number for number, tests in found.items() if not tests] == []


def test_every_test_a_promise_names_exists() -> None:
    named = {named for tests in promises().values() for named in tests}
    defined = {path: functions_of(ROOT / path) for path, _ in named}
    assert [f"{path}::{name}" for path, name in sorted(named) if name not in defined[path]] == []


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_decision_is_listed() -> None:
    decisions = ROOT / "docs" / "adr"
    listed = set(LINK.findall((decisions / "README.md").read_text()))
    assert listed == {path.name for path in decisions.glob("0*.md")}
