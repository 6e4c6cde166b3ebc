"""Calendar months as the pages switch between them."""

from __future__ import annotations

import calendar
import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True)
class Month:
    """One month of the tenant's calendar; `slug` is how it stands in an address: 2026-11."""

    first: dt.date

    @property
    def last(self) -> dt.date:
        return self.first.replace(day=calendar.monthrange(self.first.year, self.first.month)[1])

    @property
    def slug(self) -> str:
        return f"{self.first:%Y-%m}"

    @property
    def name(self) -> str:
        return f"{self.first:%B %Y}"

    @property
    def before(self) -> Month:
        return Month((self.first - dt.timedelta(days=1)).replace(day=1))

    @property
    def after(self) -> Month:
        return Month(self.last + dt.timedelta(days=1))

    @property
    def dates(self) -> list[dt.date]:
        return [self.first + dt.timedelta(days=days) for days in range((self.last - self.first).days + 1)]


def month_named(slug: str) -> Month | None:
    """None for what is not a month; months people did not mean (the year 1) cannot be left by "before"."""
    try:
        first = dt.datetime.strptime(slug, "%Y-%m").replace(tzinfo=dt.UTC).date()
    except ValueError:
        return None
    return Month(first) if 1990 <= first.year <= 2100 else None


def month_of(date: dt.date) -> Month:
    return Month(date.replace(day=1))
