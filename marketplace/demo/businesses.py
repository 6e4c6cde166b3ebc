"""The two businesses of the demonstration: a British shop on Xero, an American one on QuickBooks Online."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from marketplace.demo.month import Shop

PASSWORD = "tie-out-demo-2026"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One organisation at one provider, by the connector's slug."""

    connector: str
    organisation: str
    settings: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Words by which an account of the ledger is recognised: whoever set up these books named them like that."""

    sales: str
    other_sales: str
    shipping: str
    gift_cards: str
    clearing: dict[str, str]  # payment method -> words
    bank: str
    fees: str
    rounding: str


@dataclass(frozen=True, kw_only=True)
class Business:
    """A tenant of the demonstration with its people, its systems and the way its staff keep books."""

    legal_name: str
    country: str
    owner: tuple[str, str]  # full name, e-mail
    bookkeeper: tuple[str, str]
    shop: Shop
    source: Side
    ledger: Side
    accounts: Wanted
    tax_codes: dict[str, tuple[str, ...]]  # label at the source -> names of the ledger's code, best first
    contact: str
    wrong_currency: str
    orders: int
    templates: tuple[str, ...]
    seed: int


KESTREL = Business(
    legal_name="Kestrel & Co",
    country="GB",
    owner=("Olivia Kestrel", "olivia@kestrel.example"),
    bookkeeper=("Ben Ledger", "ben@kestrel.example"),
    shop=Shop(
        name="Kestrel & Co",
        currency="GBP",
        zone=ZoneInfo("Europe/London"),
        taxes_included=True,
        taxes={"GB": ("VAT", Decimal("0.2"))},
        countries=(("GB", 85), ("US", 8), ("NO", 7)),
        methods=(("shopify_payments", 85), ("paypal", 15)),
        products=(
            ("KES-LAMP", "Reading lamp", "48.00"),
            ("KES-MUG", "Stoneware mug", "14.50"),
            ("KES-RUG", "Wool rug", "129.00"),
            ("KES-THROW", "Lambswool throw", "64.95"),
            ("KES-VASE", "Glass vase", "32.40"),
            ("KES-CANDLE", "Beeswax candle", "11.99"),
            ("KES-CLOCK", "Wall clock", "79.00"),
            ("KES-TRAY", "Oak tray", "27.25"),
        ),
        fee_rate=Decimal("0.015"),
        fee_fixed=Decimal("0.20"),
    ),
    source=Side(
        connector="shopify",
        organisation="kestrel-and-co.myshopify.com",
        settings={"shop": "kestrel-and-co.myshopify.com"},
    ),
    ledger=Side(connector="xero", organisation="Kestrel & Co Ltd", settings={}),
    accounts=Wanted(
        sales="Sales",
        other_sales="Other Revenue",
        shipping="Shipping Income",
        gift_cards="Gift Card Liability",
        clearing={"shopify_payments": "Shop Payments Clearing", "paypal": "Other Payments Clearing"},
        bank="Business Bank Account",
        fees="Payment Processing Fees",
        rounding="Rounding",
    ),
    tax_codes={"VAT 20%": ("20% (VAT on Income)",), "No tax": ("Zero Rated Income",)},
    contact="Online shop customers",
    wrong_currency="EUR",
    orders=2000,
    templates=("orders", "refunds", "payouts"),
    seed=20261,
)
HARBOR = Business(
    legal_name="Harbor Goods",
    country="US",
    owner=("Hannah Harbor", "hannah@harbor.example"),
    bookkeeper=("Bill Post", "bill@harbor.example"),
    shop=Shop(
        name="Harbor Goods",
        currency="USD",
        zone=ZoneInfo("America/New_York"),
        taxes_included=False,
        taxes={},
        countries=(("US", 9), ("CA", 1)),
        methods=(("card", 1),),
        products=(
            ("HG-01", "Canvas tote", "38.00"),
            ("HG-02", "Deck shoes", "92.00"),
            ("HG-03", "Rain jacket", "145.00"),
            ("HG-04", "Rope belt", "24.00"),
        ),
        fee_rate=Decimal("0.029"),
        fee_fixed=Decimal("0.30"),
        other_currency="CAD",
        other_currency_country="CA",
        has_lines=False,
        first_number=7001,
    ),
    source=Side(connector="stripe", organisation="acct_harbor", settings={}),
    ledger=Side(connector="quickbooks", organisation="9130350000000001", settings={}),
    accounts=Wanted(
        sales="Sales of Product Income",
        other_sales="Services",
        shipping="Shipping income",
        gift_cards="Gift card liability",
        clearing={"card": "Stripe clearing"},
        bank="Checking",
        fees="Payment processing fees",
        rounding="Rounding differences",
    ),
    tax_codes={"No tax": ()},
    contact="",
    wrong_currency="CAD",
    orders=600,
    templates=("orders", "refunds", "payouts"),
    seed=20262,
)
BUSINESSES = (KESTREL, HARBOR)


def last_month(today: dt.date) -> tuple[dt.date, dt.date]:
    """The first and last day of the last complete calendar month."""
    last = today.replace(day=1) - dt.timedelta(days=1)
    return last.replace(day=1), last
