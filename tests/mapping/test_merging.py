"""The three-way merge of one field, case by case; `tests/faults/test_merge_machine.py` tries what nobody thought of."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace
from typing import Any, Literal

import pytest

from connectors.sdk.records import Address, Customer
from marketplace.mapping.merging import (
    ANOTHER,
    FIELDS,
    LATE_FOR,
    Answer,
    Base,
    Look,
    Meeting,
    Rules,
    Way,
    confirm,
    decide,
    meet,
    only,
    said_by,
)

NOW = dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)
ATTEMPTS = itertools.count(1)
OLD, NEW, OTHER = "020 7946 0001", "020 7946 0222", "020 7946 0333"


def texts(phone: str, **more: str) -> dict[str, str]:
    return dict.fromkeys(FIELDS, "") | {"name": "Ada Hart", "phone": phone} | more


def seen(shop: str, ledger: str, **more: Any) -> Look:
    """Both sides as they stand, looked at from the shop; each mapping hands on what is there."""
    ours, theirs = texts(shop), texts(ledger)
    given: dict[str, Any] = {
        "there": Way(source="shop", sent=ours, held=theirs),
        "back": Way(source="ledger", sent=theirs, held=ours),
        "rules": Rules(),
        "source_at": NOW,
        "target_at": NOW,
        "now": NOW,
    }
    return Look(**(given | more))


def turned(look: Look, **more: Any) -> Look:
    """The same moment, looked at from the ledger."""
    owner: Literal["source", "target"] = "target" if look.rules.owner == "source" else "source"
    rules = Rules(rule=look.rules.rule, owner=owner, modes=look.rules.modes)
    given: dict[str, Any] = {
        "there": look.back,
        "back": look.there,
        "rules": rules,
        "source_at": NOW,
        "target_at": NOW,
        "now": NOW,
    }
    return Look(**(given | more))


def agreed(phone: str = OLD) -> Base:
    base = Base()
    meet(base, seen(phone, phone))
    return base


def carried(base: Base, look: Look) -> list[str]:
    return meet(base, look).carried


def give_up(base: Base, side: str, *, at: dt.datetime = NOW, attempt: str = "", **sent: str) -> None:
    """What was sent to this side had no answer and is not to be seen there."""
    base.note_late(side, sent, at, attempt=attempt or f"{next(ATTEMPTS)}.1")


def written(base: Base, look: Look, phone: str) -> None:
    """The ledger took what the shop sent."""
    after = seen(look.back.held["phone"], phone)
    confirm(base, Answer(sent={"phone": phone}, held=texts(phone), there=after.there, back=after.back), NOW)


# ---------------------------------------------------------------------- an emptied field


def test_emptied_on_one_side_is_carried_in_its_direction_only() -> None:
    look = seen("", OLD)
    assert carried(agreed(), look) == ["phone"]
    back = meet(agreed(), turned(look))
    assert (back.carried, back.clashes) == ([], [])


def test_emptied_and_carried_is_agreed_and_does_not_come_back() -> None:
    base = agreed()
    written(base, seen("", OLD), "")
    assert carried(base, seen("", "")) == carried(base, turned(seen("", ""))) == []
    assert carried(base, seen(NEW, "")) == ["phone"]


def test_emptied_here_and_changed_there_is_a_clash() -> None:
    look = seen("", NEW, rules=Rules(rule="ask"))
    (clash,) = meet(agreed(), look).clashes
    assert (clash.source_value, clash.target_value, clash.agreed, clash.winner) == ("", NEW, (OLD, OLD), "")
    (clash,) = meet(agreed(), turned(look)).clashes
    assert (clash.source_value, clash.target_value) == (NEW, "")


@pytest.mark.parametrize(("shop", "ledger"), [("", NEW), (NEW, "")])
@pytest.mark.parametrize("owner", ["source", "target"])
def test_winner_over_an_emptied_field_is_the_only_change_left(shop: str, ledger: str, owner: Any) -> None:
    base, look = agreed(), seen(shop, ledger, rules=Rules(owner=owner))
    (clash,) = meet(base, look).clashes
    assert clash.winner == owner
    for _ in range(2):
        forth, home = meet(base, look), meet(base, turned(look))
        assert (forth.carried, home.carried) == ((["phone"], []) if owner == "source" else ([], ["phone"]))
        assert forth.clashes == home.clashes == []


def test_emptied_on_both_is_agreed() -> None:
    base = agreed()
    assert meet(base, seen("", "")) == Meeting()
    assert base.agreed["shop"]["phone"] == ["", ""] == base.agreed["ledger"]["phone"]


def test_field_the_mapping_makes_nothing_of_is_not_emptied() -> None:
    base = agreed()
    look = seen(OLD, OLD)
    unmapped = Way(source="shop", sent=texts(""), held=texts(OLD))
    assert carried(base, seen(OLD, OLD, there=unmapped, back=look.back)) == []


def test_field_that_never_was_there_is_not_emptied() -> None:
    assert carried(Base(), seen("", NEW)) == []
    base = agreed("")
    assert carried(base, seen("", NEW)) == []
    assert carried(base, turned(seen("", NEW))) == ["phone"]


def test_name_is_never_emptied() -> None:
    base, look = agreed(), seen(OLD, OLD)
    nameless = texts(OLD, name="")
    there = Way(source="shop", sent=nameless, held=look.there.held)
    back = Way(source="ledger", sent=look.back.sent, held=nameless)
    met = meet(base, seen(OLD, OLD, there=there, back=back))
    assert (met.carried, met.clashes) == ([], [])


@pytest.mark.parametrize("mode", ["if_empty", "if_new", "never"])
def test_only_overwriting_empties(mode: str) -> None:
    assert meet(agreed(), seen("", OLD, rules=Rules(modes={"phone": mode}))) == Meeting()
    assert meet(agreed(), seen("", NEW, rules=Rules(modes={"phone": mode}))) == Meeting()


def test_what_the_provider_keeps_full_is_stuck_and_said() -> None:
    met = meet(agreed(), seen("", OLD, rules=Rules(cannot_empty={"phone"})))
    assert (met.carried, met.stuck) == ([], ["phone"])
    assert carried(agreed(), seen(NEW, OLD, rules=Rules(cannot_empty={"phone"}))) == ["phone"]


def test_change_names_what_it_empties() -> None:
    person = Customer(id="1", name="Ada Hart", email="ada@example.com", address=Address(city="Bath"))
    change = only(person, ["email", "phone", "tax_number"])
    assert change == Customer(id="1", name="", email="ada@example.com", emptied=("phone", "tax_number"))
    assert said_by(change) == {"email": "ada@example.com", "phone": "", "tax_number": ""}
    assert said_by(only(person, ["address"])).keys() == {"address"}


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


THEIRS = "020 7946 0444"


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


# ---------------------------------------------------------------------- winners


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


# ---------------------------------------------------------------------- spellings


def test_same_value_spelled_differently_is_no_change() -> None:
    base = agreed()
    assert meet(base, seen("(020) 7946-0001", OLD)) == Meeting()


def test_new_spelling_gives_way_to_a_new_value() -> None:
    base = agreed()
    base.agreed["shop"]["phone"] = ["020-7946-0001", "020-7946-0001"]
    met = meet(base, seen(NEW, OLD))
    assert (met.carried, met.clashes) == (["phone"], [])


def test_change_of_one_side_that_the_other_only_spells_anew_does_not_clash() -> None:
    base = agreed()
    met = meet(base, seen("020-7946-0001", NEW))
    assert (met.carried, met.clashes) == ([], [])
    assert carried(base, turned(seen("020-7946-0001", NEW))) == ["phone"]


def test_both_changed_to_what_may_be_one_value_agree_without_a_clash() -> None:
    base = agreed()
    base.agreed["shop"]["tax_number"] = ["GB 1", "GB 1"]
    ours, theirs = texts(OLD, name="Ada-Hart"), texts(OLD, name="ADA HART")
    there, back = Way(source="shop", sent=ours, held=theirs), Way(source="ledger", sent=theirs, held=ours)
    base.agreed["shop"]["name"] = base.agreed["ledger"]["name"] = ["Ida", "Ida"]
    assert meet(base, seen(OLD, OLD, there=there, back=back)) == Meeting()
    assert base.agreed["shop"]["name"] == ["Ada-Hart", "ADA HART"]
    assert base.agreed["ledger"]["name"] == ["ADA HART", "Ada-Hart"]


def test_agreement_says_nothing_of_the_way_back_where_that_hands_on_something_else() -> None:
    base, look = Base(), seen(OLD, OLD)
    back = Way(source="ledger", sent=texts("n/a"), held=look.back.held)
    meet(base, seen(OLD, OLD, back=back))
    assert base.agreed["shop"]["phone"] == [OLD, OLD]
    assert "phone" not in base.agreed["ledger"]


# ---------------------------------------------------------------------- answers


def test_answer_in_the_ledger_s_own_way_is_the_agreement() -> None:
    base = agreed()
    after = seen(NEW, "0222")
    confirm(base, Answer(sent={"phone": NEW}, held=texts("0222"), there=after.there, back=after.back), NOW)
    assert carried(base, after) == carried(base, turned(after)) == []


def test_edit_made_while_the_write_was_under_way_is_not_known_over_there() -> None:
    """The shop's people changed it again: the ledger's old half still says what it knew of the shop."""
    base = agreed()
    after = seen(OTHER, NEW)
    confirm(base, Answer(sent={"phone": NEW}, held=texts(NEW), there=after.there, back=after.back), NOW)
    assert base.agreed["ledger"]["phone"] == [NEW, OLD]
    fresh = Base()
    confirm(fresh, Answer(sent={"phone": NEW}, held=texts(NEW), there=after.there, back=after.back), NOW)
    assert fresh.agreed["ledger"]["phone"] == [NEW, NEW]
    assert carried(base, after) == ["phone"]
    assert carried(base, turned(after)) == []


def test_what_the_ledger_changed_besides_is_part_of_its_answer() -> None:
    base = agreed()
    after = seen(OLD, OTHER)
    answer = Answer(sent={"name": "Ada"}, held=texts(OTHER), there=after.there, back=after.back, before=texts(OLD))
    confirm(base, answer, NOW)
    assert carried(base, turned(after)) == []
    looked_up = agreed()
    answer = Answer(sent={"name": "Ada"}, held=texts(OTHER), there=after.there, back=after.back)
    confirm(looked_up, answer, NOW)
    assert carried(looked_up, turned(after)) == ["phone"]


def test_what_the_shop_s_people_changed_besides_is_left_to_be_compared() -> None:
    base = agreed()
    after = seen(NEW, OTHER)
    answer = Answer(sent={"name": "Ada"}, held=texts(OTHER), there=after.there, back=after.back, before=texts(OLD))
    confirm(base, answer, NOW)
    assert base.agreed["ledger"]["phone"] == [OTHER, NEW]
    assert base.agreed["shop"]["phone"] == [OLD, OLD]


def test_answer_is_the_agreement_of_both_directions_and_counts_from_its_time() -> None:
    base, later = agreed(), NOW + dt.timedelta(minutes=5)
    after = seen(NEW, NEW)
    confirm(base, Answer(sent={"phone": NEW}, held=texts(NEW), there=after.there, back=after.back), later)
    assert base.agreed["shop"]["phone"] == base.agreed["ledger"]["phone"] == [NEW, NEW]
    assert (base.since("ledger", "phone"), base.since("ledger", "email")) == (later, NOW)


# ---------------------------------------------------------------------- what is left alone


def test_what_the_mapping_makes_nothing_of_takes_the_other_side_s_change() -> None:
    look = seen(OLD, NEW, there=Way(source="shop", sent=texts(""), held=texts(NEW)))
    met = meet(agreed(), turned(look))
    assert (met.carried, met.clashes) == (["phone"], [])


def test_field_filled_from_another_one_is_not_emptied() -> None:
    """The shop's own telephone number is empty; its mapping sends another field's, as it always did."""
    filled = Way(source="shop", sent=texts(OLD), held=texts(NEW))
    met = meet(agreed(), seen("", NEW, there=filled))
    assert (met.carried, met.clashes) == ([], [])


def test_emptied_name_takes_the_other_side_s_new_one() -> None:
    base, nameless, renamed = agreed(), texts(OLD, name=""), texts(OLD, name="Ada Lovelace")
    there, back = Way(source="shop", sent=nameless, held=renamed), Way(source="ledger", sent=renamed, held=nameless)
    met = meet(base, turned(seen(OLD, OLD, there=there, back=back)))
    assert (met.carried, met.clashes) == (["name"], [])
    assert carried(base, seen(OLD, OLD, there=there, back=back)) == []


def test_nothing_is_emptied_over_a_late_write_for_a_name_or_for_a_mapping() -> None:
    base = agreed()
    give_up(base, "ledger", phone=NEW, name="Ada Lovelace")
    ours, theirs = texts(OLD, name=""), texts(NEW, name="Ada Lovelace")
    there, back = Way(source="shop", sent=texts("", name=""), held=theirs), Way(source="ledger", sent=theirs, held=ours)
    assert carried(base, seen(OLD, NEW, there=there, back=back)) == []


def own_way(sent: str, held: str) -> Look:
    """A tax number that the ledger spells so that nobody would know it again."""
    ours, theirs = texts(OLD, tax_number=sent), texts(OLD, tax_number=held)
    there, back = Way(source="shop", sent=ours, held=theirs), Way(source="ledger", sent=theirs, held=ours)
    return seen(OLD, OLD, there=there, back=back, rules=Rules(rule="ask"))


@pytest.mark.parametrize(
    ("sent", "held", "wanted"),
    [("gb1", "gb1-own", []), ("GB 1", "gb1-own", ["tax_number"]), ("GB 1", "GB1 OWN", []), ("gb1", "GB1 OWN", [])],
)
def test_new_spelling_is_carried_unless_both_are_new(sent: str, held: str, wanted: list[str]) -> None:
    base = agreed()
    base.agreed["shop"]["tax_number"], base.agreed["ledger"]["tax_number"] = ["gb1", "gb1-own"], ["gb1-own", "gb1"]
    met = meet(base, own_way(sent, held))
    assert (met.carried, met.clashes) == (wanted, [])


# ---------------------------------------------------------------------- what is remembered


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


def test_value_counts_from_when_it_was_first_seen() -> None:
    base, later = agreed(), NOW + dt.timedelta(minutes=10)
    meet(base, seen(OLD, NEW, source_at=later, target_at=later))
    assert (base.since("shop", "phone"), base.since("ledger", "phone")) == (NOW, later)


# ---------------------------------------------------------------------- open conflicts


def test_open_conflict_ends_when_both_are_equal() -> None:
    met = meet(agreed(), seen(NEW, NEW, open_fields=("phone",)))
    assert (met.ended, met.clashes) == (["phone"], [])


def test_open_conflict_ends_when_both_are_one_value_spelled_differently() -> None:
    base = agreed()
    ours, theirs = texts(OLD, name="Ada-Hart"), texts(OLD, name="ADA HART")
    there, back = Way(source="shop", sent=ours, held=theirs), Way(source="ledger", sent=theirs, held=ours)
    met = meet(base, seen(OLD, OLD, there=there, back=back, open_fields=("name",), rules=Rules(rule="ask")))
    assert (met.ended, met.clashes, met.carried) == (["name"], [], [])
    assert base.agreed["shop"]["name"] == ["Ada-Hart", "ADA HART"]


def test_open_conflict_stays_one_whatever_the_base_says() -> None:
    look = seen(OLD, NEW, open_fields=("phone",), rules=Rules(rule="ask"))
    met = meet(agreed(), look)
    assert ([clash.winner for clash in met.clashes], met.carried) == ([""], [])


def test_open_conflict_that_a_rule_decides_is_carried_at_once() -> None:
    met = meet(agreed(), seen(NEW, OTHER, open_fields=("phone",)))
    assert (met.carried, met.is_for_the_way_back) == (["phone"], False)
    met = meet(agreed(), seen(NEW, OTHER, open_fields=("phone",), rules=Rules(owner="target")))
    assert (met.carried, met.is_for_the_way_back) == ([], True)
