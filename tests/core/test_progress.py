"""How long work will take yet, by the pace seen so far."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from marketplace.core import progress
from marketplace.core.progress import time_left

BEGAN = dt.datetime(2026, 11, 22, 9, tzinfo=dt.UTC)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = BEGAN
        monkeypatch.setattr(progress, "now", lambda: self.at)

    def shows(self, owner: uuid.UUID, minute: float, done: int, total: int = 1000) -> str:
        self.at = BEGAN + dt.timedelta(minutes=minute)
        return time_left(tenant_id=owner, what="orders", done=done, total=total)


def test_time_left_is_by_the_pace_since_it_was_first_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, owner = Clock(monkeypatch), uuid.uuid4()
    assert clock.shows(owner, 0, 100) == "", "one look shows no pace"
    assert clock.shows(owner, 0.01, 101) == "", "a pace seen for a moment says nothing"
    assert clock.shows(owner, 2, 100) == "", "it stands still"
    assert clock.shows(owner, 3, 400) == "about 6 minutes left"
    assert clock.shows(owner, 8.8, 980) == "less than a minute left"
    assert clock.shows(owner, 9, 1000) == ""
    assert clock.shows(uuid.uuid4(), 9, 400) == "", "another business has a pace of its own"


def test_work_that_begins_anew_has_a_new_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, owner = Clock(monkeypatch), uuid.uuid4()
    clock.shows(owner, 0, 900)
    assert clock.shows(owner, 5, 10) == ""
    assert clock.shows(owner, 6, 20) == "about 2 hours left"
