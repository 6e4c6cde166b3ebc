"""An owner takes a shop to its ledger in a real browser, from signing up to a sale of today in the books."""

from __future__ import annotations

import pytest

from tests.journeys.journey import Journey

pytestmark = [pytest.mark.stack, pytest.mark.browser]


def test_owner_journey(journey: Journey) -> None:
    journey.walk()
