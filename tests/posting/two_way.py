"""Customers kept the same at a shop and in a ledger: two real simulators, and a flow in each direction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from django.db.models import F

from connectors.providers.xero.simulator_contacts import Contacts
from connectors.registry import connector
from connectors.sdk.records import Customer
from connectors.testing import Author, Simulator
from marketplace.core.clock import now
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow, SourceOfTruth, Stage
from marketplace.posting.batches import UnableToPost
from marketplace.posting.conflicts import conflicts, decide_conflicts, fingerprint_of
from marketplace.posting.models import Conflict, LinkedPair, Posting, PostingBatch, RecordOutcome
from marketplace.posting.planning import plan_flow
from marketplace.posting.writing import write_postings
from marketplace.sync.operations import read_stream
from tenants.context import tenant
from tenants.models import Tenant, User
from tests.benchmarks.driving import Business
from tests.cutover.world import remap

ON_THE_WAY = (Posting.State.PLANNED, Posting.State.SENDING, Posting.State.UNCERTAIN)


@dataclass
class Side:
    """One system as its own staff see it."""

    simulator: Simulator
    connection: Connection

    @property
    def organisation(self) -> str:
        return self.connection.organisation_id

    def enter(self, *people: Customer) -> list[str]:
        """Staff enter or change people here; an id that is known changes that one."""
        return self.simulator.plant(self.organisation, list(people), by="staff")

    def lines(self, action: str = "", by: str = "connector") -> list[dict[str, Any]]:
        """What the system's own append-only book says was done to customers."""
        with self.simulator.lock:
            found = self.simulator.ledger.after(0)
        return [
            line
            for line in found
            if (line["data_type"], line["by"]) == ("customer", by) and line["action"] == (action or line["action"])
        ]


@dataclass
class TwoSides:
    """`shop` and `ledger` with the flow `forth` and, unless there is none, the flow `back`."""

    owner: Tenant
    user: User
    shop: Side
    ledger: Side
    forth: Flow
    back: Flow | None
    edits: list[tuple[str, str, str]] = field(default_factory=list)

    def add_back(self, fields: dict[str, Any] | None = None) -> None:
        self.back = make_customer_flow(self.owner, self.user, self.ledger.connection, self.shop.connection, fields)

    def now_at(self, side: Side, external_id: str) -> Customer:
        """The person as the provider's own API tells it now."""
        client = client_for(self.owner.pk, side.connection)
        page = connector(side.connection.connector).stream("customer").fetch(client, [external_id])
        (found,) = page.records
        assert isinstance(found.record, Customer)
        return found.record

    def edit(self, side: Side, external_id: str, **changes: Any) -> None:
        """Staff change some fields of one person."""
        current = self.now_at(side, external_id)
        side.enter(msgspec.structs.replace(current, **{"updated_at": side.simulator.now(), **changes}))
        side.simulator.advance(1)

    def read(self, *sides: Side) -> None:
        for side in sides or (self.shop, self.ledger):
            read_stream(tenant_id=self.owner.pk, connection_id=side.connection.pk, data_type="customer")

    def plan(self, *flows: Flow) -> None:
        for flow in flows or self.flows:
            with tenant(self.owner) as owner:
                fresh = Flow.objects.select_related("source", "target", "mapping").get(pk=flow.pk)
                while plan_flow(owner=owner, flow=fresh):
                    pass

    def write(self, *sides: Side) -> None:
        for side in sides or (self.shop, self.ledger):
            try:
                write_postings(tenant_id=self.owner.pk, connection_id=side.connection.pk)
            except UnableToPost:
                continue

    @property
    def flows(self) -> list[Flow]:
        return [self.forth, *([self.back] if self.back else [])]

    def sync(self) -> None:
        """Read, plan and write until nothing is left to do."""
        self.read()
        for _ in range(10):
            self.plan()
            with tenant(self.owner):
                is_replayed = RecordOutcome.objects.filter(is_replay_asked=True).exists()
                if not is_replayed and not Posting.objects.filter(state__in=ON_THE_WAY).exists():
                    return
            self.write()
        raise AssertionError("It does not come to rest.")

    def writes(self) -> int:
        """Creations and changes we made, counted by both systems."""
        return len(self.shop.lines()) + len(self.ledger.lines())

    def let_quiet_time_pass(self) -> None:
        time = dt.timedelta(minutes=1)
        with tenant(self.owner):
            PostingBatch.objects.update(
                sent_at=F("sent_at") - time, intended_at=F("intended_at") - time, deadline_at=F("deadline_at") - time
            )

    def rule(self, rule: str, owner: Side, **fields: Side) -> None:
        with tenant(self.owner):
            SourceOfTruth.objects.update_or_create(
                pk="customer",
                defaults={
                    "owner": owner.connection,
                    "rule": rule,
                    "field_owners": {name: str(side.connection.pk) for name, side in fields.items()},
                    "decided_by": self.user,
                    "decided_at": now(),
                },
            )

    def conflicts(self) -> list[Conflict]:
        with tenant(self.owner):
            return list(
                Conflict.objects.select_related("pair", "flow__source", "flow__target", "record").order_by("id")
            )

    def judged(self) -> list[tuple[str, str, str, str]]:
        """Each conflict: field, state, rule, and the connector whose value won."""
        winners = {"source": lambda c: c.flow.source, "target": lambda c: c.flow.target}
        return [
            (c.field, c.state, c.rule, winners[c.winner](c).connector if c.winner else "") for c in self.conflicts()
        ]

    def shown(self) -> dict[int, str]:
        """What a person sees who opens the page now."""
        with tenant(self.owner):
            return {conflict.pk: fingerprint_of(conflict) for conflict in conflicts(is_open=True)}

    def choose(self, shown: dict[int, str] | None = None, **winners: str) -> None:
        """A person decides: field -> connector."""
        shown = self.shown() if shown is None else shown
        choices = {
            conflict.pk: "source" if conflict.flow.source.connector == winners[conflict.field] else "target"
            for conflict in self.conflicts()
            if conflict.field in winners and conflict.state == "open"
        }
        with tenant(self.owner):
            decide_conflicts(choices=choices, shown=shown, user=self.user)

    def drop_back(self) -> None:
        """Nothing writes to the shop any more."""
        assert self.back is not None
        with tenant(self.owner):
            RecordOutcome.objects.filter(flow=self.back).delete()
            Flow.objects.filter(pk=self.back.pk).update(mapping=None)
            self.back.mapping_versions.all().delete()
            self.back.delete()
        self.back = None

    def drop_conflicts_and_back(self) -> None:
        with tenant(self.owner):
            Conflict.objects.all().delete()
        self.drop_back()

    def pairs(self) -> list[LinkedPair]:
        with tenant(self.owner):
            return list(LinkedPair.objects.order_by("id"))

    def outcomes(self, flow: Flow) -> list[str]:
        with tenant(self.owner):
            found = RecordOutcome.objects.filter(flow=flow).order_by("record_id")
            return [f"{one.state} {one.reason_code}".strip() for one in found]

    def contact_of(self, external_id: str) -> str:
        """The ledger's contact of a customer of the shop."""
        for pair in self.pairs():
            sides = {pair.one_id: pair.one_id_there, pair.other_id: pair.other_id_there}
            if sides[self.shop.connection.pk] == external_id:
                return sides[self.ledger.connection.pk]
        raise AssertionError(f"{external_id} is not linked.")


def make_customer_flow(
    owner: Tenant, user: User, source: Connection, target: Connection, fields: dict[str, Any] | None = None
) -> Flow:
    with tenant(owner):
        flow = Flow.objects.create(
            template="customers",
            name="Customers ↔ contacts",
            source=source,
            target=target,
            stage=Stage.LIVE,
            start_date=dt.date(2026, 9, 1),
            created_by=user,
            created_at=now(),
        )
        remap(flow, user, fields or {})
    return flow


def open_two_sides(
    owner: Tenant, user: User, simulators: dict[str, Simulator], *, shop: str = "stripe", ledger: str = "xero"
) -> TwoSides:
    """Both systems connected through their own consent, both lists read, and the shop's flow live."""
    business = Business(owner, user)
    sides = [_connect(business, simulators[slug]) for slug in (shop, ledger)]
    forth = make_customer_flow(owner, user, sides[0].connection, sides[1].connection)
    made = TwoSides(owner, user, sides[0], sides[1], forth, None)
    made.rule("owner", made.shop)
    made.read()
    return made


def _connect(business: Business, simulator: Simulator) -> Side:
    organisation = str(simulator.organisations()[0]["id"])
    typed = {"shop": organisation} if simulator.slug == "shopify" else {}
    return Side(simulator, business.connect(simulator.slug, organisation, typed))


def person(name: str = "Ada Hart", **more: Any) -> Customer:
    return Customer(id="", name=name, **{"email": "ada@example.com", "phone": "020 7946 0001", **more})


def people(count: int) -> Sequence[Customer]:
    return [person(f"Customer {n}", email=f"c{n}@example.com", phone=f"020 7946 {n:04}") for n in range(count)]


def wait_past(side: Side, moment: dt.datetime | None) -> None:
    """Let this system's clock run until after an instant at the other one."""
    assert moment is not None
    behind = (moment - side.simulator.now()).total_seconds()
    if behind >= 0:
        side.simulator.advance(behind + 1)


def spell_its_own_way(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this Xero keeps the first eight letters of a name, in capitals, and telephone numbers without spaces."""
    keep = Contacts.keep

    def spelled(self: Contacts, row: dict[str, Any], *, by: Author) -> dict[str, Any]:
        row["Name"] = row["Name"][:8].upper()
        row["Phones"] = [
            {**phone, "PhoneNumber": str(phone.get("PhoneNumber", "")).replace(" ", "")} for phone in row["Phones"]
        ]
        return keep(self, row, by=by)

    monkeypatch.setattr(Contacts, "keep", spelled)
