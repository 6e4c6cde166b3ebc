"""The way through consent in a real browser, with and without JavaScript: our security policy must let it out and back in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import Page, expect, sync_playwright

from connectors.testing import Simulator
from tenants.models import Tenant, User

pytestmark = pytest.mark.browser
CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(params=[True, False], ids=["with-script", "without-script"])
def page(
    request: pytest.FixtureRequest,
    live_server: Any,
    tenant: Tenant,
    alice: User,
    client_of: Callable[[User], Client],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Page]:
    """A phone's browser in which Alice has logged in."""
    settings.PUBLIC_URL = live_server.url
    name = settings.SESSION_COOKIE_NAME
    value = client_of(alice).cookies[name].value
    executable = CHROMIUM if Path(CHROMIUM).exists() else None
    # Playwright runs an event loop in this thread; Django would take that for a mistake.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        context = browser.new_context(
            base_url=live_server.url, java_script_enabled=request.param, viewport={"width": 360, "height": 780}
        )
        context.set_default_timeout(15_000)
        context.add_cookies([{"name": name, "value": value, "url": live_server.url}])
        yield context.new_page()
        browser.close()


@pytest.fixture
def check(page: Page, request: pytest.FixtureRequest) -> Callable[[], None]:
    """Nothing sticks out of a phone, and nothing stands in the way of assistive technology; measuring needs scripts."""
    measures = "without-script" not in request.node.name

    def run() -> None:
        if measures:
            page.wait_for_load_state()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, page.url
            assert [found["id"] for found in Axe().run(page).response["violations"]] == [], page.url

    return run


def test_owner_connects_and_disconnects_in_a_browser(
    page: Page, check: Callable[[], None], simulators: dict[str, Simulator]
) -> None:
    page.goto("/o/kestrel/catalogue/")
    check()
    page.get_by_role("link", name="Shopify").click()
    check()
    page.get_by_role("link", name="Connect Shopify").click()
    check()
    page.get_by_label("Shop address").fill(str(simulators["shopify"].organisations()[0]["id"]))
    page.get_by_role("button", name="Agree and go on").click()
    check()
    page.get_by_role("link", name="Continue to Shopify").click()
    expect(page.get_by_text("Simulated Shopify")).to_be_visible()
    page.get_by_role("button", name="Allow access").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Kestrel & Co is connected")
    check()
    page.get_by_role("link", name="See this connection").click()
    check()
    page.get_by_role("link", name="Disconnect", exact=True).click()
    check()
    page.get_by_role("button", name="Disconnect Kestrel & Co").click()
    expect(page.get_by_text("Everything posted stays in the ledger.")).to_be_visible()
    check()
    for path in ("connections/", "audit/?check=1"):
        page.goto(f"/o/kestrel/{path}")
        check()
