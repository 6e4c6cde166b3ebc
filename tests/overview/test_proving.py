"""The sentence on top of the home page: true to the figures, and healthy only when proved."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow, Stage
from marketplace.overview.months import Month, month_named
from marketplace.overview.proving import FlowMonth, day_squares, truth_of
from marketplace.posting.proof import STATES, DayProof

NOVEMBER = Month(dt.date(2026, 11, 1))


def month_of(stage: str = Stage.LIVE, *, template: str = "orders", missing: int = 0, **counts: int) -> FlowMonth:
    """A flow's month with so many records of ten pounds in each state; `missing` have no outcome."""
    source, target = (Connection(connector=slug, organisation_name=slug) for slug in ("shopify", "xero"))
    flow = Flow(template=template, name=template, stage=stage, source=source, target=target)
    full = {state: counts.get(state, 0) for state in STATES}
    source_count = sum(full.values()) + missing
    day = DayProof(
        dt.date(2026, 11, 5),
        "GBP",
        full,
        {state: Decimal(10 * count) for state, count in full.items()},
        source_count,
        Decimal(10 * source_count),
    )
    return FlowMonth(flow, [day] if source_count else [])


def test_everything_posted_is_said_in_one_sentence() -> None:
    truth = truth_of([month_of(posted=1284)], NOVEMBER)
    assert truth.sentence == "All 1,284 orders of November 2026 are in Xero."
    assert (truth.tone, truth.word) == ("good", "Proved")
    assert truth.lead == "1,284 at the source = 1,284 posted"


def cut_off(month: FlowMonth, day: int, state: str = "needs_reconnect") -> FlowMonth:
    month.flow.source.state = state
    month.flow.source.last_ok_at = dt.datetime(2026, 11, day, 12, tzinfo=dt.UTC)
    return month


@pytest.mark.parametrize("state", ["needs_reconnect", "disconnected"])
def test_nothing_is_called_healthy_while_the_source_is_cut_off(state: str) -> None:
    truth = truth_of([cut_off(month_of(posted=24), 20, state)], NOVEMBER)
    assert truth.sentence == (
        "All 24 orders of November 2026 are in Xero."
        " Shopify (shopify) was last read on 20 Nov 2026; what happened there since is not known."
    )
    assert (truth.tone, truth.word) == ("warn", "As far as it was read")
    nothing = truth_of([cut_off(month_of(), 20, state)], NOVEMBER)
    assert nothing.tone == "warn" and nothing.sentence.startswith("Nothing is known of November 2026. Shopify")
    assert truth_of([cut_off(month_of(posted=24), 20, state)], Month(dt.date(2026, 10, 1))).tone == "good"


def test_days_since_the_source_was_cut_off_are_not_said_to_be_empty() -> None:
    squares = day_squares([cut_off(month_of(posted=1), 20)], NOVEMBER, dt.date(2026, 11, 22))
    told = {square["date"].day: square["text"] for square in squares}  # type: ignore[attr-defined]
    assert [told[day] for day in (19, 20, 22, 23)] == ["nothing happened", "not read", "not read", "still to come"]


def test_what_waits_is_counted_with_its_money() -> None:
    truth = truth_of([month_of(posted=1281, held=2, failed=1, excluded=4)], NOVEMBER)
    assert truth.sentence == "1,281 of 1,284 orders of November 2026 are in Xero. 3 wait for you: GBP 30.00."
    assert truth.tone == "warn"
    assert truth.lead == "1,288 at the source = 1,281 posted + 3 held + 4 excluded"


def test_one_record_that_waits_is_singular() -> None:
    truth = truth_of([month_of(posted=1, held=1)], NOVEMBER)
    assert "1 waits for you: GBP 10.00." in truth.sentence


def test_nothing_is_called_healthy_while_a_record_was_not_looked_at() -> None:
    truth = truth_of([month_of(posted=99, missing=1)], NOVEMBER)
    assert (truth.tone, truth.word) == ("bad", "Not proved")
    assert "1 is not looked at yet." in truth.sentence


def test_money_no_outcome_accounts_for_is_not_proved() -> None:
    one = month_of(posted=2)
    day = one.days[0]
    changed = DayProof(day.date, day.currency, day.counts, day.amounts, day.source_count, day.source_amount + 1)
    assert truth_of([FlowMonth(one.flow, [changed])], NOVEMBER).tone == "bad"
    assert FlowMonth(one.flow, [changed]).difference == {"GBP": Decimal(1)}


def test_records_on_their_way_are_neither_proved_nor_alarming() -> None:
    truth = truth_of([month_of(posted=10, pending=2)], NOVEMBER)
    assert (truth.tone, truth.word) == ("info", "On its way")
    assert "2 are on the way." in truth.sentence


def test_several_flows_are_named_by_what_they_move() -> None:
    months = [month_of(posted=1284), month_of(template="refunds", posted=52), month_of(template="payouts", posted=1)]
    expected = "All 1,284 orders, 52 refunds and 1 payout of November 2026 are in Xero."
    assert truth_of(months, NOVEMBER).sentence == expected


def test_parallel_says_that_it_only_compares() -> None:
    truth = truth_of([month_of(Stage.PARALLEL, shadow=300, held=2)], NOVEMBER)
    assert "300 orders of November 2026 are compared with what staff entered in Xero." in truth.sentence
    assert "2 wait for you" in truth.sentence
    assert truth_of([month_of(Stage.PARALLEL, shadow=300)], NOVEMBER).word == "Compared"


def test_month_without_records_claims_nothing() -> None:
    truth = truth_of([month_of()], NOVEMBER)
    assert (truth.tone, truth.sentence) == ("quiet", "Nothing happened at the source in November 2026.")


def test_month_in_which_all_is_excluded_says_so() -> None:
    truth = truth_of([month_of(excluded=7)], NOVEMBER)
    assert truth.sentence == "No record of November 2026 belongs in Xero: all 7 are excluded."


def test_days_carry_their_proof_in_words() -> None:
    days = day_squares([month_of(posted=3, held=1)], NOVEMBER, dt.date(2026, 11, 20))
    assert len(days) == 30
    assert days[4] == {
        "date": dt.date(2026, 11, 5),
        "tone": "warn",
        "text": "4 at the source: 3 posted and 1 held",
        "has_records": True,
    }
    assert (days[0]["tone"], days[0]["text"]) == ("quiet", "nothing happened")
    assert days[29]["text"] == "still to come"


@pytest.mark.parametrize("slug", ["", "2026", "2026-13", "0001-01", "9999-12", "november", "2026-11-05"])
def test_what_is_not_a_month_is_none(slug: str) -> None:
    assert month_named(slug) is None


def test_months_know_their_neighbours() -> None:
    january = month_named("2027-01")
    assert january is not None
    assert (january.before.slug, january.after.slug, january.last) == ("2026-12", "2027-02", dt.date(2027, 1, 31))
