"""A small month at a shop and what the staff booked of it by hand, entered at the simulators over HTTP."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from connectors.sdk.records import Order, Record, encode
from marketplace.demo.businesses import KESTREL, last_month
from marketplace.demo.month import Month, make_month
from marketplace.demo.staff import Books, Entered, book_month

SHOP = "kestrel-and-co.myshopify.com"
LEDGER = "Kestrel & Co Ltd"
ORDERS = 60
SEED = 7
# How the staff of Kestrel & Co book: the codes are those of the ledger's own chart.
BOOKS = Books(
    zone=KESTREL.shop.zone,
    source="Shopify",
    sales="200",
    other_sales="260",
    shipping="205",
    gift_cards="815",
    clearing={"shopify_payments": "092", "paypal": "094"},
    payout_clearing="092",
    bank="090",
    fees="405",
    taxes={"VAT 20%": "OUTPUT2", "No tax": "NONE"},
    wrong_currency="EUR",
    contact="Online shop customers",
    repays_on_credit_note=False,
)


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """One provider's simulator."""

    url: str

    def enter(self, organisation: str, records: Sequence[Record], *, by: str, emit: bool = False) -> None:
        """As the provider's own people would; with `emit` the provider tells us by webhook."""
        bodies = [{"data_type": one.data_type, **msgspec.json.decode(encode(one))} for one in records]
        self._post("seed", {"organisation": organisation, "by": by, "emit": emit, "records": bodies})

    def organisation_id(self, name: str) -> str:
        found = self._get("organisations")["organisations"]
        return next(str(one["id"]) for one in found if name in (one["id"], one["name"]))

    def open_organisation(self, **facts: Any) -> None:
        self._post("organisations", facts)

    def lines(self, organisation: str) -> list[dict[str, Any]]:
        """The provider's own journal: what was entered there, and by whom."""
        return [one for one in self._get("ledger")["lines"] if one["organisation"] == organisation]

    def _get(self, command: str) -> Any:
        return httpx.get(f"{self.url}/_sim/{command}", timeout=60).raise_for_status().json()

    def _post(self, command: str, body: Any) -> None:
        answer = httpx.post(f"{self.url}/_sim/{command}", content=msgspec.json.encode(body), timeout=60)
        answer.raise_for_status()


def past_month() -> tuple[dt.date, dt.date]:
    """The last complete month: the one a business compares before it goes live."""
    return last_month(dt.date.today())


def trade(shop: Simulated, organisation: str = SHOP, orders: int = ORDERS) -> Month:
    """Customers order and some get their money back; the payouts of the month arrive."""
    month = make_month(KESTREL.shop, past_month()[0], orders, SEED)
    for records in (month.customers, month.orders, month.refunds, month.payouts):
        shop.enter(organisation, records, by="provider")
    return month


def book_by_hand(ledger: Simulated, month: Month, *, after: dt.date) -> Entered:
    """Staff enter every order placed later than `after`, one mistake of each kind among them."""
    rest = [one for one in month.orders if one.placed_at.astimezone(BOOKS.zone).date() > after]
    entered = book_month(Month(orders=rest), BOOKS, mistakes_of_each=1, seed=SEED)
    ledger.enter(ledger.organisation_id(LEDGER), entered.records, by="staff")
    return entered


def order_of_today(month: Month, number: str) -> Order:
    """Somebody buys what somebody bought before, just now."""
    like = next(one for one in month.orders if one.status == "paid" and not one.is_test)
    moment = dt.datetime.now(dt.UTC).replace(microsecond=0)
    payments = tuple(msgspec.structs.replace(one, id=f"99{one.id}", paid_at=moment) for one in like.payments)
    return msgspec.structs.replace(
        like, id=f"99{like.id}", number=number, placed_at=moment, updated_at=moment, payments=payments
    )
