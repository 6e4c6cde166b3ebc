"""A shop's month as standard records, the same for the same seed: orders, refunds, customers and payouts that tie out."""

from __future__ import annotations

import calendar
import datetime as dt
import random
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from connectors.sdk.records import Address, Customer, Order, Party, Payout, Refund, SaleLine, SalePayment, Tax

CENT = Decimal("0.01")
ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What kind of business the month is of. `taxes` are (name, rate) by country; a country without one is sold untaxed."""

    name: str
    currency: str
    zone: ZoneInfo
    taxes_included: bool
    taxes: dict[str, tuple[str, Decimal]]
    countries: tuple[tuple[str, int], ...]  # country, weight
    methods: tuple[tuple[str, int], ...]  # payment method, weight
    products: tuple[tuple[str, str, str], ...]  # sku, title, price
    fee_rate: Decimal
    fee_fixed: Decimal
    other_currency: str = ""
    other_currency_country: str = ""  # buyers from there pay in it
    has_lines: bool = True  # a payment provider knows only one amount
    first_number: int = 1001


@dataclass
class Month:
    """Everything the shop knows about the month."""

    customers: list[Customer] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    payouts: list[Payout] = field(default_factory=list)


@dataclass(frozen=True)
class Maker:
    """The seed's choices and the month they fall in."""

    shop: Shop
    first: dt.date
    dice: random.Random

    @property
    def days(self) -> int:
        return calendar.monthrange(self.first.year, self.first.month)[1]


def make_month(shop: Shop, first: dt.date, orders: int, seed: int) -> Month:
    """`first` is the first day of the month. Busier at weekends, with discounts, shipping, refunds, part payments, gift cards,
    tests and cancellations in the proportions of an ordinary shop."""
    maker = Maker(shop, first, random.Random(seed))
    month = Month(customers=[_customer(maker, number) for number in range(max(20, orders // 6))])
    instants = sorted(_instant(maker) for _ in range(orders))
    for position, instant in enumerate(instants):
        month.orders.append(_order(maker, position, instant, maker.dice.choice(month.customers)))
    month.refunds = [_refund(maker, order) for order in month.orders if _is_refunded(maker, order)]
    month.payouts = _payouts(maker, month)
    return month


def _instant(maker: Maker) -> dt.datetime:
    days = range(maker.days)
    weights = [3 if (maker.first + dt.timedelta(days=day)).weekday() >= 5 else 2 for day in days]
    day = maker.dice.choices(days, weights)[0]
    clock = dt.time(maker.dice.randint(7, 22), maker.dice.randint(0, 59), maker.dice.randint(0, 59))
    return dt.datetime.combine(maker.first + dt.timedelta(days=day), clock, maker.shop.zone).astimezone(dt.UTC)


def _customer(maker: Maker, number: int) -> Customer:
    given, family = maker.dice.choice(GIVEN_NAMES), maker.dice.choice(FAMILY_NAMES)
    country = _weighted(maker, maker.shop.countries)
    return Customer(
        id=str(700001 + number),
        name=f"{given} {family} {number + 1}",
        email=f"{given}.{family}.{number + 1}@example.com".lower(),
        phone=f"0{maker.dice.randint(1_000_000_000, 1_999_999_999)}",
        currency=maker.shop.currency,
        address=Address(
            line1=f"{maker.dice.randint(1, 180)} {maker.dice.choice(STREETS)}",
            city=maker.dice.choice(TOWNS),
            postal_code=f"{maker.dice.randint(10000, 99999)}",
            country=country,
        ),
    )


def _order(maker: Maker, position: int, placed_at: dt.datetime, customer: Customer) -> Order:
    shop, dice = maker.shop, maker.dice
    number = shop.first_number + position
    country = customer.address.country
    is_foreign = bool(shop.other_currency) and country == shop.other_currency_country
    lines = _lines(maker, country) if shop.has_lines else (_single_line(maker),)
    tax = sum((line.tax_amount for line in lines), ZERO)
    total = sum((line.amount for line in lines), ZERO) + (ZERO if shop.taxes_included else tax)
    status, paid = _payment_state(maker, total)
    method = _weighted(maker, shop.methods)
    payments = (
        (
            SalePayment(
                id=str(900001 + position),
                method=method,
                amount=paid,
                paid_at=placed_at + dt.timedelta(seconds=30),
                fee_amount=_cents(paid * shop.fee_rate + shop.fee_fixed),
            ),
        )
        if paid
        else ()
    )
    return Order(
        id=str(500001 + position),
        number=f"#{number}",
        placed_at=placed_at,
        updated_at=placed_at + dt.timedelta(minutes=1),
        currency=shop.other_currency if is_foreign else shop.currency,
        total=total,
        tax_total=tax,
        discount_total=sum((line.discount_amount for line in lines), ZERO),
        shipping_total=sum((line.amount for line in lines if line.kind == "shipping"), ZERO),
        taxes_included=shop.taxes_included,
        status=status,  # type: ignore[arg-type]
        is_test=dice.randint(1, 400) == 1,
        customer=Party(id=customer.id, name=customer.name, email=customer.email, country=country),
        lines=lines,
        payments=payments,
        country=country,
        channel=_weighted(maker, (("web", 8), ("pos", 2))),
    )


def _payment_state(maker: Maker, total: Decimal) -> tuple[str, Decimal]:
    roll = maker.dice.randint(1, 200)
    if roll == 1:
        return "cancelled", ZERO
    if roll <= 3 and maker.shop.has_lines:
        return "open", ZERO
    if roll == 4 and maker.shop.has_lines:
        return "partly_paid", _cents(total / 2)
    return "paid", total


def _lines(maker: Maker, country: str) -> tuple[SaleLine, ...]:
    dice = maker.dice
    lines = []
    for sku, title, price in dice.sample(maker.shop.products, dice.choice((1, 1, 1, 2, 2, 3))):
        quantity = Decimal(dice.choice((1, 1, 1, 2, 3)))
        gross = Decimal(price) * quantity
        discount = _cents(gross * dice.choice((5, 10, 15, 20)) / 100) if dice.randint(1, 100) <= 15 else ZERO
        lines.append(
            _taxed(
                maker,
                country,
                gross - discount,
                sku=sku,
                description=title,
                quantity=quantity,
                discount_amount=discount,
            )
        )
    if dice.randint(1, 100) <= 60:
        delivery = Decimal(dice.choice(("3.95", "4.95", "7.50")))
        lines.append(_taxed(maker, country, delivery, kind="shipping", description="Standard delivery"))
    if dice.randint(1, 100) == 1:
        lines.append(SaleLine(kind="gift_card", description="Gift card", amount=Decimal(25)))
    return tuple(lines)


def _single_line(maker: Maker) -> SaleLine:
    _, title, price = maker.dice.choice(maker.shop.products)
    return SaleLine(description=title, amount=Decimal(price) + Decimal(maker.dice.randint(0, 99)) / 100)


def _taxed(maker: Maker, country: str, amount: Decimal, **kwargs: Any) -> SaleLine:
    """Tax is rounded per line, half up, as shops and ledgers do it."""
    named = maker.shop.taxes.get(country)
    if named is None:
        return SaleLine(amount=amount, **kwargs)
    name, rate = named
    tax = _cents(amount * rate / (1 + rate)) if maker.shop.taxes_included else _cents(amount * rate)
    return SaleLine(amount=amount, taxes=(Tax(name=name, rate=rate, amount=tax),), **kwargs)


def _is_refunded(maker: Maker, order: Order) -> bool:
    return order.status == "paid" and not order.is_test and maker.dice.randint(1, 100) <= 5


def _refund(maker: Maker, order: Order) -> Refund:
    """The whole order or its first line, some days later but within the month."""
    lines = order.lines if maker.dice.randint(0, 1) or len(order.lines) == 1 else order.lines[:1]
    tax = sum((line.tax_amount for line in lines), ZERO)
    total = sum((line.amount for line in lines), ZERO) + (ZERO if order.taxes_included else tax)
    last = dt.datetime.combine(maker.first + dt.timedelta(days=maker.days - 1), dt.time(21), maker.shop.zone)
    at = min(order.placed_at + dt.timedelta(days=maker.dice.randint(1, 9)), last.astimezone(dt.UTC))
    at = max(at, order.placed_at + dt.timedelta(minutes=5))
    refund_id = str(800000 + int(order.id) - 500000)
    payment = order.payments[0]
    return Refund(
        id=refund_id,
        order_id=order.id,
        order_number=order.number,
        refunded_at=at,
        updated_at=at,
        currency=order.currency,
        total=total,
        tax_total=tax,
        taxes_included=order.taxes_included,
        customer=order.customer,
        lines=lines,
        payments=(SalePayment(id=f"{refund_id}9", method=payment.method, amount=total, paid_at=at),),
        reason="",
        country=order.country,
    )


def _payouts(maker: Maker, month: Month) -> list[Payout]:
    """Each Monday the payments of the week before arrive, less fees and refunds; only in the shop's own currency."""
    payouts: list[Payout] = []
    monday = maker.first + dt.timedelta(days=(7 - maker.first.weekday()) % 7 or 7)
    start = maker.first
    while monday <= maker.first + dt.timedelta(days=maker.days - 1):
        gross, fees, refunds = _week(maker, month, start, monday)
        if gross:
            payouts.append(_payout(maker, len(payouts), monday, gross, fees, refunds))
        start, monday = monday, monday + dt.timedelta(days=7)
    return payouts


def _week(maker: Maker, month: Month, start: dt.date, end: dt.date) -> tuple[Decimal, Decimal, Decimal]:
    method = maker.shop.methods[0][0]

    def falls(instant: dt.datetime) -> bool:
        return start <= instant.astimezone(maker.shop.zone).date() < end

    paid = [
        payment
        for order in month.orders
        for payment in order.payments
        if payment.method == method
        and falls(payment.paid_at)
        and order.currency == maker.shop.currency
        and not order.is_test
    ]
    back = [
        payment.amount
        for refund in month.refunds
        for payment in refund.payments
        if payment.method == method and falls(payment.paid_at) and refund.currency == maker.shop.currency
    ]
    return sum((p.amount for p in paid), ZERO), sum((p.fee_amount for p in paid), ZERO), sum(back, ZERO)


def _payout(maker: Maker, position: int, day: dt.date, gross: Decimal, fees: Decimal, refunds: Decimal) -> Payout:
    number = f"{600001 + position}"
    return Payout(
        id=number,
        number=number,
        paid_date=day,
        updated_at=dt.datetime.combine(day, dt.time(6), dt.UTC),
        currency=maker.shop.currency,
        gross=gross,
        fees=fees,
        refunds=refunds,
        net=gross - fees - refunds,
        bank_reference=f"PAYOUT {number}",
    )


def _weighted(maker: Maker, options: tuple[tuple[str, int], ...]) -> str:
    return maker.dice.choices([name for name, _ in options], [weight for _, weight in options])[0]


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


GIVEN_NAMES = (
    "Ada",
    "Ben",
    "Chloe",
    "Dev",
    "Eve",
    "Finn",
    "Grace",
    "Hugo",
    "Isla",
    "Jack",
    "Kira",
    "Liam",
    "Maya",
    "Noah",
)
FAMILY_NAMES = (
    "Archer",
    "Baker",
    "Cole",
    "Dale",
    "Ellis",
    "Frost",
    "Green",
    "Hart",
    "Irwin",
    "Jones",
    "King",
    "Lane",
    "Marsh",
)
STREETS = ("High Street", "Mill Lane", "Station Road", "Church Walk", "Park Avenue")
TOWNS = ("Bristol", "Leeds", "Bath", "York", "Exeter", "Norwich")
