"""Stripe's objects as its API shows them, made from the standard records the simulator is seeded with."""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from connectors.providers.stripe.money import exponent
from connectors.sdk.records import Address, Customer, Order, Party, Payout

Body = dict[str, Any]

# What one unit is worth in US dollars; only the relation of two counts.
RATES = {
    "USD": Decimal("1"),
    "GBP": Decimal("1.27"),
    "EUR": Decimal("1.08"),
    "CAD": Decimal("0.73"),
    "AUD": Decimal("0.66"),
    "JPY": Decimal("0.0067"),
    "KWD": Decimal("3.25"),
}
# Price of a card payment: a share of the amount and a fixed part in the smallest unit of the settlement currency.
PRICES = {"GBP": (Decimal("0.015"), 20), "USD": (Decimal("0.029"), 30)}
SECONDS_TO_AVAILABLE = 2 * 86_400

CATEGORIES = {
    "payment": "charge",
    "payment_refund": "refund",
    "refund_failure": "refund_failure",
    "stripe_fee": "fee",
    "adjustment": "other_adjustment",
}


def whole(amount: Decimal) -> int:
    """Rounded half up, as Stripe rounds what it converts and charges."""
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))


def in_units(amount: Decimal, currency: str) -> int:
    """An amount in the currency's smallest unit."""
    return whole(amount.scaleb(exponent(currency)))


def exchange_rate(currency: str, settled_in: str) -> Decimal | None:
    """None where nothing is exchanged."""
    if currency == settled_in:
        return None
    return (RATES.get(currency, Decimal(1)) / RATES.get(settled_in, Decimal(1))).quantize(Decimal("0.000001"))


def settled(units: int, currency: str, settled_in: str) -> int:
    """Smallest units of one currency as those of the settlement currency."""
    rate = exchange_rate(currency, settled_in)
    if rate is None:
        return units
    return whole((Decimal(units) * rate).scaleb(exponent(settled_in) - exponent(currency)))


def price(units: int, settled_in: str) -> int:
    """Stripe's fee for a payment of so many units."""
    share, fixed = PRICES.get(settled_in, (Decimal("0.029"), 30))
    return min(units, whole(units * share) + fixed) if units > 0 else 0


def unix(moment: dt.datetime) -> int:
    return int(moment.timestamp())


def midnight(day: dt.date) -> int:
    return unix(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC))


def billing(party: Party, country: str) -> Body:
    return {
        "address": {
            "city": None,
            "country": party.country or country or None,
            "line1": None,
            "line2": None,
            "postal_code": None,
            "state": None,
        },
        "email": party.email or None,
        "name": party.name or None,
        "phone": None,
        "tax_id": None,
    }


def charge(order: Order, *, id: str, customer: str | None) -> Body:
    """A captured card payment, or an authorisation for an order that is still open."""
    amount = in_units(order.total, order.currency)
    is_captured = order.status not in ("open", "cancelled")
    payments = order.payments
    method = payments[0].method if payments else "card"
    return {
        "id": id,
        "object": "charge",
        "amount": amount,
        "amount_captured": amount if is_captured else 0,
        "amount_refunded": 0 if is_captured or order.status == "open" else amount,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": billing(order.customer, order.country),
        "calculated_statement_descriptor": "TIEOUT SIMULATION",
        "captured": is_captured,
        "created": unix(order.placed_at),
        "currency": order.currency.lower(),
        "customer": customer,
        "description": order.note or (order.lines[0].description if order.lines else None),
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": not order.is_test,
        "metadata": {"order_number": order.number} | {name: str(value) for name, value in order.custom.items()},
        "on_behalf_of": None,
        "outcome": outcome(),
        "paid": True,
        "payment_intent": None,
        "payment_method": None,
        "payment_method_details": method_details(method),
        "receipt_email": order.customer.email or None,
        "receipt_number": None,
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{id}",
        "refunded": order.status == "cancelled",
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded",
        "transfer_data": None,
        "transfer_group": None,
    }


def outcome() -> Body:
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network",
        "reason": None,
        "risk_level": "normal",
        "seller_message": "Payment complete.",
        "type": "authorized",
    }


def method_details(method: str) -> Body:
    if method != "card":
        return {"type": method, method: {}}
    card = {"brand": "visa", "country": "GB", "exp_month": 12, "exp_year": 2031, "funding": "credit", "last4": "4242"}
    return {"type": "card", "card": card}


def refund(*, id: str, charge: Body, amount: int, created: int, reason: str | None) -> Body:
    return {
        "id": id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": created,
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method": None,
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def movement(
    *,
    id: str,
    kind: str,
    amount: int,
    fee: int,
    currency: str,
    created: int,
    source: str | None,
    rate: Decimal | None = None,
) -> Body:
    """A balance transaction. `status` is told when it is shown: it depends on the day."""
    details = {"amount": fee, "application": None, "currency": currency.lower(), "type": "stripe_fee"}
    return {
        "id": id,
        "object": "balance_transaction",
        "amount": amount,
        "available_on": created + SECONDS_TO_AVAILABLE,
        "balance_type": "payments",
        "created": created,
        "currency": currency.lower(),
        "description": None,
        "exchange_rate": rate,
        "fee": fee,
        "fee_details": [details | {"description": "Stripe processing fees"}] if fee else [],
        "net": amount - fee,
        "reporting_category": CATEGORIES.get(kind, kind),
        "source": source,
        "status": "pending",
        "type": kind,
    }


def payout(record: Payout, *, id: str, created: int) -> Body:
    return {
        "id": id,
        "object": "payout",
        "amount": in_units(record.net, record.currency),
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": midnight(record.paid_date),
        "automatic": True,
        "balance_transaction": None,
        "created": created,
        "currency": record.currency.lower(),
        "description": "STRIPE PAYOUT",
        "destination": "ba_simulated",
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": not record.is_test,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "in_progress" if record.status == "scheduled" else "completed",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": PAYOUT_STATUSES[record.status],
        "trace_id": {"status": "supported", "value": record.bank_reference} if record.bank_reference else None,
        "type": "bank_account",
    }


PAYOUT_STATUSES = {
    "scheduled": "pending",
    "in_transit": "in_transit",
    "paid": "paid",
    "failed": "failed",
    "cancelled": "canceled",
}


def customer(record: Customer, *, id: str, created: int) -> Body:
    return {
        "id": id,
        "object": "customer",
        "address": address(record.address),
        "balance": 0,
        "business_name": record.company or None,
        "created": created,
        "currency": record.currency.lower() or None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": record.email or None,
        "individual_name": None,
        "invoice_prefix": f"SIM{created % 100_000:05d}",
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": True,
        "metadata": {name: str(value) for name, value in record.custom.items()},
        "name": record.name or None,
        "next_invoice_sequence": 1,
        "phone": record.phone or None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def address(given: Address) -> Body | None:
    if given == Address():
        return None
    return {
        "city": given.city or None,
        "country": given.country or None,
        "line1": given.line1 or None,
        "line2": given.line2 or None,
        "postal_code": given.postal_code or None,
        "state": given.region or None,
    }


def account(organisation: Body) -> Body:
    """The account itself."""
    currency, name = str(organisation["base_currency"]).lower(), organisation["name"]
    return {
        "id": organisation["id"],
        "object": "account",
        "business_profile": {"mcc": "5734", "name": name, "product_description": None, "url": None},
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": organisation["country"],
        "created": 1_600_000_000,
        "default_currency": currency,
        "details_submitted": True,
        "email": "owner@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "settings": {
            "dashboard": {"display_name": name, "timezone": organisation.get("time_zone") or "Etc/UTC"},
            "payments": {"statement_descriptor": None},
            "payouts": {"debit_negative_balances": True, "schedule": {"delay_days": 2, "interval": "daily"}},
        },
        "type": "standard",
    }
