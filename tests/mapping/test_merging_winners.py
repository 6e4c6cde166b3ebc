"""The three-way merge and values that have won and are not carried yet."""

from __future__ import annotations

import pytest

from marketplace.mapping.contact_values import ANOTHER
from marketplace.mapping.merging import Rules, decide, meet
from tests.mapping.two_values import NEW, OLD, OTHER, THEIRS, agreed, carried, give_up, seen, turned, written


def test_value_that_won_is_no_late_write_any_more() -> None:
    """The ledger's value is one we sent there once, and a person chose it."""
    base, look = agreed(), seen(OTHER, NEW)
    give_up(base, "ledger", phone=NEW)
    meet(base, look)
    decide(base, look, "phone", "target")
    assert carried(base, turned(look)) == ["phone"]
    assert carried(base, look) == []


def test_winner_that_is_put_back_leaves_the_other_side_s_change() -> None:
    base, look = agreed(), seen(NEW, OTHER)
    meet(base, look)
    decide(base, look, "phone", "source")
    back = seen(OLD, OTHER)
    assert carried(base, back) == []
    assert carried(base, turned(back)) == ["phone"]


def test_winner_that_is_emptied_before_it_was_carried_is_carried_empty() -> None:
    """The value that won was the agreed one: a late write of ours had come over it on the other side."""
    base = agreed()
    give_up(base, "ledger", phone=NEW)
    assert carried(base, seen(OLD, NEW)) == ["phone"]
    emptied = seen("", NEW)
    assert carried(base, turned(emptied)) == []
    assert carried(base, emptied) == ["phone"]


def test_what_a_winner_was_before_is_not_shown() -> None:
    base = agreed()
    give_up(base, "ledger", phone=NEW)
    meet(base, seen(OLD, NEW))
    assert base.agreed["shop"]["phone"][0] == ANOTHER
    (clash,) = meet(base, seen(OTHER, "020 7946 0444", rules=Rules(rule="ask"))).clashes
    assert clash.agreed == ("", NEW)


def test_carried_winner_is_settled() -> None:
    base, look = agreed(), seen(NEW, OTHER)
    meet(base, look)
    decide(base, look, "phone", "source")
    assert base.won["shop"] == {"phone": NEW}
    written(base, look, NEW)
    assert base.won["shop"] == {}


def test_agreement_settles_a_winner() -> None:
    base, look = agreed(), seen(NEW, OTHER)
    meet(base, look)
    decide(base, look, "phone", "source")
    meet(base, seen(NEW, NEW))
    assert base.won["shop"] == {}
    assert base.agreed["shop"]["phone"] == [NEW, NEW]


def test_new_decision_takes_the_place_of_the_old_one() -> None:
    base, look = agreed(), seen(NEW, OTHER)
    meet(base, look)
    decide(base, look, "phone", "source")
    decide(base, look, "phone", "target")
    assert base.won == {"shop": {}, "ledger": {"phone": OTHER}}


def test_winner_that_is_changed_again_has_won_as_long_as_what_lost_is_there() -> None:
    base, look = agreed(), seen(NEW, OTHER)
    meet(base, look)
    decide(base, look, "phone", "source")
    assert carried(base, seen(THEIRS, OTHER)) == ["phone"]
    assert base.won["shop"] == {"phone": THEIRS}
    meet(base, seen(NEW, "020 7946 0555", rules=Rules(rule="ask")))
    assert base.won["shop"] == {}


@pytest.mark.parametrize("before", ["", OLD])
def test_winner_that_was_changed_and_emptied_is_carried_empty(before: str) -> None:
    """The other direction saw the change, and the emptying came before it was planned."""
    base = agreed(before)
    meet(base, seen(NEW, OTHER))
    assert carried(base, turned(seen(THEIRS, OTHER))) == []
    emptied = seen("", OTHER)
    assert carried(base, turned(emptied)) == []
    assert carried(base, emptied) == ["phone"]


@pytest.mark.parametrize("before", ["", OLD])
def test_emptied_winner_is_carried_and_what_lost_never_comes_over_it(before: str) -> None:
    base, look = agreed(before), seen(NEW, OTHER)
    meet(base, look)
    decide(base, look, "phone", "source")
    emptied = seen("", OTHER)
    assert carried(base, turned(emptied)) == []
    assert carried(base, emptied) == ["phone"]
    assert carried(base, turned(emptied)) == []


def test_winner_that_may_be_a_write_of_ours_is_changed_when_it_is_emptied() -> None:
    """Both had the shop's value, if the ledger's is what it made of it."""
    base = agreed("")
    give_up(base, "ledger", phone=NEW)
    (clash,) = meet(base, seen(NEW, OTHER, rules=Rules(owner="target"))).clashes
    assert (clash.source_value, clash.winner) == (NEW, "target")
    emptied = seen(THEIRS, "", rules=Rules(rule="ask"))
    for look in (emptied, turned(emptied)):
        assert [{clash.source_value, clash.target_value} for clash in meet(base, look).clashes] == [{THEIRS, ""}]
