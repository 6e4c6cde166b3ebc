"""Records that the tests of this connector put into the simulator."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

from connectors.sdk.client import parse_json
from connectors.sdk.records import Customer, Order, Payout, Record, Refund, SalePayment
from connectors.sdk.streams import Draft
from connectors.testing.contract import Bench

FIXTURES = Path(__file__).parent / "fixtures"
MOMENT = dt.datetime(2026, 9, 1, 12, tzinfo=dt.UTC)
DAY = 86_400


def fixture(name: str) -> Any:
    return parse_json((FIXTURES / f"{name}.json").read_bytes())


def order(number: int, *, total: str = "49.99", fee: str = "0.00", at: dt.datetime = MOMENT, **more: Any) -> Order:
    """Paid by card, in pounds unless told."""
    amount = Decimal(total)
    payment = SalePayment(id="", method="card", amount=amount, paid_at=at, fee_amount=Decimal(fee))
    base: dict[str, Any] = {"currency": "GBP", "status": "paid"} | more
    return Order(
        id=f"ch_{number}", number=f"K{number}", placed_at=at, updated_at=at, total=amount, payments=(payment,), **base
    )


def refund_of(charge: str, total: str) -> Refund:
    at = MOMENT + dt.timedelta(hours=1)
    return Refund(id="re_1", order_id=charge, refunded_at=at, updated_at=at, currency="GBP", total=Decimal(total))


def payout(gross: str, fees: str, *, refunds: str = "0.00", adjustments: str = "0.00") -> Payout:
    parts = {"gross": gross, "fees": fees, "refunds": refunds, "adjustments": adjustments}
    sums = {name: Decimal(value) for name, value in parts.items()}
    return Payout(
        id="po_1",
        paid_date=dt.date(2026, 9, 4),
        updated_at=MOMENT,
        currency="GBP",
        gross=sums["gross"],
        fees=sums["fees"],
        refunds=sums["refunds"],
        adjustments=sums["adjustments"],
        net=sums["gross"] - sums["fees"] - sums["refunds"] + sums["adjustments"],
    )


def plant(bench: Bench, *records: Record) -> list[str]:
    """Seed as staff, ten minutes ago: what was told in the last minute is told again in the next run."""
    ids = bench.simulator.plant("acct_kestrel", records)
    bench.pass_time(600)
    return ids


def draft(customer: Customer, key: str = "key-1", reference: str = "C-1") -> Draft:
    return Draft(key=key, reference=reference, document=customer)
