"""One month of every flow, proved day by day, and the one sentence that says what it comes to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from django.utils import timezone

from connectors.registry import connector
from connectors.sdk.records import DATA_TYPE_NAMES
from marketplace.core.formatting import all_of, day_text, money_text, number_text
from marketplace.installations.models import Connection
from marketplace.installations.queries import connection_name
from marketplace.mapping.models import Flow, Stage
from marketplace.mapping.templates import template
from marketplace.overview.months import Month
from marketplace.posting.proof import STATES, DayProof

WAITING = ("held", "failed")
WRITING = (Stage.PILOT, Stage.LIVE)
Money = dict[str, Decimal]  # by currency


def added(parts: Iterable[Mapping[str, Decimal]]) -> Money:
    """Money of each currency by itself; currencies are never added to each other."""
    total: Money = {}
    for part in parts:
        for currency, amount in part.items():
            total[currency] = total.get(currency, Decimal(0)) + amount
    return total


def money_words(money: Mapping[str, Decimal]) -> str:
    """Such as "GBP 412.00 and EUR 20.00"; nothing for no money."""
    return all_of([money_text(amount, currency) for currency, amount in sorted(money.items()) if amount])


@dataclass(frozen=True)
class FlowMonth:
    """One flow's month. `days` holds each day with records, once per currency."""

    flow: Flow
    days: Sequence[DayProof]

    @cached_property
    def counts(self) -> dict[str, int]:
        return {state: sum(day.counts[state] for day in self.days) for state in STATES}

    @cached_property
    def source_count(self) -> int:
        return sum(day.source_count for day in self.days)

    @property
    def source_money(self) -> Money:
        return added({day.currency: day.source_amount} for day in self.days)

    def money_of(self, *states: str) -> Money:
        return added({day.currency: day.amounts[state]} for day in self.days for state in states)

    @property
    def belonging(self) -> int:
        """What the agreed rules do not leave out."""
        return self.source_count - self.counts["excluded"]

    @property
    def in_books(self) -> int:
        return self.counts["posted"]

    @property
    def waiting(self) -> int:
        return self.counts["held"] + self.counts["failed"]

    @property
    def waiting_money(self) -> Money:
        return self.money_of(*WAITING)

    @property
    def unplanned(self) -> int:
        return sum(day.unplanned for day in self.days)

    @property
    def difference(self) -> Money:
        """Money at the source that no outcome accounts for, although each record has one."""
        return added({day.currency: day.difference} for day in self.days if not day.unplanned and day.difference)

    @property
    def state(self) -> str:
        """The worst day's; quiet without records."""
        states = {day.state for day in self.days}
        return next((state for state in ("bad", "warn", "good") if state in states), "quiet")

    @property
    def is_writing(self) -> bool:
        return self.flow.stage in WRITING

    @property
    def source_type(self) -> str:
        return template(self.flow.template).source_type

    @property
    def plural(self) -> str:
        return DATA_TYPE_NAMES[self.source_type][1]

    @property
    def ledger(self) -> str:
        return connector(self.flow.target.connector).manifest.name


@dataclass(frozen=True)
class Truth:
    """`sentence` answers "is everything in the books?"; the tone is good only for what is proved."""

    tone: str
    word: str
    sentence: str
    lead: str


def truth_of(months: Sequence[FlowMonth], month: Month) -> Truth:
    """Of the flows that write, else of those that are compared; each figure is one the proof adds up."""
    asked = [one for one in months if one.is_writing and one.source_count]
    compared = [one for one in months if one.flow.stage == Stage.PARALLEL and one.source_count]
    unread = [one.flow.source for one in months if unread_since(one.flow, month) is not None]
    if not asked and not compared:
        if unread:
            return Truth("warn", "Not read", f"Nothing is known of {month.name}. {_unread(unread)}", "")
        return Truth("quiet", "Nothing to prove", f"Nothing happened at the source in {month.name}.", "")
    sentences = [*_posted(asked, month), *_compared(compared, month, is_alone=not asked)]
    tone, word = _standing([*asked, *compared], is_written=bool(asked))
    if unread:
        sentences.append(_unread(unread))
        tone, word = (tone, word) if tone in ("bad", "warn") else ("warn", "As far as it was read")
    return Truth(tone, word, " ".join(sentences), _equation([*asked, *compared]))


def unread_since(flow: Flow, month: Month) -> dt.date | None:
    """The day from which on nobody knows what happened at the source, when it is cut off and that lies in this month or before."""
    source = flow.source
    if source.state == Connection.State.CONNECTED or source.last_ok_at is None:
        return None
    day = timezone.localdate(source.last_ok_at)
    return day if day <= month.last else None


def _unread(sources: Sequence[Connection]) -> str:
    """Said once for each system."""
    told = {
        f"{connection_name(one)} was last read on {day_text(timezone.localtime(one.last_ok_at))}; what happened there since is not known."
        for one in sources
    }
    return " ".join(sorted(told))


def _posted(asked: Sequence[FlowMonth], month: Month) -> list[str]:
    if not asked:
        return []
    belonging, posted = sum(one.belonging for one in asked), sum(one.in_books for one in asked)
    ledgers = all_of(sorted({one.ledger for one in asked}))
    if not belonging:
        return [f"No record of {month.name} belongs in {ledgers}: all {number_text(_sources(asked))} are excluded."]
    if posted == belonging:
        first = f"All {_things(asked)} of {month.name} are in {ledgers}."
        return [first if belonging > 1 else f"The only {_noun(asked, 1)} of {month.name} is in {ledgers}."]
    first = (
        f"{number_text(posted)} of {number_text(belonging)} {_noun(asked, belonging)} of {month.name} are in {ledgers}."
    )
    return [first, *_open(asked)]


def _sources(asked: Sequence[FlowMonth]) -> int:
    return sum(one.source_count for one in asked)


def _open(asked: Sequence[FlowMonth]) -> list[str]:
    """What is not in the books and why."""
    said = []
    if unplanned := sum(one.unplanned for one in asked):
        said.append(f"{number_text(unplanned)} {_are(unplanned)} not looked at yet.")
    if pending := sum(one.counts["pending"] for one in asked):
        said.append(f"{number_text(pending)} {_are(pending)} on the way.")
    if shadow := sum(one.counts["shadow"] for one in asked):
        said.append(f"{number_text(shadow)} {_are(shadow)} compared only.")
    if waiting := sum(one.waiting for one in asked):
        money = money_words(added(one.waiting_money for one in asked))
        said.append(
            f"{number_text(waiting)} {'waits' if waiting == 1 else 'wait'} for you{f': {money}' if money else ''}."
        )
    return said


def _compared(compared: Sequence[FlowMonth], month: Month, *, is_alone: bool) -> list[str]:
    if not compared:
        return []
    ledgers = all_of(sorted({one.ledger for one in compared}))
    shadow = sum(one.counts["shadow"] for one in compared)
    of = f" of {month.name}" if is_alone else ""
    first = f"{number_text(shadow)} {_noun(compared, shadow)}{of} {_are(shadow)} compared with what staff entered in {ledgers}."
    return [first, *(_open_beside_shadow(compared) if is_alone else [])]


def _open_beside_shadow(compared: Sequence[FlowMonth]) -> list[str]:
    return [sentence for sentence in _open(compared) if "compared only" not in sentence]


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _noun(months: Sequence[FlowMonth], count: int) -> str:
    types = {one.source_type for one in months}
    singular, plural = DATA_TYPE_NAMES[types.pop()] if len(types) == 1 else ("record", "records")
    return singular if count == 1 else plural


def _things(months: Sequence[FlowMonth]) -> str:
    """Such as "1,284 orders, 52 refunds and 9 payouts"."""
    counts: dict[str, int] = {}
    for one in months:
        counts[one.source_type] = counts.get(one.source_type, 0) + one.belonging
    return all_of(
        [f"{number_text(count)} {DATA_TYPE_NAMES[name][count != 1]}" for name, count in counts.items() if count]
    )


def _standing(months: Sequence[FlowMonth], *, is_written: bool) -> tuple[str, str]:
    states = {one.state for one in months}
    if "bad" in states:
        return "bad", "Not proved"
    if any(one.waiting for one in months):
        return "warn", "Proved, some wait for you"
    if "warn" in states:
        return "info", "On its way"
    return ("good", "Proved") if is_written else ("info", "Compared")


def _equation(months: Sequence[FlowMonth]) -> str:
    """Source = posted + compared + held + excluded, in figures."""
    parts = {
        "posted": sum(one.counts["posted"] for one in months),
        "compared": sum(one.counts["shadow"] for one in months),
        "on the way": sum(one.counts["pending"] for one in months),
        "held": sum(one.waiting for one in months),
        "excluded": sum(one.counts["excluded"] for one in months),
        "not looked at": sum(one.unplanned for one in months),
    }
    told = " + ".join(f"{number_text(count)} {word}" for word, count in parts.items() if count)
    return f"{number_text(_sources(months))} at the source = {told}"


def day_squares(months: Sequence[FlowMonth], month: Month, today: dt.date) -> list[dict[str, object]]:
    """Every day of the month: its proof over all flows, in words."""
    by_date: dict[dt.date, list[DayProof]] = {}
    unread = min((since for one in months if (since := unread_since(one.flow, month))), default=dt.date.max)
    for one in months:
        for day in one.days:
            by_date.setdefault(day.date, []).append(day)
    return [_square(date, by_date.get(date, []), today, unread) for date in month.dates]


def _square(date: dt.date, days: Sequence[DayProof], today: dt.date, unread: dt.date) -> dict[str, object]:
    if not days:
        past = "nothing happened" if date < unread else "not read"
        return {"date": date, "tone": "quiet", "text": past if date <= today else "still to come"}
    states = {day.state for day in days}
    tone = next(state for state in ("bad", "warn", "good") if state in states)
    return {"date": date, "tone": tone, "text": day_words(days), "has_records": True}


def day_words(days: Sequence[DayProof]) -> str:
    words = {
        "posted": "posted",
        "shadow": "compared",
        "pending": "on the way",
        "held": "held",
        "failed": "failed",
        "excluded": "excluded",
    }
    counts = [(word, sum(day.counts[state] for day in days)) for state, word in words.items()]
    unplanned = sum(day.unplanned for day in days)
    told = [f"{number_text(count)} {word}" for word, count in [*counts, ("not looked at", unplanned)] if count]
    return f"{number_text(sum(day.source_count for day in days))} at the source: {all_of(told)}"
