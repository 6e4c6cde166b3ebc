"""The three-way merge of one field, case by case; `tests/faults/test_merge_machine.py` tries what nobody thought of."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from connectors.sdk.records import Address, Customer
from marketplace.mapping.contact_values import only, said_by
from marketplace.mapping.merging import Answer, Base, Meeting, Rules, Way, confirm, meet
from tests.mapping.two_values import (
    NEW,
    NOW,
    OLD,
    OTHER,
    agreed,
    carried,
    give_up,
    own_way,
    seen,
    texts,
    turned,
    written,
)

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


# ---------------------------------------------------------------------- spellings


def test_same_value_spelled_differently_is_no_change() -> None:
    base = agreed()
    assert meet(base, seen("(020) 7946-0001", OLD)) == Meeting()


def test_new_spelling_of_a_name_is_carried() -> None:
    base, theirs = agreed(), texts(OLD)
    ours = texts(OLD, name="ADA HART")
    there, back = Way(source="shop", sent=ours, held=theirs), Way(source="ledger", sent=theirs, held=ours)
    assert carried(base, seen(OLD, OLD, there=there, back=back)) == ["name"]


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


def test_value_counts_from_when_it_was_first_seen() -> None:
    base, later = agreed(), NOW + dt.timedelta(minutes=10)
    meet(base, seen(OLD, NEW, source_at=later, target_at=later))
    assert (base.since("shop", "phone"), base.since("ledger", "phone")) == (NOW, later)


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


@pytest.mark.parametrize(
    ("sent", "held", "wanted"),
    [("gb1", "gb1-own", []), ("GB 1", "gb1-own", ["tax_number"]), ("GB 1", "GB1 OWN", []), ("gb1", "GB1 OWN", [])],
)
def test_new_spelling_is_carried_unless_both_are_new(sent: str, held: str, wanted: list[str]) -> None:
    base = agreed()
    base.agreed["shop"]["tax_number"], base.agreed["ledger"]["tax_number"] = ["gb1", "gb1-own"], ["gb1-own", "gb1"]
    met = meet(base, own_way(sent, held))
    assert (met.carried, met.clashes) == (wanted, [])


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
