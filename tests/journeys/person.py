"""Somebody at a browser: goes, clicks, types and reads."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Locator, Page, StorageState, expect, sync_playwright

from tests.journeys.looking import DESKTOP, Findings

CHROMIUM = "/usr/bin/chromium"
# Beside other tests on two cores a page may take its time; how fast pages are is measured elsewhere.
PATIENCE_SECONDS = 180.0
PAGE_SECONDS = 60.0
PAUSE_MS = 400
FIELD_ROLES: tuple[Literal["combobox", "searchbox", "textbox"], ...] = ("combobox", "searchbox", "textbox")
TICKED_ROLES: tuple[Literal["checkbox", "radio"], ...] = ("checkbox", "radio")
Role = Literal["link", "button", "heading", "checkbox", "radio", "row"]


class Person:
    """One browser. Without findings, pages are walked but not measured."""

    def __init__(self, page: Page, findings: Findings | None = None) -> None:
        self.page = page
        self.findings = findings
        if findings:
            findings.listen(page)

    # --- acting ----------------------------------------------------------------------------------------

    def go(self, path: str) -> None:
        answer = self.page.goto(path)
        assert answer and answer.ok, f"{path}: {answer and answer.status}"

    def click(self, name: str | re.Pattern[str], role: Role = "button", within: Locator | None = None) -> None:
        (within or self.page).get_by_role(role, name=name, exact=isinstance(name, str)).first.click()

    def follow(self, name: str | re.Pattern[str], within: Locator | None = None) -> None:
        self.click(name, "link", within)

    def fill(self, label: str, text: str) -> None:
        self._field(label).fill(text)

    def choose(self, label: str, option: str | re.Pattern[str]) -> None:
        """An option of a list by what it says; a pattern takes the first that fits."""
        control = self._field(label)
        if not isinstance(option, str):
            option = next(text for text in control.locator("option").all_inner_texts() if option.search(text))
        control.select_option(label=option)

    def _field(self, label: str) -> Locator:
        """By the name that is read out, wherever the label stands and whether or not it says "optional"."""
        name = re.compile(f"^{re.escape(label)}( optional)?$")
        fields = self.page.locator("input, select, textarea").and_(self.page.get_by_label(name))
        return reduce(Locator.or_, (self.page.get_by_role(role, name=name) for role in FIELD_ROLES), fields).first

    def tick(self, name: str | re.Pattern[str]) -> None:
        """A box or a choice."""
        boxes, choices = (self.page.get_by_role(role, name=name) for role in TICKED_ROLES)
        boxes.or_(choices).first.check()

    # --- reading ---------------------------------------------------------------------------------------

    def sees(self, text: str | re.Pattern[str], seconds: float = PAGE_SECONDS) -> None:
        expect(self.page.locator("body")).to_contain_text(text, timeout=seconds * 1000, use_inner_text=True)

    def sees_not(self, text: str | re.Pattern[str]) -> None:
        expect(self.page.locator("body")).not_to_contain_text(text, timeout=PAGE_SECONDS * 1000, use_inner_text=True)

    def sees_first(self, one: Locator, other: Locator) -> bool:
        """Which of the two a page shows, once it shows either."""
        expect(one.or_(other).first).to_be_visible(timeout=PAGE_SECONDS * 1000)
        return one.is_visible()

    def is_at(self, heading: str | re.Pattern[str]) -> None:
        expect(self.page.get_by_role("heading", level=1)).to_have_text(heading, timeout=PAGE_SECONDS * 1000)

    def waits_for(self, text: str | re.Pattern[str]) -> None:
        """Looks again until it is there, as somebody who presses F5 does."""
        pattern = re.compile(re.escape(text)) if isinstance(text, str) else text
        self.waits_until(lambda: bool(pattern.search(self.text)), pattern.pattern)

    def waits_until(self, is_there: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_there():
            assert time.monotonic() < deadline, f"{self.page.url} never showed {what}:\n{self.text}"
            self.page.wait_for_timeout(PAUSE_MS)
            self.page.reload()

    @property
    def text(self) -> str:
        return self.page.locator("main").inner_text()

    @property
    def path(self) -> str:
        return re.sub(r"^https?://[^/]+", "", self.page.url)

    def row(self, *texts: str) -> Locator:
        """The first row of a table that says all of this."""
        rows = self.page.get_by_role("row")
        for text in texts:
            rows = rows.filter(has_text=text)
        return rows.first

    def look(self, name: str = "") -> None:
        if self.findings:
            self.findings.look(self.page, name)


@contextmanager
def opened_browser(
    url: str,
    findings: Findings | None = None,
    *,
    runs_scripts: bool = True,
    signed_in: StorageState | None = None,
) -> Iterator[Person]:
    """A browser for the length of a block."""
    executable = CHROMIUM if Path(CHROMIUM).exists() else None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        options: dict[str, Any] = {"storage_state": signed_in} if signed_in else {}
        context = browser.new_context(
            base_url=url,
            java_script_enabled=runs_scripts,
            viewport=DESKTOP,  # type: ignore[arg-type]
            locale="en-GB",
            **options,
        )
        context.set_default_timeout(PAGE_SECONDS * 1000)
        try:
            yield Person(context.new_page(), findings)
        finally:
            browser.close()
