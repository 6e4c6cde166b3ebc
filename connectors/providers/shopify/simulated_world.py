"""One shop, its simulator and a client in one process, for the tests in this folder."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

import httpx

from connectors.providers.shopify.client import ShopifyClient
from connectors.providers.shopify.manifest import MANIFEST
from connectors.providers.shopify.simulator import ShopifySimulator
from connectors.sdk.client import Access, FixedToken, NoBudget
from connectors.sdk.records import Order, Refund, SaleLine, SalePayment
from connectors.sdk.streams import Page

KESTREL = "kestrel-and-co.myshopify.com"
SCOPES = tuple(scope.name for scope in MANIFEST.auth.scopes)
PLACED = dt.datetime(2026, 10, 3, 9, 15, tzinfo=dt.UTC)


class PointsBook(NoBudget):
    """The budget of a connection, writing down what was spent and what Shopify reported."""

    def __init__(self) -> None:
        self.spent: list[int] = []
        self.reported: list[tuple[int, float]] = []

    def call(self, spends: Mapping[str, int], *, longest_wait: float = 30) -> AbstractContextManager[None]:
        assert list(spends) == ["cost"]
        self.spent += spends.values()
        return super().call(spends, longest_wait=longest_wait)

    def refused(self, retry_after: float) -> None:
        return None

    def report(self, counts: str, remaining: int, restore_per_second: float) -> None:
        self.reported.append((remaining, restore_per_second))


class World:
    """One shop, its simulator and a client in one process. Waiting winds the clock."""

    def __init__(self, scopes: tuple[str, ...] = SCOPES) -> None:
        self.simulator = ShopifySimulator()
        self.simulator.freeze()
        self.simulator.outbox.behave({"paused": True})
        self.http = httpx.Client(transport=httpx.WSGITransport(self.simulator))
        _, tokens = self.simulator.oauth.grant_for(KESTREL, scopes, "alice")
        self.points = PointsBook()
        self.waited: list[float] = []
        self.client = ShopifyClient(
            Access(
                token=FixedToken(tokens["access_token"]),
                organisation_id=KESTREL,
                simulator="http://simulator.test",
                budget=self.points,
                sleep=self.wait,
            ),
            self.http,
        )

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.simulator.advance(seconds)

    def plant(self, *records: Any) -> list[str]:
        return self.simulator.plant(KESTREL, records)

    def calls_of(self, text: str, work: Callable[[], Any]) -> int:
        """How many calls `work` makes whose body holds `text`."""
        bodies: list[bytes] = []
        self.http.event_hooks["request"] = [lambda request: bodies.append(request.read())]
        work()
        self.http.event_hooks["request"] = []
        return sum(text.encode() in body for body in bodies)


def sale(number: int, count: int = 1, *, at: dt.datetime = PLACED, **more: Any) -> Order:
    items = tuple(
        SaleLine(description=f"Item {line}", sku=f"S{line}", amount=Decimal("10.01")) for line in range(count)
    )
    total = sum((line.amount for line in items), Decimal(0))
    paid = SalePayment(id=f"8{number}", method="Shopify Payments", amount=total, paid_at=at)
    given: dict[str, Any] = {
        "id": str(number),
        "number": f"#{number}",
        "placed_at": at,
        "updated_at": at,
        "currency": "GBP",
        "total": total,
        "status": "paid",
        "lines": items,
        "payments": (paid,),
    }
    return Order(**{**given, **more})


def refund_of(order: Order, number: int) -> Refund:
    back = SalePayment(id=f"9{number}", method="Shopify Payments", amount=order.total, paid_at=order.placed_at)
    return Refund(
        id=str(number),
        order_id=order.id,
        refunded_at=order.placed_at,
        updated_at=order.updated_at,
        currency="GBP",
        total=order.total,
        lines=order.lines,
        payments=(back,),
    )


def all_records(pages: Iterator[Page]) -> dict[tuple[str, str], str]:
    """(data type, id) -> version of everything in these pages."""
    return {(found.record.data_type, found.external_id): found.version for page in pages for found in page.records}
