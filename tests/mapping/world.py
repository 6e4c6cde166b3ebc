"""A shop, a payment provider and a ledger connected to Kestrel & Co, with lists and records as read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from connectors.sdk.records import (
    Company,
    Customer,
    Deal,
    LedgerAccount,
    Order,
    Party,
    Payout,
    Record,
    Refund,
    SaleLine,
    SalePayment,
    Tax,
    TaxRate,
)
from connectors.sdk.streams import SourceRecord
from marketplace.installations.models import Connection, Installation
from marketplace.mapping.models import Flow
from marketplace.mapping.operations import create_flow
from marketplace.sync.checkpoint import accept_page
from tenants.models import User

NOON = dt.datetime(2026, 11, 3, 12, tzinfo=dt.UTC)
LONDON = ZoneInfo("Europe/London")
ACCOUNTS = (
    ("090", "Business Bank Account", "bank"),
    ("092", "Shop Payments Clearing", "bank"),
    ("093", "Card Payments Clearing", "bank"),
    ("120", "Accounts Receivable", "receivable"),
    ("200", "Sales", "income"),
    ("205", "Shipping Income", "income"),
    ("260", "Gift Cards Sold", "liability"),
    ("404", "Merchant Fees", "expense"),
    ("497", "Rounding", "expense"),
)
TAXES = (("OUTPUT2", "20% (VAT on Income)", "0.2"), ("INPUT2", "20% (VAT on Expenses)", "0.2"), ("NONE", "No VAT", "0"))


def connect(user: User, slug: str, organisation_name: str, environment: str = "production") -> Connection:
    installation = Installation.objects.create(
        connector=slug, connector_version="1.0.0", installed_by=user, installed_at=NOON
    )
    return Connection.objects.create(
        installation=installation,
        connector=slug,
        environment=environment,
        organisation_id=f"{slug}-{organisation_name.lower().replace(' ', '-')}",
        organisation_name=organisation_name,
        base_currency="GBP",
        country="GB",
        connected_at=NOON,
    )


def read(connection: Connection, records: Sequence[Record]) -> None:
    """As if the provider had just answered these."""
    rows = [
        SourceRecord(
            external_id=found.id, version="1", record=found, raw={}, updated_at=getattr(found, "updated_at", None)
        )
        for found in records
    ]
    accept_page(connection_id=connection.pk, records=rows, rejected=(), data_type="", run_id=None, zone=LONDON, at=NOON)


def ledger_accounts() -> list[LedgerAccount]:
    return [LedgerAccount(id=f"id-{code}", code=code, name=name, kind=kind) for code, name, kind in ACCOUNTS]  # type: ignore[arg-type]


def ledger_lists() -> list[Record]:
    rates = [TaxRate(id=code, code=code, name=name, rate=Decimal(rate)) for code, name, rate in TAXES]
    return [*ledger_accounts(), *rates, Company(id="org", name="Kestrel", base_currency="GBP")]


def vat(net: str) -> tuple[Tax, ...]:
    return (Tax(name="VAT", rate=Decimal("0.2"), amount=(Decimal(net) / 5).quantize(Decimal("0.01"))),)


def line(net: str, *, kind: str = "item", is_taxed: bool = True) -> SaleLine:
    return SaleLine(kind=kind, description=kind.capitalize(), amount=Decimal(net), taxes=vat(net) if is_taxed else ())  # type: ignore[arg-type]


def order(number: int = 1, *lines: SaleLine, method: str = "Shopify Payments", **changes: object) -> Order:
    lines = lines or (line("40.00"), line("5.00", kind="shipping"))
    total = sum((part.amount + part.tax_amount for part in lines), Decimal(0))
    made = Order(
        id=f"gid-{number}",
        number=f"#{1000 + number}",
        placed_at=NOON + dt.timedelta(minutes=number),
        updated_at=NOON + dt.timedelta(minutes=number),
        currency="GBP",
        total=total,
        tax_total=sum((part.tax_amount for part in lines), Decimal(0)),
        status="paid",
        customer=Party(id="c1", name="Ada Buyer", email="ada@example.com"),
        lines=lines,
        payments=(SalePayment(id=f"p{number}", method=method, amount=total, paid_at=NOON),),
        country="GB",
    )
    return msgspec.structs.replace(made, **changes)


def refund(*payments: tuple[str, str], **changes: object) -> Refund:
    made = Refund(
        id="gid-r1",
        order_id="gid-1",
        order_number="#1001",
        refunded_at=NOON,
        updated_at=NOON,
        currency="GBP",
        total=Decimal("24.00"),
        tax_total=Decimal("4.00"),
        lines=(line("20.00"),),
        payments=tuple(
            SalePayment(id=f"rp{number}", method=method, amount=Decimal(amount), paid_at=NOON)
            for number, (method, amount) in enumerate(payments)
        ),
    )
    return msgspec.structs.replace(made, **changes)


def payout(**changes: object) -> Payout:
    made = Payout(
        id="po-1",
        paid_date=NOON.date(),
        updated_at=NOON,
        currency="GBP",
        gross=Decimal("100.00"),
        fees=Decimal("3.20"),
        refunds=Decimal("10.00"),
        net=Decimal("86.80"),
    )
    return msgspec.structs.replace(made, **changes)


def deal(**changes: object) -> Deal:
    made = Deal(
        id="d-1",
        number="D-1",
        updated_at=NOON,
        closed_at=NOON,
        currency="GBP",
        total=Decimal("48.00"),
        is_won=True,
        customer=Party(name="Ada Buyer"),
        lines=(line("40.00"),),
    )
    return msgspec.structs.replace(made, **changes)


def customer(**changes: object) -> Customer:
    return msgspec.structs.replace(Customer(id="c1", name="Ada Buyer", email="ada@example.com"), **changes)


def orders_flow(user: User, records: Sequence[Record] = ()) -> Flow:
    """Shopify orders into Xero, with what is given as read; its mapping is what is suggested."""
    shop, ledger = connect(user, "shopify", "Kestrel Shop"), connect(user, "xero", "Kestrel Books")
    read(ledger, ledger_lists())
    read(shop, records or [order()])
    return create_flow(slug="orders", source=shop, target=ledger, start_date=dt.date(2026, 11, 1), user=user)
