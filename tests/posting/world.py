"""A shop whose orders are put in by hand, and a ledger that is a real simulator with books of its own."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import redis
from django.conf import settings
from django.db.models import F

from connectors.sdk.records import Order, Party, SaleLine, SalePayment, Tax
from connectors.sdk.records import Record as StandardRecord
from connectors.sdk.streams import SourceRecord
from connectors.testing import Simulator
from marketplace.core.clock import now
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow, Stage
from marketplace.posting.batches import UnableToPost
from marketplace.posting.models import Posting, PostingBatch, RecordOutcome
from marketplace.posting.planning import plan_flow
from marketplace.posting.writing import write_postings
from marketplace.sync.checkpoint import accept_page
from marketplace.sync.models import Record
from marketplace.sync.operations import read_stream
from tenants.context import tenant
from tenants.models import Tenant, User
from tests.benchmarks.driving import Business
from tests.cutover.world import LONDON, make_flow

PLACED = dt.datetime(2026, 10, 10, 12, tzinfo=dt.UTC)
Status = Literal["open", "paid", "partly_paid", "refunded", "cancelled"]


def order(
    number: int, amount: str = "120.00", *, method: str = "shopify_payments", status: Status = "paid", **kwargs: Any
) -> Order:
    """One lamp including 20% VAT, paid at once."""
    total = Decimal(amount)
    tax = (total / 6).quantize(Decimal("0.01"))
    placed_at = kwargs.pop("placed_at", PLACED)
    payment = SalePayment(id=f"p{number}", method=method, amount=total, paid_at=placed_at)
    return Order(
        id=str(number),
        number=f"#{number}",
        placed_at=placed_at,
        updated_at=kwargs.pop("updated_at", placed_at),
        currency="GBP",
        total=total,
        tax_total=tax,
        taxes_included=True,
        status=status,
        customer=Party(id="c1", name="Ada Hart"),
        lines=(SaleLine(description="Lamp", amount=total, taxes=(Tax(name="VAT", rate=Decimal("0.2"), amount=tax),)),),
        payments=(payment,) if status == "paid" else (),
        country="GB",
        **kwargs,
    )


def read_as(record: StandardRecord, *, is_deleted: bool = False, **raw: Any) -> SourceRecord:
    """As a connector would hand it over."""
    return SourceRecord(
        external_id=record.id,
        version=uuid.uuid4().hex,
        record=record,
        raw={"id": record.id, **raw},
        updated_at=getattr(record, "updated_at", None),
        is_deleted=is_deleted,
    )


def arrive(connection: Connection, *records: SourceRecord) -> int:
    """Inside the tenant's context: a page of records. Answers how many changed."""
    return accept_page(
        connection_id=connection.pk,
        records=records,
        rejected=(),
        data_type=records[0].record.data_type,
        run_id=None,
        zone=LONDON,
        at=now(),
    ).changed


@dataclass
class Books:
    """A flow into a ledger, with the ledger's own account of what it holds."""

    owner: Tenant
    user: User
    simulator: Simulator
    connection: Connection
    flow: Flow

    def take(self, *orders: Order, is_deleted: bool = False) -> None:
        """Orders arrive at the source and are planned."""
        with tenant(self.owner):
            arrive(self.flow.source, *(read_as(one, is_deleted=is_deleted) for one in orders))
        self.plan()

    def plan(self) -> None:
        with tenant(self.owner) as owner:
            self.flow = Flow.objects.select_related("source", "target", "mapping").get(pk=self.flow.pk)
            while plan_flow(owner=owner, flow=self.flow):
                pass

    def write(self) -> dt.timedelta | None:
        return write_postings(tenant_id=self.owner.pk, connection_id=self.connection.pk)

    def try_to_write(self) -> UnableToPost:
        """Writing that cannot go on now; answers why."""
        try:
            self.write()
        except UnableToPost as error:
            return error
        raise AssertionError("Everything was written.")

    def read_lists(self) -> None:
        for data_type in ("company", "ledger_account", "tax_rate"):
            read_stream(tenant_id=self.owner.pk, connection_id=self.connection.pk, data_type=data_type)

    def let_quiet_time_pass(self) -> None:
        """As if the open requests had been sent a minute earlier."""
        self.let_time_pass(dt.timedelta(minutes=1))

    def let_time_pass(self, time: dt.timedelta) -> None:
        """For open requests, for the ledger, and for what was counted of its allowance."""
        with tenant(self.owner):
            PostingBatch.objects.update(
                sent_at=F("sent_at") - time, intended_at=F("intended_at") - time, deadline_at=F("deadline_at") - time
            )
        self.simulator.advance(time.total_seconds())
        with redis.Redis.from_url(settings.REDIS_URL) as counted:
            counted.flushdb()

    def entries(self, data_type: str = "invoice", action: str = "create") -> list[dict[str, Any]]:
        """What the ledger itself says we did."""
        with self.simulator.lock:
            lines = self.simulator.ledger.after(0)
        return [
            line
            for line in lines
            if (line["by"], line["data_type"], line["action"]) == ("connector", data_type, action)
        ]

    def states(self) -> dict[str, str]:
        """Each order's outcome: its state, and the reason where there is one."""
        with tenant(self.owner):
            return {
                outcome.record.number: f"{outcome.state} {outcome.reason_code}".strip()
                for outcome in RecordOutcome.objects.select_related("record")
            }

    def postings(self, data_type: str = "invoice") -> list[Posting]:
        with tenant(self.owner):
            return list(Posting.objects.filter(data_type=data_type).order_by("id"))

    def outcome(self, number: str) -> RecordOutcome:
        with tenant(self.owner):
            return RecordOutcome.objects.select_related("record", "flow").get(record__number=number)

    def record(self, number: str) -> Record:
        with tenant(self.owner):
            return Record.objects.get(number=number, data_type="order")


def open_books(owner: Tenant, user: User, simulator: Simulator, **kwargs: Any) -> Books:
    """Connect the ledger through its own consent, read its lists, and put the flow live."""
    organisation = str(simulator.organisations()[kwargs.pop("organisation", 0)]["id"])
    connection = Business(owner, user).connect(simulator.slug, organisation)
    with tenant(owner):
        flow = make_flow(user, ledger=simulator.slug, stage=kwargs.pop("stage", Stage.LIVE), **kwargs)
    books = Books(owner, user, simulator, connection, flow)
    books.read_lists()
    return books
