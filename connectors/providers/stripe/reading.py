"""Stripe's objects as standard records. Raises ValueError, KeyError or TypeError on an object that is not as documented."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from connectors.providers.stripe.client import account_name
from connectors.providers.stripe.money import from_minor
from connectors.sdk.client import dump_json
from connectors.sdk.records import (
    Address,
    BalanceTransaction,
    Company,
    Customer,
    Order,
    Party,
    Record,
    Refund,
    SaleLine,
    SalePayment,
)
from connectors.sdk.streams import SourceRecord

Body = Mapping[str, Any]

ORDER_NUMBER = "order_number"
# Signed addresses that Stripe writes anew on every reading: they are no change.
_RESTLESS = frozenset({"receipt_url"})
_REASONS = {
    "duplicate": "Duplicate",
    "fraudulent": "Fraudulent",
    "requested_by_customer": "Requested by customer",
    "expired_uncaptured_charge": "Expired uncaptured charge",
}


def source_record(body: Body, record: Record, *, is_deleted: bool = False) -> SourceRecord:
    """`updated_at` stays empty: Stripe does not say when an object last changed, so its digest is its version."""
    return SourceRecord(
        external_id=str(body["id"]),
        version=version_of(body),
        record=record,
        raw=dict(body),
        is_deleted=is_deleted,
    )


def version_of(body: Body) -> str:
    """A digest of what the object itself says; what was expanded inside it counts by its id only."""
    own = {name: _collapsed(value) for name, value in sorted(body.items()) if name not in _RESTLESS}
    return hashlib.blake2b(dump_json(own), digest_size=12).hexdigest()


def _collapsed(value: Any) -> Any:
    is_expanded = isinstance(value, Mapping) and "object" in value and "id" in value
    return value["id"] if is_expanded else value


def moment(seconds: Any) -> dt.datetime:
    """Unix seconds as an aware instant."""
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC)


def order(body: Body) -> SourceRecord:
    """A payment as a sale of one line: Stripe knows what was paid, not what was bought."""
    currency = str(body["currency"]).upper()
    total = from_minor(body["amount_captured" if body["captured"] else "amount"], currency)
    metadata = dict(body.get("metadata") or {})
    number = str(metadata.pop(ORDER_NUMBER, "") or body["id"])
    description = str(body.get("description") or "")
    payment = _payment_of(body, total, currency)
    record = Order(
        id=str(body["id"]),
        number=number,
        placed_at=moment(body["created"]),
        updated_at=moment(body["created"]),
        currency=currency,
        total=total,
        status=_order_status(body),
        is_test=not body["livemode"],
        customer=payer(body),
        lines=(SaleLine(description=description or "Payment", amount=total),),
        payments=(payment,) if payment else (),
        country=_billing_country(body),
        note=description,
        custom={**metadata, **_settlement(body, currency)},
    )
    return source_record(body, record)


def _order_status(body: Body) -> Any:
    """Money that is not ours yet is open; an authorisation that was let go is cancelled."""
    if not body["captured"]:
        return "cancelled" if body.get("refunded") else "open"
    if body["status"] != "succeeded":
        return "open"
    is_all_back = body["amount_refunded"] >= body["amount_captured"] > 0
    return "refunded" if is_all_back else "paid"


def _payment_of(body: Body, total: Decimal, currency: str) -> SalePayment | None:
    if body["status"] != "succeeded" or not body["captured"]:
        return None
    return SalePayment(
        id=str(body["id"]),
        method=method_of(body),
        amount=total,
        paid_at=moment(body["created"]),
        fee_amount=_fee(body, currency),
        **_settled(body, currency),
    )


def _fee(body: Body, currency: str) -> Decimal:
    """Stripe's fee when it is in the payment's own currency; another currency's fee belongs to the payout."""
    settled = body.get("balance_transaction")
    if not isinstance(settled, Mapping) or str(settled["currency"]).upper() != currency:
        return Decimal(0)
    return from_minor(settled["fee"], currency)


def _settled(body: Body, currency: str) -> dict[str, Any]:
    """What arrived on the balance, or left it, where that is another currency than was charged."""
    settled = body.get("balance_transaction")
    if not isinstance(settled, Mapping) or str(settled["currency"]).upper() == currency:
        return {}
    own = str(settled["currency"]).upper()
    return {"settled_amount": abs(from_minor(settled["amount"], own)), "settled_currency": own}


def _settlement(body: Body, currency: str) -> dict[str, str]:
    """The same as the tenant's mapping may use it, with Stripe's fee and rate."""
    if not (found := _settled(body, currency)):
        return {}
    settled, own = body["balance_transaction"], found["settled_currency"]
    return {
        "settlement_currency": own,
        "settlement_amount": str(from_minor(settled["amount"], own)),
        "settlement_fee": str(from_minor(settled["fee"], own)),
        "exchange_rate": str(settled.get("exchange_rate") or ""),
    }


def method_of(body: Body) -> str:
    """The kind of payment method, such as card or klarna."""
    return str((body.get("payment_method_details") or {}).get("type") or "card")


def payer(body: Body) -> Party:
    """Who paid: what was typed at the checkout, else what the customer's page says."""
    billing = body.get("billing_details") or {}
    customer = body.get("customer")
    known = customer if isinstance(customer, Mapping) else {}
    return Party(
        id=str(known.get("id") or (customer if isinstance(customer, str) else "")),
        name=str(billing.get("name") or known.get("name") or ""),
        email=str(billing.get("email") or known.get("email") or body.get("receipt_email") or ""),
        country=_billing_country(body),
    )


def _billing_country(body: Body) -> str:
    return str(((body.get("billing_details") or {}).get("address") or {}).get("country") or "")


def refund(body: Body) -> SourceRecord:
    """Money given back. A refund that failed or was cancelled never happened, so it counts as deleted."""
    charge = body.get("charge")
    paid = charge if isinstance(charge, Mapping) else {}
    charge_id = str(paid.get("id") or charge or body.get("payment_intent") or "")
    currency = str(body["currency"]).upper()
    total = from_minor(body["amount"], currency)
    reason = _REASONS.get(str(body.get("reason") or ""), str(body.get("reason") or ""))
    refunded_at = moment(body["created"])
    has_moved = bool(body.get("balance_transaction")) or body["status"] == "succeeded"
    payment = SalePayment(
        id=str(body["id"]), method=method_of(paid), amount=total, paid_at=refunded_at, **_settled(body, currency)
    )
    record = Refund(
        id=str(body["id"]),
        order_id=charge_id,
        order_number=str((paid.get("metadata") or {}).get(ORDER_NUMBER) or charge_id),
        refunded_at=refunded_at,
        updated_at=refunded_at,
        currency=currency,
        total=total,
        is_test=bool(paid) and not paid["livemode"],
        customer=payer(paid),
        lines=(SaleLine(kind="adjustment", description=reason or "Refund", amount=total),),
        payments=(payment,) if has_moved else (),
        reason=reason,
        country=_billing_country(paid),
        custom=dict(body.get("metadata") or {}),
    )
    return source_record(body, record, is_deleted=body["status"] in ("failed", "canceled"))


def balance_transaction(body: Body) -> SourceRecord:
    """Stripe names the payout only on the payout's own movement."""
    currency, source = str(body["currency"]).upper(), body.get("source")
    source_id = str(source.get("id", "") if isinstance(source, Mapping) else source or "")
    record = BalanceTransaction(
        id=str(body["id"]),
        kind=str(body["type"]),
        occurred_at=moment(body["created"]),
        currency=currency,
        amount=from_minor(body["amount"], currency),
        fee=from_minor(body["fee"], currency),
        net=from_minor(body["net"], currency),
        payout_id=source_id if body["type"] == "payout" else "",
        source_id=source_id,
    )
    return source_record(body, record)


def customer(body: Body) -> SourceRecord:
    """Of a deleted customer Stripe keeps the id only."""
    if body.get("deleted"):
        gone = Customer(id=str(body["id"]), name="", is_archived=True)
        return source_record(body, gone, is_deleted=True)
    tax_ids = (body.get("tax_ids") or {}).get("data") or []
    company = str(body.get("business_name") or "")
    record = Customer(
        id=str(body["id"]),
        name=str(body.get("name") or company or body.get("email") or ""),
        email=str(body.get("email") or ""),
        phone=str(body.get("phone") or ""),
        company=company,
        tax_number=str(tax_ids[0]["value"]) if tax_ids else "",
        currency=str(body.get("currency") or "").upper(),
        address=address(body.get("address") or {}),
        custom=_own_metadata(body),
    )
    return source_record(body, record)


def address(body: Body) -> Address:
    return Address(
        line1=str(body.get("line1") or ""),
        line2=str(body.get("line2") or ""),
        city=str(body.get("city") or ""),
        region=str(body.get("state") or ""),
        postal_code=str(body.get("postal_code") or ""),
        country=str(body.get("country") or ""),
    )


def _own_metadata(body: Body) -> dict[str, str]:
    """The tenant's notes, without the mark we leave to find our own writes by."""
    return {name: value for name, value in (body.get("metadata") or {}).items() if not name.startswith("tieout_")}


def company(body: Body) -> SourceRecord:
    dashboard = (body.get("settings") or {}).get("dashboard") or {}
    record = Company(
        id=str(body["id"]),
        name=account_name(body),
        base_currency=str(body["default_currency"]).upper(),
        country=str(body.get("country") or ""),
        time_zone=str(dashboard.get("timezone") or ""),
    )
    return source_record(body, record)
