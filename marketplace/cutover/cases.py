"""The edge cases every flow rehearses: source records built from the tenant's own currency, taxes and payment methods, each with
what must come out. The expectation is worked out from the case, never from the mapping under test."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from connectors.sdk.records import (
    Address,
    Customer,
    Deal,
    Order,
    Party,
    Payout,
    Record,
    Refund,
    SaleLine,
    SalePayment,
    Tax,
)

ZERO = Decimal(0)
ABROAD = Party(id="case-abroad", name="Sample Customer Abroad", email="abroad@example.com")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the cases are built from. `tax` and `method` are ones the mapping knows; `foreign_currency` is empty when the source sells in one currency only."""

    day: dt.date
    currency: str
    foreign_currency: str
    method: str
    tax: Tax | None
    has_rounding: bool
    maps_everything: bool
    closed_period: str = "hold"

    @property
    def noon(self) -> dt.datetime:
        return dt.datetime.combine(self.day, dt.time(12), dt.UTC)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A record and what must become of it. For posted cases `total` and `tax` are of the main document and `paid` is the sum of
    its payments; otherwise `refusal` is the reason's code."""

    name: str
    explanation: str
    record: Record
    total: Decimal = ZERO
    tax: Decimal = ZERO
    currency: str = ""
    paid: Decimal | None = None
    refusal: str = ""
    is_closed: bool = False
    is_sent_twice: bool = False


def setting_of(
    *, day: dt.date, currency: str, foreign_currency: str, spec: Mapping[str, Any], closed_period: str = "hold"
) -> Setting:
    """Choose what the mapping knows, so that a case fails only for what it is about."""
    fields = spec.get("fields", {})
    methods = fields.get("payment_ledger_accounts", {})
    taxes = fields.get("tax_rates", {})
    return Setting(
        day=day,
        currency=currency,
        foreign_currency=foreign_currency,
        method=next((name for name, account in methods.get("pairs", {}).items() if account), "Card"),
        tax=next(filter(None, (_tax(label) for label, code in taxes.get("pairs", {}).items() if code)), None),
        has_rounding=bool(fields.get("rounding_ledger_account", {}).get("value")),
        maps_everything=bool(methods.get("otherwise")),
        closed_period=closed_period,
    )


def _tax(label: str) -> Tax | None:
    found = re.fullmatch(r"([^+]+) ([0-9.]+)%", label)
    rate = Decimal(found[2]) / 100 if found else ZERO
    return Tax(name=found[1], rate=rate, amount=ZERO) if found and rate else None


def line(setting: Setting, net: str, *, included: bool = False, **kwargs: Any) -> SaleLine:
    """A line of `net` before tax; with `included`, its amount is what the customer sees."""
    amount = Decimal(net)
    taxes: tuple[Tax, ...] = ()
    if setting.tax is not None:
        tax = (amount * setting.tax.rate).quantize(Decimal("0.01"))
        taxes = (Tax(name=setting.tax.name, rate=setting.tax.rate, amount=tax),)
        amount = amount + tax if included else amount
    return SaleLine(description=kwargs.pop("description", "Sample item"), amount=amount, taxes=taxes, **kwargs)


def order(
    setting: Setting, name: str, *lines: SaleLine, included: bool = False, paid: str = "", **kwargs: Any
) -> Order:
    """A paid order whose total is what its lines make."""
    tax = sum((part.tax_amount for part in lines), ZERO)
    total = kwargs.pop("total", sum((part.amount for part in lines), ZERO) + (ZERO if included else tax))
    amount = Decimal(paid) if paid else total
    method = kwargs.pop("method", setting.method)
    payments = () if paid == "0" else (SalePayment(id=f"{name}-p", method=method, amount=amount, paid_at=setting.noon),)
    return Order(
        id=f"case-{name}",
        number=f"CASE-{name.upper()[:12]}",
        placed_at=setting.noon,
        updated_at=setting.noon,
        currency=kwargs.pop("currency", setting.currency),
        total=total,
        tax_total=tax,
        taxes_included=included,
        status=kwargs.pop("status", "paid"),
        customer=kwargs.pop("customer", Party(id="case-customer", name="Sample Customer", email="sample@example.com")),
        lines=lines,
        payments=kwargs.pop("payments", payments),
        **kwargs,
    )


def posted(name: str, explanation: str, record: Order, **kwargs: Any) -> Case:
    """The whole order must be in the ledger, to the cent."""
    return Case(
        name=name,
        explanation=explanation,
        record=record,
        total=record.total,
        tax=record.tax_total,
        currency=record.currency,
        paid=sum((payment.amount for payment in record.payments), ZERO),
        **kwargs,
    )


def order_cases(s: Setting) -> list[Case]:
    plain, dear = line(s, "40.00"), line(s, "19.99", quantity=Decimal(3))
    off = line(s, "75.00", discount_amount=Decimal("25.00"), description="Discounted item")
    two = order(s, "two", plain)
    halves = tuple(SalePayment(id=f"two-{n}", method=s.method, amount=two.total / 2, paid_at=s.noon) for n in (1, 2))
    off_by_one = order(s, "cent", plain, total=plain.amount + plain.tax_amount + Decimal("0.01"))
    off_by_ten = order(s, "ten", plain, total=plain.amount + plain.tax_amount + Decimal(10))
    cases = [
        posted("plain", "A plain sale, tax added on top", order(s, "plain", plain)),
        posted(
            "included",
            "A sale whose prices include tax",
            order(s, "incl", line(s, "40.00", included=True), included=True),
        ),
        posted(
            "lines", "Several lines and pieces, tax rounded per line", order(s, "lines", plain, dear, line(s, "0.33"))
        ),
        posted("discount", "A discounted item", order(s, "disc", off)),
        posted(
            "shipping",
            "Shipping charged",
            order(s, "ship", plain, line(s, "4.95", kind="shipping", description="Delivery")),
        ),
        posted("part_paid", "Only part of it is paid", order(s, "part", plain, paid="15.00", status="partly_paid")),
        posted("two_payments", "Paid in two parts", order(s, "two", plain, payments=halves)),
        posted("twice", "The same sale arrives twice: one invoice", order(s, "twice", plain), is_sent_twice=True),
        refused("test", "A test order is left out", order(s, "test", plain, is_test=True), "test"),
        refused(
            "cancelled", "A cancelled order is left out", order(s, "cancel", plain, status="cancelled"), "cancelled"
        ),
        refused("unpaid", "An unpaid order waits", order(s, "unpaid", plain, paid="0", status="open"), "unpaid"),
        refused("ten_off", "Lines that do not make the total are held", off_by_ten, "does_not_add_up"),
        _closed(s, order(s, "closed", plain)),
    ]
    if s.foreign_currency:
        abroad = order(s, "fx", plain, currency=s.foreign_currency, customer=ABROAD)
        cases.append(posted("foreign", "A sale in another currency", abroad))
    if s.has_rounding:
        cases.append(posted("cent_off", "A cent of rounding is booked as rounding", off_by_one))
    else:
        cases.append(
            refused("cent_off", "A cent too much is held: no rounding account is chosen", off_by_one, "does_not_add_up")
        )
    if not s.maps_everything:
        stranger = order(s, "method", plain, method="A method nobody has mapped")
        cases.append(refused("method", "An unknown payment method is held, not guessed", stranger, "unmapped"))
    return cases


def refused(name: str, explanation: str, record: Record, code: str) -> Case:
    """No document may be written, for exactly this reason."""
    return Case(name=name, explanation=explanation, record=record, refusal=code)


def _closed(s: Setting, record: Any) -> Case:
    explanation = "A date in closed books"
    if s.closed_period != "next_open":
        return Case(
            name="closed", explanation=f"{explanation} is held", record=record, refusal="closed_period", is_closed=True
        )
    return posted("closed", f"{explanation} moves to the first open day", record, is_closed=True)


def refund(s: Setting, name: str, *lines: SaleLine, included: bool = False, **kwargs: Any) -> Refund:
    tax = sum((part.tax_amount for part in lines), ZERO)
    total = kwargs.pop("total", sum((part.amount for part in lines), ZERO) + (ZERO if included else tax))
    method = kwargs.pop("method", s.method)
    return Refund(
        id=f"case{name}",
        order_id="case-plain",
        order_number="CASE-PLAIN",
        refunded_at=s.noon,
        updated_at=s.noon,
        currency=kwargs.pop("currency", s.currency),
        total=total,
        tax_total=tax,
        taxes_included=included,
        customer=kwargs.pop("customer", Party(id="case-customer", name="Sample Customer", email="sample@example.com")),
        lines=lines,
        payments=(SalePayment(id=f"{name}-r", method=method, amount=total, paid_at=s.noon),) if total else (),
        **kwargs,
    )


def refund_cases(s: Setting) -> list[Case]:
    plain = line(s, "40.00")

    def repaid(name: str, explanation: str, record: Refund, **kwargs: Any) -> Case:
        return Case(
            name=name,
            explanation=explanation,
            record=record,
            total=record.total,
            tax=record.tax_total,
            currency=record.currency,
            paid=record.total,
            **kwargs,
        )

    cases = [
        repaid("full", "A full refund", refund(s, "full", plain)),
        repaid("part", "Part of an order", refund(s, "part", line(s, "13.37"))),
        repaid(
            "included",
            "A refund whose prices include tax",
            refund(s, "incl", line(s, "40.00", included=True), included=True),
        ),
        repaid(
            "twice", "The same refund arrives twice: one credit note", refund(s, "twice", plain), is_sent_twice=True
        ),
        refused("test", "A refund of a test order is left out", refund(s, "test", plain, is_test=True), "test"),
        refused("zero", "A refund of nothing is left out", refund(s, "zero", total=ZERO), "zero"),
        refused(
            "ten_off",
            "Lines that do not make the total are held",
            refund(s, "ten", plain, total=Decimal(99)),
            "does_not_add_up",
        ),
    ]
    if s.foreign_currency:
        abroad = refund(s, "fx", plain, currency=s.foreign_currency, customer=ABROAD)
        cases.append(repaid("foreign", "A refund in another currency", abroad))
    if not s.maps_everything:
        stranger = refund(s, "method", plain, method="A method nobody has mapped")
        cases.append(refused("method", "An unknown payment method is held, not guessed", stranger, "unmapped"))
    return cases


def payout(s: Setting, name: str, gross: str, fees: str, refunds: str = "0", **kwargs: Any) -> Payout:
    parts = [Decimal(gross), Decimal(fees), Decimal(refunds)]
    adjustments = Decimal(kwargs.pop("adjustments", "0"))
    return Payout(
        id=f"case{name}",
        paid_date=s.day,
        updated_at=s.noon,
        currency=s.currency,
        gross=parts[0],
        fees=parts[1],
        refunds=parts[2],
        adjustments=adjustments,
        net=kwargs.pop("net", parts[0] - parts[1] - parts[2] + adjustments),
        status=kwargs.pop("status", "paid"),
        **kwargs,
    )


def payout_cases(s: Setting) -> list[Case]:
    def moved(name: str, explanation: str, record: Payout, **kwargs: Any) -> Case:
        return Case(
            name=name,
            explanation=explanation,
            record=record,
            total=abs(record.net),
            currency=record.currency,
            paid=record.fees - min(record.adjustments, ZERO),
            **kwargs,
        )

    return [
        moved("plain", "A payout with fees", payout(s, "plain", "1000.00", "29.30")),
        moved("refunds", "Refunds kept back", payout(s, "refunds", "1000.00", "29.30", "120.45")),
        moved("no_fees", "No fees", payout(s, "nofees", "250.00", "0")),
        moved(
            "negative", "More refunded than sold: the bank is debited", payout(s, "negative", "10.00", "1.00", "60.00")
        ),
        moved("dispute", "A dispute was deducted", payout(s, "dispute", "500.00", "10.00", adjustments="-35.00")),
        moved(
            "twice",
            "The same payout arrives twice: one transfer",
            payout(s, "twice", "99.00", "1.00"),
            is_sent_twice=True,
        ),
        refused(
            "failed", "A failed payout is left out", payout(s, "failed", "10.00", "1.00", status="failed"), "failed"
        ),
        refused(
            "on_its_way",
            "Money on its way waits",
            payout(s, "way", "10.00", "1.00", status="in_transit"),
            "not_paid_yet",
        ),
        refused(
            "unexplained",
            "A deposit that does not add up is held",
            payout(s, "gap", "100.00", "2.00", net=Decimal("90.00")),
            "payout_does_not_add_up",
        ),
    ]


def customer_cases(s: Setting) -> list[Case]:
    person = Customer(
        id="case-new",
        name="Sample Person",
        email="person@example.com",
        phone="020 7946 0000",
        address=Address(line1="1 Sample Street", city="London", postal_code="N1 9GU", country="GB"),
    )
    # A ledger may allow each name only once: the case is about one customer coming twice, not about two of one name.
    again = msgspec.structs.replace(person, id="case-twice", name="Sample Regular", email="regular@example.com")
    return [
        Case(name="new", explanation="A new customer becomes a contact", record=person),
        Case(
            name="twice", explanation="The same customer arrives twice: one contact", record=again, is_sent_twice=True
        ),
        refused(
            "archived",
            "An archived customer is left out",
            Customer(id="case-old", name="Old", is_archived=True),
            "archived",
        ),
        refused("no_name", "A customer without a name is held", Customer(id="case-none", name=""), "no_name"),
    ]


def deal_cases(s: Setting) -> list[Case]:
    plain = line(s, "400.00")
    won = Deal(
        id="case-won",
        number="CASE-WON",
        updated_at=s.noon,
        closed_at=s.noon,
        currency=s.currency,
        total=plain.amount + plain.tax_amount,
        is_won=True,
        customer=Party(id="case-customer", name="Sample Customer"),
        lines=(plain,),
    )
    lost = Deal(id="case-lost", number="CASE-LOST", updated_at=s.noon, currency=s.currency, total=ZERO)
    return [
        Case(
            name="won",
            explanation="A won deal",
            record=won,
            total=won.total,
            tax=plain.tax_amount,
            currency=won.currency,
        ),
        refused("open", "An open deal waits", lost, "not_won"),
    ]


CASES: dict[str, Callable[[Setting], list[Case]]] = {
    "order": order_cases,
    "refund": refund_cases,
    "payout": payout_cases,
    "customer": customer_cases,
    "deal": deal_cases,
}
