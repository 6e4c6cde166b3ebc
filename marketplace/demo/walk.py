"""One business on its way through the demonstration."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

from marketplace.demo.businesses import Business
from marketplace.demo.month import Month
from marketplace.demo.staff import Books, Entered
from marketplace.demo.world import Simulated
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow
from tenants.models import Tenant, User

Report = Callable[[str], None]


@dataclass
class Walk:
    """One business on its way."""

    business: Business
    report: Report
    first: dt.date
    last: dt.date
    owner: Tenant = field(init=False)
    user: User = field(init=False)
    source: Connection = field(init=False)
    ledger: Connection = field(init=False)
    month: Month = field(init=False)
    books: Books = field(init=False)
    entered: Entered = field(init=False)
    flows: dict[str, Flow] = field(default_factory=dict)

    @property
    def shop(self) -> Simulated:
        return Simulated(self.business.source.connector)

    @property
    def accounting(self) -> Simulated:
        return Simulated(self.business.ledger.connector)
