"""The owner's journey as a whole, walked once for all tests that need a business with everything in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import StorageState

from tests.journeys import being_live, setting_up, signing_in, staircase
from tests.journeys.looking import Findings
from tests.journeys.person import opened_browser
from tests.journeys.stack import Stack
from tests.journeys.walk import Walk

STEPS: tuple[Callable[[Walk], None], ...] = (
    setting_up.sign_up,
    setting_up.create_business,
    setting_up.invite_colleague,
    setting_up.search_catalogue,
    setting_up.connect_shop,
    setting_up.connect_ledger,
    setting_up.decide_source_of_truth,
    setting_up.add_flow,
    staircase.map_fields,
    staircase.rehearse,
    staircase.choose_scope,
    staircase.agree_figures,
    staircase.pilot,
    staircase.compare,
    staircase.see_mistakes,
    staircase.resolve_mistakes,
    staircase.go_live,
    being_live.see_home,
    being_live.catch_up,
    being_live.trace,
    being_live.order_live,
    being_live.take_back,
    signing_in.switch_business,
    signing_in.turn_on_second_step,
    signing_in.sign_in,
)


class Journey:
    """Walked by whichever test comes first; a journey that broke off is not walked again."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.findings = Findings.with_pictures()
        self.home = ""
        self.signed_in: StorageState | None = None
        self._has_begun = False
        self._broke_off = ""

    def walk(self) -> None:
        if self._has_begun and not self.signed_in:
            pytest.fail(f"The owner's journey broke off at {self._broke_off}", pytrace=False)
        if not self._has_begun:
            self._has_begun = True
            self._walk()

    def _walk(self) -> None:
        with opened_browser(self.stack.url, self.findings) as person:
            walk = Walk(person, self.stack)
            for step in STEPS:
                self._take(step, walk)
            self.home = walk.home
            self.signed_in = person.page.context.storage_state()

    def _take(self, step: Callable[[Walk], None], walk: Walk) -> None:
        """A step that fails says where it did to every test that needs the journey, and leaves a picture when pictures are wanted."""
        try:
            step(walk)
        except Exception as error:
            self._broke_off = f"{step.__name__}, on {walk.person.page.url}: {error}"
            self.findings.picture(walk.person.page, f"failed-{step.__name__}")
            raise
