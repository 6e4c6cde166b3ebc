"""Fields both sides changed: the list, the choice, and the history."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from connectors.testing import Simulator
from marketplace.audit.models import AuditEntry
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.posting.two_way import TwoSides, open_two_sides, person

LIST = "/o/kestrel/conflicts/"
TAGS = re.compile(r"<[^>]+>")


def text_of(response: Any) -> str:
    return " ".join(TAGS.sub(" ", response.content.decode()).split())


@pytest.fixture
def sides(tenant: Tenant, alice: User, simulators: dict[str, Simulator], settings: Settings) -> TwoSides:
    """Ada's telephone number and name were changed on both sides, and a person is asked."""
    settings.SIMULATOR_SPEED = 1000
    made = open_two_sides(tenant, alice, simulators)
    made.add_back()
    (customer,) = made.shop.enter(person())
    made.sync()
    made.rule("ask", made.shop)
    made.edit(made.shop, customer, phone="020 7946 0111", name="Ada Hart-Lee")
    made.edit(made.ledger, made.contact_of(customer), phone="020 7946 0222", name="A. Hart")
    made.sync()
    return made


def page_of(sides: TwoSides) -> str:
    return f"{LIST}{sides.conflicts()[0].pk}/"


def choices(client: Client, sides: TwoSides, **winners: str) -> dict[str, str]:
    """What the form would send: a choice for each field named, and what was shown."""
    html = client.get(page_of(sides)).content.decode()
    shown = dict(re.findall(r'name="(shown\d+)" value="([^"]*)"', html))
    for conflict in sides.conflicts():
        shown[f"choice{conflict.pk}"] = "later"
        if conflict.field in winners:
            side = "source" if conflict.flow.source.connector == winners[conflict.field] else "target"
            shown[f"choice{conflict.pk}"] = side
    return shown


def test_list_shows_both_values_and_the_page_asks_for_each_field(sides: TwoSides, alice_client: Client) -> None:
    listed = text_of(alice_client.get(LIST))
    for words in ("020 7946 0111", "020 7946 0222", "A. Hart", "Ada Hart-Lee", "To be decided"):
        assert words in listed
    page = alice_client.get(page_of(sides)).content.decode()
    assert page.count('type="radio"') == 6
    assert "checked" in page
    assert "Both had: 020 7946 0001" in text_of(alice_client.get(page_of(sides)))


def test_choice_is_written_and_stands_in_the_history(sides: TwoSides, alice_client: Client) -> None:
    data = choices(alice_client, sides, phone="xero")
    answer = alice_client.post(page_of(sides), data, follow=True)
    assert "1 field decided" in text_of(answer)
    sides.sync()
    assert len(sides.shop.lines("update")) == 1
    assert sorted(sides.judged()) == [("name", "open", "ask", ""), ("phone", "decided", "ask", "xero")]
    history = text_of(alice_client.get(f"{LIST}?show=history"))
    assert "Xero, chosen by Alice" in history
    with tenant_context(sides.owner):
        assert AuditEntry.objects.filter(action="conflict.decided").count() == 1


def test_choice_on_an_old_page_is_refused_with_the_reason(sides: TwoSides, alice_client: Client) -> None:
    data = choices(alice_client, sides, phone="xero")
    conflict = next(found for found in sides.conflicts() if found.field == "phone")
    customer = conflict.record.external_id if conflict.flow.source.connector == "stripe" else ""
    customer = customer or next(
        found.one_id_there if found.one_id == sides.shop.connection.pk else found.other_id_there
        for found in sides.pairs()
    )
    sides.edit(sides.shop, customer, phone="020 7946 0444")
    sides.sync()
    answer = alice_client.post(page_of(sides), data, follow=True)
    assert "was changed meanwhile" in text_of(answer)
    assert ("phone", "open", "ask", "") in sides.judged()


def test_nothing_chosen_is_said(sides: TwoSides, alice_client: Client) -> None:
    answer = alice_client.post(page_of(sides), choices(alice_client, sides))
    assert "Choose a value for at least one field." in text_of(answer)


def test_viewer_sees_and_cannot_decide_and_a_stranger_gets_404(
    sides: TwoSides, bob: User, alice_client: Client, bob_client: Client, charlie_client: Client
) -> None:
    sides.owner.memberships.filter(user=bob).update(role="viewer")
    data = choices(alice_client, sides, phone="xero")
    assert "decides about it" in text_of(bob_client.get(page_of(sides)))
    bob_client.post(page_of(sides), data)
    assert {state for _, state, _, _ in sides.judged()} == {"open"}
    for path in (LIST, page_of(sides)):
        assert charlie_client.get(path).status_code == 404


def test_held_record_leads_to_its_conflict_and_the_flow_says_what_writes_back(
    sides: TwoSides, alice_client: Client
) -> None:
    issues = alice_client.get("/o/kestrel/issues/").content.decode()
    (path,) = set(re.findall(r'href="(/o/kestrel/issues/\d+/)"', issues))
    assert f'href="{LIST}' in alice_client.get(path).content.decode()
    flow = text_of(alice_client.get(f"/o/kestrel/flows/{sides.forth.pk}/"))
    assert "Changes in Xero go to Stripe." in flow
    sides.drop_conflicts_and_back()
    assert "No flow goes from Xero to Stripe." in text_of(alice_client.get(f"/o/kestrel/flows/{sides.forth.pk}/"))


def many(client: Client, sides: TwoSides, keep: str, *ticked: str, covers: str = "chosen", path: str = LIST) -> Any:
    """Send the list's own form: these fields ticked, this connector's value to stay."""
    html = client.get(path).content.decode()
    data: dict[str, Any] = dict(re.findall(r'name="(shown\d+)" value="([^"]*)"', html))
    data["seen"] = re.findall(r'name="seen" value="([^"]*)"', html)[0]
    connections = {side.connection.connector: str(side.connection.pk) for side in (sides.shop, sides.ledger)}
    ids = {conflict.field: str(conflict.pk) for conflict in sides.conflicts()}
    data |= {"covers": covers, "keep": connections.get(keep, ""), "conflict": [ids[field] for field in ticked]}
    return lambda: client.post(path, data, follow=True)


def test_several_conflicts_are_decided_alike_from_the_list(sides: TwoSides, alice_client: Client) -> None:
    answer = many(alice_client, sides, "xero", "phone", "name")()
    assert "2 fields decided" in text_of(answer)
    sides.sync()
    assert sorted(sides.judged()) == [("name", "decided", "ask", "xero"), ("phone", "decided", "ask", "xero")]
    assert len(sides.shop.lines("update")) == 1


def test_all_conflicts_of_one_field_are_decided_alike(sides: TwoSides, alice_client: Client) -> None:
    answer = many(alice_client, sides, "stripe", covers="all", path=f"{LIST}?field=phone")()
    assert "1 field decided" in text_of(answer)
    assert sorted(sides.judged()) == [("name", "open", "ask", ""), ("phone", "decided", "ask", "stripe")]


def test_deciding_many_says_what_is_missing_and_refuses_what_was_not_shown(
    sides: TwoSides, alice_client: Client
) -> None:
    assert "Tick at least one conflict." in text_of(many(alice_client, sides, "xero")())
    assert "This field is required." in text_of(many(alice_client, sides, "", "phone")())
    before = [many(alice_client, sides, "xero", "phone"), many(alice_client, sides, "xero", covers="all")]
    with tenant_context(sides.owner):
        type(sides.conflicts()[0]).objects.update(source_value="020 7946 0444")
    assert "was changed meanwhile" in text_of(before[0]())
    assert "is not what you saw" in text_of(before[1]())
    assert {state for _, state, _, _ in sides.judged()} == {"open"}


def test_viewer_cannot_decide_many(sides: TwoSides, bob: User, alice_client: Client, bob_client: Client) -> None:
    sides.owner.memberships.filter(user=bob).update(role="viewer")
    assert "Decide several alike" not in text_of(bob_client.get(LIST))
    many(alice_client, sides, "xero", "phone")  # the form that a bookkeeper has
    bob_client.post(LIST, {"covers": "all", "keep": str(sides.shop.connection.pk)})
    assert {state for _, state, _, _ in sides.judged()} == {"open"}
