"""Customers that both sides change; the judges are both systems' own books and APIs, never our tables."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from connectors.testing import Simulator
from tenants.models import Tenant, User
from tests.posting.two_way import TwoSides, open_two_sides, person


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
