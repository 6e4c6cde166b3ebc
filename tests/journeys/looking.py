"""What must hold on every page, measured in the browser; what does not is noted with the page it was seen on."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 780}
HIGHEST = 1600
MOST_BYTES = 100_000
# The field mapping offers every account of the ledger in each of its lists.
MOST_BYTES_OF_A_MAPPING = 200_000
# Address and size of the page itself and of all it loads but pictures.
LOADED = """() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
    .filter((one) => !['img', 'image'].includes(one.initiatorType) && !/\\.svg(\\?|$)/.test(one.name))
    .map((one) => [one.name, one.encodedBodySize])"""
# What sticks out to the right, for the message; a page that scrolls sideways says little by itself.
TOO_WIDE = """() => document.documentElement.scrollWidth <= window.innerWidth ? [] :
    [...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > window.innerWidth + 1)
    .slice(0, 3).map((one) => `${one.tagName.toLowerCase()}.${one.className}`).concat(['the page'])"""


@dataclass
class Findings:
    """Everything noted on the way, and where the pictures go when somebody wants them."""

    pictures: Path | None = None
    accessibility: list[str] = field(default_factory=list)
    width: list[str] = field(default_factory=list)
    weight: list[str] = field(default_factory=list)
    policy: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    static: dict[str, int] = field(default_factory=dict)

    @classmethod
    def with_pictures(cls) -> Findings:
        """`JOURNEY_SCREENSHOTS` names a folder to save the main pages in."""
        folder = os.environ.get("JOURNEY_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
        return cls(Path(folder) if folder else None)

    def listen(self, page: Page) -> None:
        """From now on, what the browser complains about is kept."""
        page.on("console", lambda message: self._heard(page, message))
        page.on("pageerror", lambda error: self.errors.append(f"{_path(page)}: {error}"))

    def _heard(self, page: Page, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            self.policy.append(f"{_path(page)}: {message.text}")
        elif message.type == "error" and "404" not in message.text:
            self.errors.append(f"{_path(page)}: {message.text}")

    def look(self, page: Page, name: str = "") -> None:
        """Both colour schemes and both widths. With a name, the page is also photographed."""
        page.wait_for_load_state()
        self.looked_at.append(_path(page))
        weight = self._weight(page)
        if weight > (MOST_BYTES_OF_A_MAPPING if _path(page).endswith("/mapping/") else MOST_BYTES):
            self.weight.append(f"{_path(page)}: {weight:,} bytes")
        self._look_in(page, "light", name)
        self._look_in(page, "dark", f"{name}-dark" if name else "")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        self.width += [f"{_path(page)}: {found}" for found in page.evaluate(TOO_WIDE)]
        self.picture(page, f"{name}-phone" if name else "")
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]

    def _weight(self, page: Page) -> int:
        """Pages as they are; static files as production sends them, compressed beforehand."""
        return sum(self._static(page, url) if "/static/" in url else size for url, size in page.evaluate(LOADED))

    def _static(self, page: Page, url: str) -> int:
        if url not in self.static:
            self.static[url] = len(gzip.compress(page.request.get(url).body()))
        return self.static[url]

    def _look_in(self, page: Page, scheme: Any, name: str) -> None:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for found in Axe().run(page).response["violations"]:
            where = "; ".join(str(node["target"][0]) for node in found["nodes"][:3])
            self.accessibility.append(f"{_path(page)} ({scheme}): {found['id']} at {where}")
        self.picture(page, name)

    def picture(self, page: Page, name: str) -> None:
        """In a window as high as the page, so that what sticks to the window stands where it belongs; long lists are cut."""
        if self.pictures and name:
            size = page.viewport_size or DESKTOP
            height = page.evaluate("document.documentElement.scrollHeight")
            page.set_viewport_size({"width": size["width"], "height": min(max(height, size["height"]), HIGHEST)})
            page.screenshot(path=self.pictures / f"{name}.png")
            page.set_viewport_size({"width": size["width"], "height": size["height"]})


def _path(page: Page) -> str:
    return urlsplit(page.url).path
