"""What must be true at the end, counted in the providers' own append-only books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from connectors.sdk.records import Order
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow
from tests.benchmarks.driving import Business, provider


@dataclass(frozen=True)
class Verdict:
    """How one ledger ended. `lost` are orders without their invoice or payments; `twice` those with too many."""

    ledger: str
    entries: int
    lost: frozenset[str]
    twice: frozenset[str]


def is_eligible(order: Order) -> bool:
    """What is not paid yet is booked on the day it is."""
    return order.status not in ("cancelled", "open") and not order.is_test


def judge(ledger: Connection, orders: Sequence[Order]) -> Verdict:
    """Compare the ledger's own book with what the shop sold: every invoice and every payment once, to the penny."""
    with provider(ledger.connector) as simulated:
        lines = [line for line in simulated.books(ledger.organisation_id) if line["by"] == "connector"]
    wanted: Counter[tuple[str, str, Decimal]] = Counter()
    for order in filter(is_eligible, orders):
        wanted[("invoice", _name(order), order.total)] += 1
        for payment in order.payments:
            wanted[("customer_payment", _name(order), payment.amount)] += 1
    entered = Counter(_entry(line) for line in lines if line["data_type"] in ("invoice", "customer_payment"))
    assert {line["action"] for line in lines if line["data_type"] == "invoice"} <= {"create"}
    return Verdict(ledger.connector, entered.total(), _names(wanted - entered), _names(entered - wanted))


def _name(order: Order) -> str:
    return order.number.removeprefix("#")


def _entry(line: dict[str, Any]) -> tuple[str, str, Decimal]:
    number = line["number"] if line["data_type"] == "invoice" else line["reference"].split(" ")[0]
    return line["data_type"], str(number).removeprefix("#"), Decimal(line["amount"])


def _names(entries: Counter[tuple[str, str, Decimal]]) -> frozenset[str]:
    return frozenset(" ".join(map(str, entry)) for entry in entries)


def check(business: Business, flows: Sequence[Flow], orders: Sequence[Order]) -> list[Verdict]:
    """Every eligible order exactly once in each ledger, and as many outcomes as there are orders."""
    verdicts = [judge(flow.target, orders) for flow in flows]
    eligible = sum(map(is_eligible, orders))
    for flow, verdict in zip(flows, verdicts, strict=True):
        outcomes = business.outcomes(flow)
        assert not verdict.lost, f"{len(verdict.lost)} lost at {verdict.ledger}, {outcomes}: {sorted(verdict.lost)[:5]}"
        assert not verdict.twice, f"{len(verdict.twice)} too many at {verdict.ledger}: {sorted(verdict.twice)[:5]}"
        assert outcomes == Counter(posted=eligible, excluded=len(orders) - eligible)
    return verdicts
