"""One owner on the way: where they are, and what was learnt so far."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from connectors.sdk.records import Order
from marketplace.demo.businesses import KESTREL
from marketplace.demo.month import Month
from marketplace.demo.staff import Entered
from tests.journeys.person import Person
from tests.journeys.stack import Stack
from tests.journeys.trading import LEDGER, Simulated, past_month

PASSWORD = "correct horse battery"
COLLEAGUE = "bob@example.com"
FLOW = "Orders → invoices and payments"
PILOT_DAYS = 3


@dataclass
class Walk:
    """Who walks where. `source` and `ledger` are connectors by their slugs."""

    person: Person
    stack: Stack
    email: str = "alice@example.com"
    business: str = "Kestrel & Co"
    home: str = ""
    flow: str = ""
    recovery_code: str = ""
    month: Month = field(default_factory=Month)
    entered: Entered = field(default_factory=Entered)

    @property
    def pilot_until(self) -> dt.date:
        return past_month()[0] + dt.timedelta(days=PILOT_DAYS - 1)

    def planted(self, kind: str) -> str:
        """The order on which staff made this mistake."""
        return next(number for found, number in self.entered.planted if found == kind)

    def order(self, number: str) -> Order:
        return next(one for one in self.month.orders if one.number == number)

    def lines(self, data_type: str) -> list[dict[str, Any]]:
        """What the ledger's own journal says was created."""
        lines = self.ledger.lines(self.ledger.organisation_id(LEDGER))
        return [one for one in lines if one["data_type"] == data_type and one["action"] == "create"]

    def taken_back(self) -> list[dict[str, Any]]:
        """What the ledger's own journal says was voided or deleted by us."""
        lines = self.ledger.lines(self.ledger.organisation_id(LEDGER))
        return [one for one in lines if one["by"] == "connector" and one["action"] in ("void", "delete")]

    def authors(self, number: str) -> list[str]:
        """Who entered an invoice for this order in the ledger."""
        return [one["by"] for one in self.lines("invoice") if f"{number} " in f"{one['reference']} "]

    @property
    def shop(self) -> Simulated:
        return Simulated(url=self.stack.simulators["shopify"])

    @property
    def ledger(self) -> Simulated:
        return Simulated(url=self.stack.simulators["xero"])


def day_of(order: Order) -> dt.date:
    """On which day of the business it counts."""
    return order.placed_at.astimezone(KESTREL.shop.zone).date()


def is_posted(order: Order) -> bool:
    """Whether it belongs in the books."""
    return order.status not in ("cancelled", "open") and not order.is_test
