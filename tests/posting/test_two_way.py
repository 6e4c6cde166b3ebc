"""Customers that both sides change; the judges are both systems' own books and APIs, never our tables."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from django.test import Client
from pytest_django import Settings

from connectors.sdk.records import Address
from connectors.testing import Simulator
from connectors.testing.faults import Fault
from marketplace.mapping.operations import decide_source_of_truth
from marketplace.mapping.queries import other_way
from marketplace.posting.decisions import UnableToDecide
from marketplace.posting.models import RecordOutcome
from marketplace.sync.models import StreamState
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.cutover.world import remap
from tests.posting.two_way import TwoSides, open_two_sides, person, spell_its_own_way, wait_past


@pytest.fixture
def sides(tenant: Tenant, alice: User, simulators: dict[str, Simulator], settings: Settings) -> TwoSides:
    settings.SIMULATOR_SPEED = 1000
    made = open_two_sides(tenant, alice, simulators)
    made.add_back()
    return made


@pytest.fixture
def ada(sides: TwoSides) -> tuple[str, str]:
    """A customer of the shop and her contact, in agreement."""
    (customer,) = sides.shop.enter(person())
    sides.sync()
    contact = sides.contact_of(customer)
    return customer, contact


def test_new_customer_becomes_one_contact_and_never_comes_back(sides: TwoSides, ada: tuple[str, str]) -> None:
    assert len(sides.ledger.lines("create")) == 1
    sides.sync()
    sides.sync()
    assert sides.writes() == 1
    assert (sides.outcomes(sides.forth), sides.shop.lines()) == (["posted"], [])


def test_edits_of_different_fields_both_survive(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.edit(sides.shop, customer, name="Ada Hart-Lee")
    sides.edit(sides.ledger, contact, phone="020 7946 0999")
    sides.sync()
    for side, external_id in ((sides.shop, customer), (sides.ledger, contact)):
        found = sides.now_at(side, external_id)
        assert (found.name, found.phone, found.email) == ("Ada Hart-Lee", "020 7946 0999", "ada@example.com")
    assert sides.conflicts() == []
    writes = sides.writes()
    sides.sync()
    assert sides.writes() == writes == 3


def test_owner_wins_once_and_the_conflict_stays_in_the_history(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.edit(sides.ledger, contact, phone="020 7946 0222")
    sides.sync()
    assert sides.now_at(sides.shop, customer).phone == sides.now_at(sides.ledger, contact).phone == "020 7946 0111"
    assert sides.judged() == [("phone", "decided", "owner", "stripe")]
    (conflict,) = sides.conflicts()
    assert {conflict.source_value, conflict.target_value} == {"020 7946 0111", "020 7946 0222"}
    assert {conflict.source_agreed, conflict.target_agreed} == {"020 7946 0001"}
    sides.sync()
    assert (len(sides.ledger.lines("update")), sides.shop.lines("update")) == (1, [])


def test_newest_change_wins_by_when_the_field_was_changed_and_not_by_our_own_writes(
    tenant: Tenant, alice: User, simulators: dict[str, Simulator], settings: Settings
) -> None:
    """The ledger's record is the newest, but only because we wrote another field of it."""
    settings.SIMULATOR_SPEED = 1000
    sides = open_two_sides(tenant, alice, simulators, shop="shopify")
    (customer,) = sides.shop.enter(person(phone="+442079460001"))
    sides.sync()
    contact = sides.contact_of(customer)
    sides.rule("newest", sides.ledger)
    sides.edit(sides.ledger, contact, phone="+442079460222")
    edited_at = sides.now_at(sides.ledger, contact).updated_at
    sides.edit(sides.shop, customer, name="Ada Hart-Lee")
    wait_past(sides.ledger, sides.shop.simulator.now() + dt.timedelta(hours=1))
    sides.sync()  # our write of the name moves the contact's time to an hour ahead of the shop's
    assert sides.now_at(sides.ledger, contact).phone == "+442079460222"
    wait_past(sides.shop, edited_at)
    sides.edit(sides.shop, customer, phone="+442079460111")
    sides.sync()
    assert sides.judged() == [("phone", "decided", "newest", "shopify")]
    assert sides.now_at(sides.ledger, contact).phone == "+442079460111"


def test_ask_holds_the_field_and_writes_the_others(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.rule("ask", sides.shop)
    sides.edit(sides.shop, customer, phone="020 7946 0111", name="Ada Hart-Lee")
    sides.edit(sides.ledger, contact, phone="020 7946 0222")
    sides.sync()
    sides.sync()
    assert sides.now_at(sides.shop, customer).phone == "020 7946 0111"
    found = sides.now_at(sides.ledger, contact)
    assert (found.phone, found.name) == ("020 7946 0222", "Ada Hart-Lee")
    assert sides.judged() == [("phone", "open", "ask", "")]
    assert "held conflict" in [outcome for flow in sides.flows for outcome in sides.outcomes(flow)]


@pytest.mark.parametrize("winner", ["stripe", "xero"])
def test_what_a_person_chose_is_written_and_agreed_from_then_on(
    sides: TwoSides, ada: tuple[str, str], winner: str
) -> None:
    customer, contact = ada
    sides.rule("ask", sides.shop)
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.edit(sides.ledger, contact, phone="020 7946 0222")
    sides.sync()
    sides.choose(phone=winner)
    sides.sync()
    chosen = {"stripe": "020 7946 0111", "xero": "020 7946 0222"}[winner]
    assert sides.now_at(sides.shop, customer).phone == sides.now_at(sides.ledger, contact).phone == chosen
    assert sides.judged() == [("phone", "decided", "ask", winner)]
    assert not [outcome for flow in sides.flows for outcome in sides.outcomes(flow) if outcome != "posted"]
    sides.edit(sides.ledger, contact, phone="020 7946 0333")
    sides.sync()
    assert sides.now_at(sides.shop, customer).phone == "020 7946 0333"
    assert len(sides.conflicts()) == 1


def test_choice_is_refused_when_a_value_was_changed_meanwhile(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.rule("ask", sides.shop)
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.edit(sides.ledger, contact, phone="020 7946 0222")
    sides.sync()
    shown = sides.shown()
    sides.edit(sides.shop, customer, phone="020 7946 0444")
    sides.read()
    with pytest.raises(UnableToDecide, match="changed meanwhile"):
        sides.choose(shown, phone="xero")
    sides.sync()
    with pytest.raises(UnableToDecide, match="changed meanwhile"):
        sides.choose(shown, phone="xero")
    sides.choose(phone="xero")
    sides.sync()
    assert sides.now_at(sides.shop, customer).phone == "020 7946 0222"


def test_conflict_ends_by_itself_when_both_sides_are_made_equal(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.rule("ask", sides.shop)
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.edit(sides.ledger, contact, phone="020 7946 0222")
    sides.sync()
    sides.edit(sides.ledger, contact, phone="020 7946 0111")
    sides.sync()
    assert sides.judged() == [("phone", "ended", "ask", "")]
    assert set(sides.outcomes(sides.forth)) == {"posted"}


def test_change_of_the_rule_decides_what_waited(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.rule("ask", sides.shop)
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.edit(sides.ledger, contact, phone="020 7946 0222")
    sides.sync()
    with tenant_context(sides.owner):
        decide_source_of_truth(
            data_type="customer", owner=sides.ledger.connection, rule="owner", field_owners={}, user=sides.user
        )
    sides.sync()
    assert sides.judged() == [("phone", "decided", "owner", "xero")]
    assert sides.now_at(sides.shop, customer).phone == "020 7946 0222"


def test_where_nothing_writes_back_each_side_keeps_its_value_and_it_is_said(
    sides: TwoSides, ada: tuple[str, str]
) -> None:
    customer, contact = ada
    sides.drop_back()
    sides.rule("owner", sides.ledger)
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.edit(sides.ledger, contact, phone="020 7946 0222")
    sides.sync()
    assert sides.judged() == [("phone", "decided", "owner", "xero")]
    assert sides.now_at(sides.shop, customer).phone == "020 7946 0111"
    assert sides.now_at(sides.ledger, contact).phone == "020 7946 0222"
    with tenant_context(sides.owner):
        told = other_way(sides.forth)
    assert told is not None
    assert "each side keeps its own value" in told.words


def test_edit_that_nothing_carries_is_never_overwritten_without_a_record(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.drop_back()
    sides.edit(sides.ledger, contact, phone="020 7946 0222")
    sides.edit(sides.shop, customer, name="Ada Hart-Lee")
    sides.sync()
    assert (sides.now_at(sides.ledger, contact).phone, sides.conflicts()) == ("020 7946 0222", [])
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.sync()
    (conflict,) = sides.conflicts()
    assert (conflict.target_value, conflict.winner) == ("020 7946 0222", "source")
    assert sides.now_at(sides.ledger, contact).phone == "020 7946 0111"


def test_providers_own_spelling_of_our_value_comes_back_as_no_change(sides: TwoSides, ada: tuple[str, str]) -> None:
    """Whatever the ledger makes of what we sent, its answer is the new base for its side."""
    customer, contact = ada
    sides.edit(sides.shop, customer, address=Address(line1="1  Quay   Street", city="Bristol", country="gb"))
    sides.sync()
    writes = sides.writes()
    held = sides.now_at(sides.ledger, contact)
    sides.edit(sides.ledger, contact, address=msgspec.structs.replace(held.address, line1=" 1 QUAY STREET "))
    sides.edit(sides.shop, customer, name="Ada H")
    sides.sync()
    sides.sync()
    sides.sync()
    assert sides.writes() == writes + 2  # the name to the ledger, the address to the shop; and nothing comes back
    assert sides.conflicts() == []


def test_ledger_that_spells_everything_its_own_way_starts_no_ping_pong(
    sides: TwoSides, ada: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger shortens names and puts them in capitals, so that nobody would take them for what we sent."""
    customer, _ = ada
    spell_its_own_way(sides.ledger, monkeypatch)
    sides.edit(sides.shop, customer, name="Ada Hart-Lee", phone="020 7946 0111")
    for _ in range(4):
        sides.sync()
    assert (len(sides.ledger.lines("update")), sides.shop.lines("update")) == (1, [])
    assert sides.now_at(sides.shop, customer).name == "Ada Hart-Lee"
    assert sides.conflicts() == []


def test_lost_answer_to_a_change_is_looked_up_by_what_the_object_holds(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, _ = ada
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.read()
    sides.plan()
    sides.ledger.simulator.faults.add(Fault(match="POST /api.xro/2.0/Contacts", kind="drop_after"))
    sides.write()
    sides.read()
    sides.sync()
    assert len(sides.ledger.lines("update")) == 1
    assert (sides.shop.lines("update"), sides.conflicts()) == ([], [])
    assert set(sides.outcomes(sides.forth)) == {"posted"}


def test_change_that_never_arrived_is_sent_again(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.read()
    sides.plan()
    sides.ledger.simulator.faults.add(Fault(match="POST /api.xro/2.0/Contacts", kind="drop_before"))
    sides.write()
    sides.write()
    sides.let_quiet_time_pass()
    sides.write()
    sides.sync()
    assert sides.now_at(sides.ledger, contact).phone == "020 7946 0111"
    assert len(sides.ledger.lines("update")) == 1


def test_contact_edited_between_our_read_and_our_write_is_compared_again(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.read()
    sides.plan()
    sides.edit(sides.ledger, contact, phone="020 7946 0222", email="ada@hart.example")
    sides.write()
    assert sides.now_at(sides.ledger, contact).phone == "020 7946 0222"
    sides.sync()
    assert sides.judged() == [("phone", "decided", "owner", "stripe")]
    for side, external_id in ((sides.shop, customer), (sides.ledger, contact)):
        found = sides.now_at(side, external_id)
        assert (found.phone, found.email) == ("020 7946 0111", "ada@hart.example")


def test_value_that_was_written_before_is_written_again_when_it_is_wanted_again(
    sides: TwoSides, ada: tuple[str, str]
) -> None:
    """Written by us, changed over there, and wanted again here: the same change a second time is a change."""
    customer, contact = ada
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.sync()
    sides.edit(sides.ledger, contact, phone="020 7946 0333")
    sides.sync()
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.sync()
    assert sides.now_at(sides.ledger, contact).phone == "020 7946 0111"
    assert sides.conflicts() == []


def test_field_the_shop_never_had_is_filled_from_the_ledger(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.edit(sides.ledger, contact, address=Address(line1="1 Quay Street", city="Bristol", country="GB"))
    sides.sync()
    assert sides.now_at(sides.shop, customer).address.city == "Bristol"


def test_people_known_on_both_sides_are_linked_and_their_differences_judged_once(sides: TwoSides) -> None:
    (customer,) = sides.shop.enter(person(phone="020 7946 0111"))
    (contact,) = sides.ledger.enter(person(phone="020 7946 0222", name="A. Hart", tax_number="GB1"))
    sides.sync()
    sides.sync()
    assert sides.contact_of(customer) == contact
    assert sorted(sides.judged()) == [("name", "decided", "owner", "stripe"), ("phone", "decided", "owner", "stripe")]
    assert (sides.ledger.lines("create"), sides.shop.lines("create")) == ([], [])
    assert len(sides.ledger.lines("update")) == 1


def test_write_mode_keeps_a_field_from_being_written_and_from_being_a_conflict(
    sides: TwoSides, ada: tuple[str, str]
) -> None:
    customer, contact = ada
    with tenant_context(sides.owner):
        never = {"from": "field", "path": "phone", "steps": [], "write_mode": "never"}
        remap(sides.forth, sides.user, {"phone": never})
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.sync()
    assert sides.now_at(sides.ledger, contact).phone == "020 7946 0001"
    assert sides.conflicts() == []


def test_nothing_is_deleted_or_created_while_the_other_side_is_not_read_to_the_end(
    sides: TwoSides, ada: tuple[str, str]
) -> None:
    """Known contacts are missing from an incomplete listing; that says nothing about them."""
    with tenant_context(sides.owner):
        StreamState.objects.filter(connection=sides.ledger.connection).update(backfilled_at=None)
    sides.shop.enter(person("Ben Lowe", email="ben@example.com"))
    sides.read(sides.shop)
    sides.plan()
    sides.write()
    assert len(sides.ledger.lines()) == 1  # Ada, from before
    sides.sync()
    assert len(sides.ledger.lines("create")) == 2


def test_contact_deleted_over_there_is_deleted_nowhere_else(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.edit(sides.ledger, contact, is_archived=True)
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.sync()
    assert sides.now_at(sides.shop, customer).phone == "020 7946 0111"
    assert not [line for line in sides.shop.lines() + sides.ledger.lines() if line["action"] in ("delete", "void")]
    assert "held contact_gone" in sides.outcomes(sides.forth)


def test_our_new_contact_read_before_its_answer_is_not_taken_for_a_new_person(sides: TwoSides) -> None:
    """The webhook is faster than the answer; without an address there is nothing else to know the contact by."""
    sides.shop.enter(person("Cy Dene", email="", phone=""))
    with tenant_context(sides.owner):
        remap(sides.forth, sides.user, {"name": {"from": "field", "path": "name", "steps": [["prefix", "Mx "]]}})
    sides.read(sides.shop)
    sides.plan(sides.forth)
    sides.ledger.simulator.faults.add(Fault(match="POST /api.xro/2.0/Contacts", kind="drop_after"))
    sides.write(sides.ledger)
    sides.read(sides.ledger)
    sides.plan()
    sides.write(sides.shop)
    sides.sync()
    sides.sync()
    assert (len(sides.ledger.lines("create")), sides.shop.lines()) == (1, [])


@pytest.mark.parametrize(("shop", "ledger"), [("shopify", "quickbooks"), ("stripe", "quickbooks"), ("shopify", "xero")])
def test_every_pair_of_providers_comes_to_rest(
    tenant: Tenant,
    alice: User,
    simulators: dict[str, Simulator],
    settings: Settings,
    shop: str,
    ledger: str,
) -> None:
    settings.SIMULATOR_SPEED = 1000
    sides = open_two_sides(tenant, alice, simulators, shop=shop, ledger=ledger)
    sides.add_back()
    (customer,) = sides.shop.enter(person(phone="+442079460001"))
    sides.sync()
    contact = sides.contact_of(customer)
    sides.edit(sides.shop, customer, name="Ada Hart-Lee")
    sides.edit(
        sides.ledger, contact, phone="+442079460999", address=Address(line1="1 Quay St", city="Bristol", country="GB")
    )
    sides.sync()
    for side, external_id in ((sides.shop, customer), (sides.ledger, contact)):
        found = sides.now_at(side, external_id)
        assert (found.name, found.phone, found.address.city) == ("Ada Hart-Lee", "+442079460999", "Bristol")
    writes = sides.writes()
    sides.sync()
    sides.sync()
    assert (sides.writes(), sides.conflicts()) == (writes, [])
    assert len(sides.ledger.lines()) == 2


# ---------------------------------------------------------------------- emptied fields


def test_emptied_field_is_emptied_on_the_other_side_and_comes_to_rest(sides: TwoSides, ada: tuple[str, str]) -> None:
    customer, contact = ada
    sides.edit(sides.shop, customer, phone="")
    sides.edit(sides.ledger, contact, email="")
    sides.sync()
    for side, external_id in ((sides.shop, customer), (sides.ledger, contact)):
        found = sides.now_at(side, external_id)
        assert (found.name, found.phone, found.email) == ("Ada Hart", "", "")
    writes = sides.writes()
    sides.sync()
    assert (sides.writes(), sides.conflicts()) == (writes, [])
    sides.edit(sides.ledger, contact, phone="020 7946 0999")
    sides.sync()
    assert sides.now_at(sides.shop, customer).phone == "020 7946 0999"


def test_emptied_here_and_changed_there_is_a_conflict_that_shows_the_empty_side(
    sides: TwoSides, ada: tuple[str, str], alice_client: Client
) -> None:
    customer, contact = ada
    sides.rule("ask", sides.shop)
    sides.edit(sides.shop, customer, phone="")
    sides.edit(sides.ledger, contact, phone="020 7946 0222")
    sides.sync()
    assert sides.judged() == [("phone", "open", "ask", "")]
    page = alice_client.get(f"/o/{sides.owner.slug}/conflicts/{sides.conflicts()[0].pk}/").content.decode()
    assert "(empty)" in page
    sides.choose(phone="stripe")
    sides.sync()
    assert (sides.now_at(sides.shop, customer).phone, sides.now_at(sides.ledger, contact).phone) == ("", "")


def test_field_the_provider_keeps_full_is_held_in_words_and_the_others_are_written(
    tenant: Tenant, alice: User, simulators: dict[str, Simulator], settings: Settings
) -> None:
    """Shopify lets nobody take a default address away."""
    settings.SIMULATOR_SPEED = 1000
    sides = open_two_sides(tenant, alice, simulators, shop="shopify")
    sides.add_back()
    (customer,) = sides.shop.enter(person(phone="+442079460001", address=Address(line1="1 Quay Street", country="GB")))
    sides.sync()
    contact = sides.contact_of(customer)
    sides.edit(sides.ledger, contact, address=Address(), phone="")
    sides.sync()
    found = sides.now_at(sides.shop, customer)
    assert (found.phone, found.address.line1) == ("", "1 Quay Street")
    assert sides.back is not None
    assert sides.outcomes(sides.back) == ["held cannot_empty"]
    with tenant_context(sides.owner):
        told = RecordOutcome.objects.get(flow=sides.back)
    assert told.reason == "Emptied in Xero, but Shopify does not let Tieout empty it there: address."
    sides.edit(sides.ledger, contact, address=Address(line1="2 Quay Street", country="GB"))
    sides.sync()
    assert sides.now_at(sides.shop, customer).address.line1 == "2 Quay Street"
    assert sides.outcomes(sides.back) == ["posted"]
