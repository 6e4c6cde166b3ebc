"""The three-way merge and writes without an answer: what arrives late, and what was tried."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from marketplace.mapping.merging import LATE_FOR, Base, Look, Meeting, Rules, Way, decide, meet
from tests.mapping.two_values import (
    NEW,
    NOW,
    OLD,
    OTHER,
    THEIRS,
    agreed,
    carried,
    give_up,
    own_way,
    seen,
    texts,
    turned,
    written,
)

# ---------------------------------------------------------------------- late writes


def test_late_write_over_an_emptied_field_is_emptied_again() -> None:
    """Given up, emptied and carried; then the first request arrives after all."""
    base = agreed()
    give_up(base, "ledger", phone=NEW)
    written(base, seen("", OLD), "")
    look = seen("", NEW)
    for _ in range(2):
        assert carried(base, turned(look)) == []
        assert carried(base, look) == ["phone"]


def asked(base: Base, look: Look) -> None:
    """A person is asked, whatever the rule and from wherever it is looked at, until one decides; until then nothing is written."""
    for _ in range(2):
        for one in (look, turned(look)):
            met = meet(base, replace(one, open_fields=["phone"] if base.asked else []))
            assert (met.carried, met.is_for_the_way_back) == ([], False)
            assert [(clash.winner, clash.rule, clash.is_doubtful) for clash in met.clashes] == [("", "ask", True)]
    decide(base, look, "phone", "source")
    assert carried(base, turned(look)) == []
    met = meet(base, look)
    assert (met.carried, met.clashes, base.asked) == (["phone"], [], [])


def test_empty_field_that_may_be_a_late_emptying_is_asked_about() -> None:
    """The ledger's people may have emptied it as well."""
    base = agreed()
    give_up(base, "ledger", phone="")
    written(base, seen(NEW, OLD), NEW)
    asked(base, seen(NEW, ""))


def test_nobody_is_asked_where_nothing_may_be_written() -> None:
    base = agreed()
    give_up(base, "ledger", phone="")
    written(base, seen(NEW, OLD), NEW)
    assert meet(base, seen(NEW, "", rules=Rules(modes={"phone": "never"}))) == Meeting()
    assert base.asked == []


def test_late_write_is_believed_in_for_an_hour() -> None:
    base = agreed()
    give_up(base, "ledger", phone=NEW)
    written(base, seen(OTHER, OLD), OTHER)
    later = NOW + LATE_FOR + dt.timedelta(seconds=1)
    assert carried(base, turned(seen(OTHER, NEW), now=later)) == ["phone"]
    assert carried(base, turned(seen(OTHER, NEW), now=NOW + LATE_FOR)) == []


def test_two_late_writes_are_asked_about() -> None:
    """What people had is on neither side any more."""
    base = agreed()
    give_up(base, "shop", phone=NEW)
    give_up(base, "ledger", at=NOW + dt.timedelta(minutes=1), phone=OTHER)
    asked(base, seen(NEW, OTHER))


def test_late_write_over_a_value_that_had_won_is_asked_about() -> None:
    """What lost does not come over what is left of the winner's side without a word."""
    base, look = agreed(), seen(NEW, OTHER)
    meet(base, look)
    give_up(base, "shop", phone="020 7946 0444")
    asked(base, seen("020 7946 0444", OTHER))


def test_late_write_over_a_value_that_had_won_gives_way_to_a_new_one() -> None:
    base, look = agreed(), seen(NEW, OTHER)
    meet(base, look)
    give_up(base, "shop", phone="020 7946 0444")
    newer = seen("020 7946 0444", "020 7946 0555")
    assert carried(base, newer) == []
    assert carried(base, turned(newer)) == ["phone"]


def test_question_about_a_late_write_ends_when_both_sides_agree() -> None:
    base = agreed()
    give_up(base, "shop", phone=NEW)
    give_up(base, "ledger", phone=OTHER)
    meet(base, seen(NEW, OTHER))
    assert base.asked == ["phone"]
    assert meet(base, seen(OTHER, OTHER, open_fields=["phone"])).ended == ["phone"]
    assert base.asked == []


def test_agreed_value_is_no_late_write() -> None:
    base = agreed(NEW)
    give_up(base, "ledger", phone=NEW)
    met = meet(base, turned(seen(OTHER, NEW)))
    assert (met.is_for_the_way_back, base.won) == (False, {})


def test_late_emptying_is_not_seen_in_what_the_mapping_makes_nothing_of() -> None:
    base = agreed()
    give_up(base, "shop", phone="")
    unmapped = Way(source="shop", sent=texts(""), held=texts(NEW))
    assert meet(base, seen(OLD, NEW, there=unmapped)) == Meeting()


def test_late_write_is_for_the_way_back_and_agreed_where_it_is_what_stands_there() -> None:
    base = agreed()
    give_up(base, "ledger", phone=NEW)
    assert meet(base, turned(seen(OTHER, NEW))).is_for_the_way_back
    assert base.won == {"shop": {"phone": OTHER}}
    same = agreed()
    give_up(same, "ledger", name="Ada-Hart")
    ours, theirs = texts(OLD, name="Ada-Hart"), texts(OLD, name="ADA HART")
    there, back = Way(source="shop", sent=ours, held=theirs), Way(source="ledger", sent=theirs, held=ours)
    assert carried(same, seen(OLD, OLD, there=there, back=back)) == []
    assert same.agreed["shop"]["name"] == ["Ada-Hart", "ADA HART"]
    both = agreed()
    give_up(both, "ledger", name="ADA HART")
    give_up(both, "shop", name="Ada-Hart")
    assert meet(both, seen(OLD, OLD, there=there, back=back)) == Meeting()
    assert both.agreed["shop"]["name"] == ["Ada-Hart", "ADA HART"]


def test_every_attempt_is_awaited_for_an_hour() -> None:
    base, later, second = Base(), NOW + dt.timedelta(minutes=10), dt.timedelta(seconds=1)
    give_up(base, "ledger", attempt="7.1", phone=NEW)
    give_up(base, "ledger", attempt="8.1", phone=OTHER)
    give_up(base, "ledger", attempt="9.1", at=later, phone=NEW)
    give_up(base, "ledger", attempt="9.1", at=later + second, phone=NEW)  # it still waits to go out again
    for at, awaited in (
        (NOW + LATE_FOR, [NEW, OTHER]),
        (NOW + LATE_FOR + second, [NEW]),
        (later + LATE_FOR + second, []),
    ):
        assert [text for text in (NEW, OTHER, OLD) if base.may_be_late("ledger", "phone", text, at)] == awaited


@pytest.mark.parametrize(
    ("side", "other", "look"), [("shop", "ledger", seen(OLD, OTHER)), ("ledger", "shop", seen(OTHER, OLD))]
)
def test_agreed_value_that_may_have_come_late_over_a_change_is_asked_about(side: str, other: str, look: Look) -> None:
    """People had emptied the field; what stands there now they have put back, or it is a late write of ours."""
    base = agreed()
    give_up(base, side, phone=OLD)
    give_up(base, other, phone="")
    asked(base, look)


# ---------------------------------------------------------------------- what was only put back


def late_over_what_was_agreed(shop: str = OLD) -> Base:
    """A write that had been given up stands in the ledger, and what the shop has goes out over it."""
    base = agreed()
    give_up(base, "ledger", phone=NEW)
    assert carried(base, seen(shop, NEW)) == ["phone"]
    return base


@pytest.mark.parametrize("theirs", [THEIRS, ""])
def test_change_of_what_a_late_write_made_is_the_only_one(theirs: str) -> None:
    """The shop's value is no change: it was what both had."""
    base, look = late_over_what_was_agreed(), seen(OLD, theirs, rules=Rules(rule="ask"))
    assert meet(base, look) == Meeting()
    met = meet(base, turned(look))
    assert (met.carried, met.clashes, base.won) == (["phone"], [], {"shop": {}})


@pytest.mark.parametrize("theirs", [THEIRS, ""])
def test_late_write_that_comes_over_the_change_of_another_one_is_late(theirs: str) -> None:
    base = late_over_what_was_agreed()
    meet(base, seen(OLD, theirs))
    for _ in range(2):
        assert carried(base, turned(seen(OLD, NEW))) == []
        assert carried(base, seen(OLD, NEW)) == ["phone"]


def test_emptied_name_does_not_end_what_is_put_back() -> None:
    base = agreed()
    give_up(base, "ledger", name="Ada Byron")
    for theirs in ("Ada Byron", "", "Ada  Byron"):
        ours, ledger = texts(OLD), texts(OLD, name=theirs)
        there, back = Way(source="shop", sent=ours, held=ledger), Way(source="ledger", sent=ledger, held=ours)
        assert carried(base, seen(OLD, OLD, there=there, back=back)) == ["name"]


def test_change_of_what_a_late_write_made_clashes_with_a_change() -> None:
    look = seen(OTHER, THEIRS)
    for base in (late_over_what_was_agreed(OTHER), late_over_what_was_agreed()):
        (clash,) = meet(base, look).clashes
        assert {clash.source_value, clash.target_value} == {OTHER, THEIRS}


def test_value_that_was_put_back_twice_is_no_change() -> None:
    base = late_over_what_was_agreed()
    give_up(base, "ledger", phone=OTHER)
    base.tried.clear()
    assert carried(base, seen(OLD, OTHER)) == ["phone"]
    assert carried(base, turned(seen(OLD, THEIRS))) == ["phone"]


def test_what_is_agreed_or_decided_is_not_put_back_any_more() -> None:
    base = late_over_what_was_agreed()
    written(base, seen(OLD, NEW), OLD)
    assert base.put_back == {"shop": {}}
    base, look = late_over_what_was_agreed(), seen(OTHER, NEW)
    give_up(base, "shop", phone=OTHER)
    assert meet(base, look).clashes
    decide(base, look, "phone", "target")
    assert base.put_back == {"shop": {}}


def test_value_that_was_put_back_and_tried_clashes_with_what_stands_there_then() -> None:
    """It may be what the ledger made of it."""
    base = late_over_what_was_agreed()
    give_up(base, "ledger", phone=OLD)
    (clash,) = meet(base, seen(OLD, THEIRS)).clashes
    assert (clash.source_value, clash.target_value) == (OLD, THEIRS)


def test_value_that_was_put_back_changed_and_restored_is_a_change() -> None:
    base = late_over_what_was_agreed()
    assert carried(base, seen(OTHER, NEW)) == ["phone"]
    assert meet(base, seen(OLD, THEIRS)).clashes


# ---------------------------------------------------------------------- what was tried


def tried(before: str = "", sent: str = NEW) -> Base:
    base = agreed(before)
    give_up(base, "ledger", phone=sent)
    return base


@pytest.mark.parametrize("before", ["", OLD])
def test_side_that_was_changed_back_after_a_write_without_an_answer_clashes(before: str) -> None:
    """The ledger's value may be what it made of our write, spelled beyond recognition: it does not come over what was decided since."""
    look = seen(before, OTHER, rules=Rules(rule="ask"))
    for one in (look, turned(look)):
        clashes = meet(tried(before), one).clashes
        assert [{clash.source_value, clash.target_value} for clash in clashes] == [{before, OTHER}]
    assert meet(tried(before), seen(before, before)) == Meeting()


def test_side_that_still_has_what_was_tried_is_changed_once() -> None:
    assert carried(tried(OLD), seen(NEW, OLD)) == ["phone"]
    base, fresh = tried(OLD), agreed()
    for one in (base, fresh):
        written(one, seen(NEW, OLD), NEW)
    give_up(fresh, "ledger", phone=NEW)  # an attempt before the one that was confirmed
    for one in (base, fresh):
        assert carried(one, turned(seen(NEW, OTHER))) == ["phone"]


def test_side_that_was_changed_back_while_nothing_else_changed_brings_nothing() -> None:
    base = agreed()
    base.agreed["shop"]["tax_number"], base.agreed["ledger"]["tax_number"] = ["gb1", "gb1-own"], ["gb1-own", "gb1"]
    give_up(base, "ledger", tax_number="gb2")
    for look in (own_way("gb1", "gb1-own"), turned(own_way("gb1", "gb1-own"))):
        assert meet(base, look) == Meeting()
    give_up(base, "shop", tax_number="gb3")
    assert carried(base, own_way("GB 1", "gb1-own")) == ["tax_number"]  # a new spelling is no clash


def test_winner_that_was_tried_before_it_won_is_changed_when_it_is_emptied() -> None:
    """It goes out once more, and what the ledger shows then may be what it made of that."""
    base = tried("")
    meet(base, seen(NEW, OTHER))
    (clash,) = meet(base, seen("", "020 7946 0555", rules=Rules(rule="ask"))).clashes
    assert (clash.source_value, clash.target_value) == ("", "020 7946 0555")


def test_write_that_waits_to_go_out_again_is_tried_once() -> None:
    base, look = agreed(), seen(OLD, OTHER, rules=Rules(owner="target"))
    for attempt in ("7.1", "7.1"):
        give_up(base, "ledger", phone=NEW, attempt=attempt)
        met = meet(base, look)
        assert met.carried == []
    assert met.clashes == []
    assert carried(base, turned(look)) == ["phone"]


def test_same_text_that_was_tried_again_after_a_decision_is_tried() -> None:
    """The shop's people filled it in once more, and once more took it back: the ledger's value may be what it made of the second write."""
    base, look = agreed(), seen(OLD, OTHER, rules=Rules(owner="target"))
    for attempt in ("7.1", "8.1"):
        give_up(base, "ledger", phone=NEW, attempt=attempt)
        assert [clash.winner for clash in meet(base, look).clashes] == ["target"]


def test_winner_that_was_tried_and_then_emptied_clashes_with_a_new_value() -> None:
    """It may have been carried: emptying it is a change then."""
    base = agreed("")
    meet(base, seen(NEW, OTHER))
    give_up(base, "ledger", phone=NEW)
    (clash,) = meet(base, seen("", "020 7946 0555", rules=Rules(rule="ask"))).clashes
    assert (clash.source_value, clash.target_value) == ("", "020 7946 0555")


def test_winner_of_a_field_that_was_never_there_is_no_change_once_it_is_taken_out_again() -> None:
    base = agreed("")
    meet(base, seen(NEW, OTHER))
    newer = seen("", "020 7946 0555", rules=Rules(rule="ask"))
    assert meet(base, newer) == Meeting()
    assert carried(base, turned(newer)) == ["phone"]


def test_winner_that_was_tried_and_put_back_leaves_what_had_lost() -> None:
    base = agreed()
    meet(base, seen(NEW, OTHER))
    give_up(base, "ledger", phone=NEW)
    assert carried(base, turned(seen(OLD, OTHER))) == ["phone"]
