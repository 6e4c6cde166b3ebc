"""Customers written in both directions by the thousand, with webhooks and sweeps on: nothing that we wrote comes back as a change.

The judges are the simulators' append-only books: every line by the connector is a write we made.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from connectors.sdk.records import Address
from connectors.testing import Simulator
from connectors.testing.faults import Fault
from connectors.testing.outbox import as_delivery
from marketplace.core.work import request_work
from marketplace.installations.clients import client_for
from marketplace.posting import uncertain
from marketplace.posting.models import RecordOutcome
from marketplace.posting.pairs import DOUBTFUL
from marketplace.sync.operations import request_read
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.faults.campaign import Size
from tests.faults.conftest import Tell
from tests.faults.world import work_quietly
from tests.installations.conftest import served, simulators  # noqa: F401 -- fixtures
from tests.posting.two_way import Side, TwoSides, open_two_sides, people, person

pytestmark = pytest.mark.faults

EDITS_PER_HUNDRED = 5  # on each side
CHANGE = "POST /api.xro/2.0/Contacts"
REPEATED = 0.1  # of the deliveries


def deliver(client: Client, sides: TwoSides, dice: random.Random, done: dict[str, int]) -> int:
    """Send every webhook the providers have queued since the last time, shuffled, and a tenth of them twice."""
    sent = 0
    for side in (sides.shop, sides.ledger):
        entries = side.simulator.outbox.deliveries()
        fresh = entries[done.get(side.simulator.slug, 0) :]
        done[side.simulator.slug] = len(entries)
        fresh += [entry for entry in fresh if dice.random() < REPEATED]
        dice.shuffle(fresh)
        for entry in fresh:
            _post(client, side, entry)
        sent += len(fresh)
    return sent


def _post(client: Client, side: Side, entry: dict[str, Any]) -> None:
    delivery = as_delivery(entry)
    with side.simulator.lock:
        headers = side.simulator.webhook_headers(delivery)
    path = f"/webhooks/{side.simulator.slug}/simulator/"
    answer = client.post(path, data=delivery.body, content_type="application/json", headers=headers)
    assert answer.status_code == 200, answer.content


def sweep(sides: TwoSides) -> None:
    """The regular reading of everything, and whatever work follows from it."""
    with tenant_context(sides.owner):
        for side in (sides.shop, sides.ledger):
            request_read(tenant_id=sides.owner.pk, connection=side.connection)
        for flow in sides.flows:
            request_work(tenant_id=sides.owner.pk, kind="plan", key=str(flow.pk))
    work_quietly()


def counted(sides: TwoSides) -> dict[str, int]:
    return {
        f"{side.simulator.slug} {action}": len(side.lines(action))
        for side in (sides.shop, sides.ledger)
        for action in ("create", "update", "delete", "void")
    }


@pytest.fixture
def sides(
    transactional_db: None,
    tenant: Tenant,
    alice: User,
    simulators: dict[str, Simulator],  # noqa: F811
    settings: Settings,
) -> TwoSides:
    settings.SIMULATOR_SPEED = 1000
    made = open_two_sides(tenant, alice, simulators)
    made.add_back()
    return made


def test_writes_in_both_directions_cause_no_write_back(
    sides: TwoSides, client: Client, size: Size, seed: int, tell: Tell
) -> None:
    dice, delivered = random.Random(seed), dict[str, int]()
    count = size.pick(900, 9_000)
    customers = sides.shop.enter(*people(count))
    sweep(sides)
    events = deliver(client, sides, dice, delivered)
    work_quietly()
    assert counted(sides)["xero create"] == count
    edits = count * EDITS_PER_HUNDRED // 100
    for customer in dice.sample(customers, edits):
        sides.edit(sides.shop, customer, name=f"Renamed {customer[-6:]}")
    for customer in dice.sample(customers, edits):
        address = Address(line1=f"{dice.randint(1, 99)} Quay Street", city="Bristol", country="GB")
        sides.edit(sides.ledger, sides.contact_of(customer), address=address)
    events += deliver(client, sides, dice, delivered)
    sweep(sides)
    written = {"xero create": count, "xero update": edits, "stripe update": edits}
    assert {what: number for what, number in counted(sides).items() if number} == written
    for _ in range(2):
        events += deliver(client, sides, dice, delivered)  # what tells of our own writes
        sweep(sides)
    delivered.clear()
    events += deliver(client, sides, dice, delivered)  # all of them once more, long after
    sweep(sides)
    came_back = sum(counted(sides).values()) - sum(written.values())
    assert came_back == 0
    assert sides.conflicts() == []
    tell(
        "C13", "writes told of by webhooks and sweeps", tried=sum(written.values()), events=events, duplicates=came_back
    )


def test_late_write_of_ours_is_not_taken_for_an_edit(sides: TwoSides) -> None:
    """A change of the shop is sent and its answer lost; the shop's people change it again, that is written, and then the first
    request arrives after all. Xero has no lock that would refuse it."""
    (customer,) = sides.shop.enter(person())
    sides.sync()
    contact = sides.contact_of(customer)
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.read()
    sides.plan()
    lose_the_next_write(sides)
    sides.write()
    sides.let_quiet_time_pass()
    sides.edit(sides.shop, customer, phone="020 7946 0222")
    sides.read()
    look_up(sides)
    sides.sync()
    assert sides.now_at(sides.ledger, contact).phone == "020 7946 0222"
    arrive_late(sides, contact, phone="020 7946 0111")
    sides.sync()
    sides.sync()
    assert sides.now_at(sides.shop, customer).phone == "020 7946 0222"
    assert sides.now_at(sides.ledger, contact).phone == "020 7946 0222"


def test_each_late_copy_of_one_write_is_known_for_ours(sides: TwoSides) -> None:
    """Sent twice without an answer; both requests arrive, one after the other, when the field says something else already."""
    customer, contact = agreed(sides)
    give_up(sides, customer, times=2, phone="020 7946 0111")
    sides.edit(sides.shop, customer, phone="020 7946 0222")
    sides.sync()
    for _ in range(2):
        arrive_late(sides, contact, phone="020 7946 0111")
        sides.sync()
        assert phones(sides, customer, contact) == ["020 7946 0222"] * 2
    assert sides.conflicts() == []


def test_late_write_that_makes_its_own_repetition_stale_is_known_for_ours(sides: TwoSides) -> None:
    customer, contact = agreed(sides)
    sides.rule("owner", sides.ledger)
    give_up(sides, customer, phone="020 7946 0111")
    arrive_late(sides, contact, phone="020 7946 0111")
    sides.write(sides.ledger)
    sides.edit(sides.shop, customer, phone="020 7946 0222")
    sides.sync()
    assert phones(sides, customer, contact) == ["020 7946 0222"] * 2
    assert sides.conflicts() == []


def test_empty_field_that_may_be_a_late_emptying_is_asked_about_whatever_the_rule(sides: TwoSides) -> None:
    """The ledger's people may have emptied it as well: nobody can tell, so nothing is written over either side without a word."""
    customer, contact = agreed(sides)
    sides.rule("owner", sides.shop)
    give_up(sides, customer, phone="")
    sides.edit(sides.shop, customer, phone="020 7946 0222")
    sides.sync()
    assert phones(sides, customer, contact) == ["020 7946 0222"] * 2
    arrive_late(sides, contact, phone="")
    sides.sync()
    sides.sync()
    assert phones(sides, customer, contact) == ["020 7946 0222", ""]
    assert sides.judged() == [("phone", "open", "ask", "")]
    assert said(sides).startswith(DOUBTFUL)
    sides.choose(phone="stripe")
    sides.sync()
    assert phones(sides, customer, contact) == ["020 7946 0222"] * 2


def test_choice_of_a_value_that_a_late_write_had_come_over_unread_is_asked_about_again(sides: TwoSides) -> None:
    """What was chosen is on neither side any more, and what lost does not come over what is there."""
    customer, contact = agreed(sides)
    sides.rule("ask", sides.shop)
    give_up(sides, customer, phone="020 7946 0111")
    sides.edit(sides.shop, customer, phone="020 7946 0222")
    sides.edit(sides.ledger, contact, phone="020 7946 0333")
    sides.sync()
    arrive_late(sides, contact, phone="020 7946 0111")
    sides.choose(phone="xero")
    sides.sync()
    assert phones(sides, customer, contact) == ["020 7946 0222", "020 7946 0111"]
    assert sides.judged() == [("phone", "decided", "ask", "xero"), ("phone", "open", "ask", "")]
    assert said(sides).startswith(DOUBTFUL)
    sides.choose(phone="stripe")
    sides.sync()
    assert phones(sides, customer, contact) == ["020 7946 0222"] * 2


def test_what_stands_there_after_the_same_write_was_unanswered_twice_clashes(sides: TwoSides) -> None:
    """Both sides agreed in between; the shop's people have changed the field and put it back a second time."""
    customer, contact = agreed(sides)
    before = sides.now_at(sides.shop, customer).phone
    sides.rule("ask", sides.shop)
    give_up(sides, customer, phone="020 7946 0111")
    sides.edit(sides.shop, customer, phone=before)
    sides.sync()
    assert sides.judged() == []
    give_up(sides, customer, phone="020 7946 0111")
    sides.edit(sides.shop, customer, phone=before)
    sides.edit(sides.ledger, contact, phone="+44 20 7946 0111")
    sides.sync()
    assert phones(sides, customer, contact) == [before, "+44 20 7946 0111"]
    assert sides.judged() == [("phone", "open", "ask", "")]


def test_what_stands_there_after_an_unanswered_write_clashes_with_what_was_decided_since(sides: TwoSides) -> None:
    """The shop's people fill an empty field, the answer is lost, and they empty it again; the ledger shows another value: what it made
    of our write, or an edit. The shop's field is as it was when both agreed, and has been changed all the same."""
    customer, contact = agreed(sides)
    sides.edit(sides.shop, customer, phone="")
    sides.sync()
    sides.rule("ask", sides.shop)
    give_up(sides, customer, phone="020 7946 0111")
    sides.edit(sides.shop, customer, phone="")
    sides.edit(sides.ledger, contact, phone="+44 20 7946 0111")
    sides.sync()
    assert phones(sides, customer, contact) == ["", "+44 20 7946 0111"]
    assert sides.judged() == [("phone", "open", "ask", "")]


def test_edit_made_while_a_write_was_unconfirmed_is_carried(sides: TwoSides) -> None:
    """What is looked up later holds more than our write: the rest of it is not the ledger's answer to us."""
    customer, contact = agreed(sides)
    sides.edit(sides.shop, customer, phone="020 7946 0111")
    sides.read()
    sides.plan()
    sides.ledger.simulator.faults.add(Fault(match=CHANGE, kind="drop_after"))
    sides.write()
    sides.edit(sides.ledger, contact, email="ada.hart@example.com")
    sides.let_quiet_time_pass()
    sides.write()
    sides.sync()
    assert phones(sides, customer, contact) == ["020 7946 0111"] * 2
    assert sides.now_at(sides.shop, customer).email == "ada.hart@example.com"


def test_edit_made_before_a_winner_was_written_is_judged_and_not_written_over(sides: TwoSides) -> None:
    """The shop's value won and waits to be written; the ledger's people change theirs once more."""
    customer, contact = agreed(sides)
    for phone in ("020 7946 0222", "020 7946 0333"):
        sides.edit(sides.ledger, contact, phone=phone)
        if phone.endswith("0222"):
            sides.edit(sides.shop, customer, phone="020 7946 0111")
        sides.read()
        sides.plan()
    sides.sync()
    assert phones(sides, customer, contact) == ["020 7946 0111"] * 2
    assert {conflict.target_value for conflict in sides.conflicts()} | {
        conflict.source_value for conflict in sides.conflicts()
    } == {"020 7946 0111", "020 7946 0222", "020 7946 0333"}


def agreed(sides: TwoSides) -> tuple[str, str]:
    """A customer and her contact, the same on both sides."""
    (customer,) = sides.shop.enter(person())
    sides.sync()
    return customer, sides.contact_of(customer)


def phones(sides: TwoSides, customer: str, contact: str) -> list[str]:
    return [sides.now_at(sides.shop, customer).phone, sides.now_at(sides.ledger, contact).phone]


def said(sides: TwoSides) -> str:
    """Why the one record that waits for a person does so."""
    with tenant_context(sides.owner):
        return RecordOutcome.objects.get(state=RecordOutcome.State.HELD).reason


def give_up(sides: TwoSides, customer: str, *, times: int = 1, **values: str) -> None:
    """A change of the shop is sent, and neither its answer nor the change itself is found in the ledger."""
    sides.edit(sides.shop, customer, **values)
    sides.read()
    sides.plan()
    for _ in range(times):
        lose_the_next_write(sides)
        sides.write()
        sides.let_quiet_time_pass()
        look_up(sides)


def lose_the_next_write(sides: TwoSides) -> None:
    sides.ledger.simulator.faults.add(Fault(match=CHANGE, kind="drop_before"))


def look_up(sides: TwoSides) -> None:
    """The writer finds that the ledger does not have it; what comes next is planned before anything is sent."""
    with tenant_context(sides.owner) as owner:
        connection = sides.ledger.connection
    uncertain.look_up(owner, connection, client_for(owner.pk, connection))


def arrive_late(sides: TwoSides, contact: str, **values: str) -> None:
    """As the request that had been given up would have it."""
    sides.edit(sides.ledger, contact, **values)
