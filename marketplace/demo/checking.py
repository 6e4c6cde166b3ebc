"""The end of the demonstration: counted in the providers' own books, not in our tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from django.db.models import Count, Sum

from marketplace.cutover.models import Pair
from marketplace.demo.walk import Walk
from marketplace.posting.models import RecordOutcome
from marketplace.posting.proof import proof_of
from tenants.context import tenant

#: How each kind of document names what it is for, in whatever reference or number it carries.
MARKS = {
    "invoice": ("reference", re.compile(r"#(\d+)")),
    "credit_note": ("number", re.compile(r"(\d+)")),
    "bank_transfer": ("reference", re.compile(r"PAYOUT (\d+)")),
}


@dataclass
class Tally:
    """What one business's walk came to. `lost` and `duplicates` are counted in the ledger's own journal."""

    business: str
    source_records: int = 0
    posted: int = 0
    held: int = 0
    excluded: int = 0
    failed: int = 0
    duplicates: int = 0
    lost: int = 0
    planted: int = 0
    planted_found: int = 0
    unproved_days: int = 0
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Every check of the demonstration."""
        accounted = self.posted + self.held + self.excluded + self.failed
        return not (
            self.duplicates
            or self.lost
            or self.unproved_days
            or self.planted != self.planted_found
            or accounted != self.source_records
        )


def check_books(walk: Walk) -> Tally:
    """Count everything once more, from outside."""
    tally = Tally(walk.business.legal_name)
    month = walk.month
    tally.source_records = len(month.orders) + len(month.refunds) + len(month.payouts)
    waiting = _count_outcomes(walk, tally)
    written = _entries(walk)
    wanted = {
        "invoice": {order.number.strip("#") for order in month.orders if _belongs(order)},
        "credit_note": {refund.id for refund in month.refunds if not refund.is_test},
        "bank_transfer": {payout.id for payout in month.payouts},
    }
    for data_type, marks in wanted.items():
        _compare(tally, data_type, marks, written, waiting)
    _count_verdicts(walk, tally)
    _count_planted(walk, tally)
    _count_proof(walk, tally)
    return tally


def _belongs(order: Any) -> bool:
    return order.status not in ("cancelled", "open") and not order.is_test and order.total > 0


def _count_outcomes(walk: Walk, tally: Tally) -> set[str]:
    """Counts by state; returns what waits for a person, by what its documents would be marked with."""
    with tenant(walk.owner):
        outcomes = RecordOutcome.objects.filter(flow__in=list(walk.flows.values()))
        states = dict(outcomes.values_list("state").annotate(Count("pk")))
        waiting = outcomes.filter(state__in=["held", "failed", "excluded"]).values_list(
            "record__number", "record__external_id"
        )
        marks = {part.strip("#") for pair in waiting for part in pair}
    for state in ("posted", "held", "excluded", "failed"):
        setattr(tally, state, states.get(state, 0))
    return marks


def _entries(walk: Walk) -> list[dict[str, Any]]:
    """What the ledger's own journal holds in the end: created, and not taken back."""
    lines = walk.accounting.books(walk.ledger.organisation_id)
    gone = {(line["data_type"], line["id"]) for line in lines if line["action"] in ("void", "delete")}
    return [line for line in lines if line["action"] == "create" and (line["data_type"], line["id"]) not in gone]


def _compare(
    tally: Tally, data_type: str, wanted: set[str], written: Iterable[dict[str, Any]], waiting: set[str]
) -> None:
    by_us, by_staff = Counter[str](), Counter[str]()
    name, pattern = MARKS[data_type]
    for line in written:
        found = pattern.search(str(line[name] or "")) if line["data_type"] == data_type else None
        if found:
            (by_us if line["by"] == "connector" else by_staff)[found[1]] += 1
    for mark in wanted:
        if by_us[mark] > 1 or (by_us[mark] and by_staff[mark]):
            tally.duplicates += 1
            tally.problems.append(f"{data_type} {mark}: {by_us[mark]} by us, {by_staff[mark]} by staff")
        if not by_us[mark] and not by_staff[mark] and mark not in waiting:
            tally.lost += 1
            tally.problems.append(f"{data_type} {mark} is in no book")
    for mark, count in by_us.items():
        if mark not in wanted:
            tally.duplicates += count
            tally.problems.append(f"{data_type} {mark} was posted and should not have been")


def _count_verdicts(walk: Walk, tally: Tally) -> None:
    with tenant(walk.owner):
        rows = Pair.objects.values_list("verdict", "currency").annotate(Count("pk"), Sum("money"))
        for verdict, currency, count, money in rows:
            entry = tally.verdicts.setdefault(verdict, {"count": 0, "money": {}})
            entry["count"] += count
            entry["money"][currency] = str((money or Decimal(0)).quantize(Decimal("0.01")))


def _count_planted(walk: Walk, tally: Tally) -> None:
    """Each planted mistake must have exactly the verdict of its kind, on the invoice it was made on."""
    with tenant(walk.owner):
        pairs = Pair.objects.filter(data_type="invoice").values_list(
            "verdict", "posting__record__number", "entry__reference"
        )
        found = Counter((verdict, _order_number(number or reference)) for verdict, number, reference in pairs)
    tally.planted = len(walk.entered.planted)
    for kind, number in walk.entered.planted:
        if found[kind, number.strip("#")] == 1:
            tally.planted_found += 1
        else:
            tally.problems.append(f"planted {kind} on {number} was not found as such")


def _order_number(text: str | None) -> str:
    found = re.search(r"#(\d+)", text or "")
    return found[1] if found else ""


def _count_proof(walk: Walk, tally: Tally) -> None:
    with tenant(walk.owner):
        for flow in walk.flows.values():
            days = proof_of(flow, walk.first, walk.last)
            tally.unproved_days += sum(not day.is_proved for day in days)


def added_up(tallies: list[Tally]) -> dict[str, Any]:
    """All businesses together, as the last line of the main job has it."""
    total: dict[str, Any] = {
        name: sum(getattr(tally, name) for tally in tallies)
        for name in (
            "source_records",
            "posted",
            "held",
            "excluded",
            "failed",
            "duplicates",
            "lost",
            "planted",
            "planted_found",
        )
    }
    verdicts: dict[str, dict[str, Any]] = {}
    for tally in tallies:
        for verdict, entry in asdict(tally)["verdicts"].items():
            sums = verdicts.setdefault(verdict, {"count": 0, "money": {}})
            sums["count"] += entry["count"]
            for currency, money in entry["money"].items():
                sums["money"][currency] = str(Decimal(sums["money"].get(currency, "0")) + Decimal(money))
    return {**total, "verdicts": verdicts}
