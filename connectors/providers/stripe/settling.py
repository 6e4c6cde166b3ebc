"""What a payout is made of: the balance transactions it settled, added up by what they mean in the books."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from connectors.providers.stripe.money import from_minor
from connectors.providers.stripe.reading import Body, moment, source_record
from connectors.sdk.records import Payout
from connectors.sdk.streams import SourceRecord

SALES = frozenset({"charge", "payment"})
REFUNDS = frozenset({"refund", "payment_refund", "refund_failure", "payment_failure_refund"})
FEES = frozenset({"stripe_fee", "stripe_fx_fee", "tax_fee", "network_cost", "payment_network_cost"})

_STATUSES: dict[str, Any] = {
    "paid": "paid",
    "pending": "scheduled",
    "in_transit": "in_transit",
    "canceled": "cancelled",
    "failed": "failed",
}


@dataclass(frozen=True)
class Makeup:
    """Sums in major units; net = gross - fees - refunds + adjustments."""

    gross: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    refunds: Decimal = Decimal(0)
    adjustments: Decimal = Decimal(0)

    @property
    def net(self) -> Decimal:
        return self.gross - self.fees - self.refunds + self.adjustments


def is_settled(body: Body) -> bool:
    """Whether Stripe has finished saying which transactions an automatic payout is made of."""
    return bool(body["automatic"]) and body.get("reconciliation_status") != "in_progress"


def makeup(transactions: Iterable[Body], currency: str) -> Makeup:
    """Add up the transactions of one payout; the payout's own movement is not part of itself."""
    gross, fees, refunds, adjustments = (0, 0, 0, 0)
    for found in transactions:
        kind, amount = found["type"], found["amount"]
        if kind == "payout":
            continue
        fees += found["fee"]
        if kind in SALES:
            gross += amount
        elif kind in REFUNDS:
            refunds -= amount
        elif kind in FEES:
            fees -= amount
        else:
            adjustments += amount
    return Makeup(*(from_minor(sum_, currency) for sum_ in (gross, fees, refunds, adjustments)))


def whole(body: Body) -> Makeup:
    """A payout whose contents Stripe does not tell: one sum, and what an instant payout cost."""
    currency = str(body["currency"]).upper()
    moved = body.get("balance_transaction")
    fee = from_minor(moved["fee"], currency) if isinstance(moved, Mapping) else Decimal(0)
    return Makeup(gross=from_minor(body["amount"], currency) + fee, fees=fee)


def payout(body: Body, made_of: Makeup) -> SourceRecord:
    """Raises ValueError when the transactions do not add up to what is paid out."""
    currency = str(body["currency"]).upper()
    net = from_minor(body["amount"], currency)
    if made_of.net != net:
        raise ValueError(
            f"Stripe pays out {net} {currency}, but the transactions it names for this payout add up to {made_of.net}."
        )
    record = Payout(
        id=str(body["id"]),
        number=str(body["id"]),
        paid_date=moment(body["arrival_date"]).astimezone(dt.UTC).date(),
        updated_at=moment(body["created"]),
        currency=currency,
        gross=made_of.gross,
        fees=made_of.fees,
        refunds=made_of.refunds,
        adjustments=made_of.adjustments,
        net=net,
        status=_status(body),
        is_test=not body["livemode"],
        bank_reference=_bank_reference(body),
    )
    return source_record(body, record)


def _status(body: Body) -> Any:
    """A payout Stripe is still adding up is not ready to be booked, whatever its own status."""
    status = _STATUSES[body["status"]]
    is_open = bool(body["automatic"]) and not is_settled(body) and status in ("paid", "in_transit")
    return "scheduled" if is_open else status


def _bank_reference(body: Body) -> str:
    """What the bank prints beside the money, as far as Stripe knows."""
    trace = body.get("trace_id") or {}
    return str(trace.get("value") or body.get("statement_descriptor") or "")
