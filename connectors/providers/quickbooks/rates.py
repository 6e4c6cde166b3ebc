"""The exchange rate of an entry in a foreign currency, and the rate of a purchase tax: what QuickBooks does not work out for a caller.

QuickBooks fills the rate of the day in on its own pages, but books what comes in through its interface without a rate at 1.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec

from connectors.providers.quickbooks.client import QuickBooksClient, quoted_list
from connectors.providers.quickbooks.faults import Faulty, rejection
from connectors.providers.quickbooks.manifest import MINOR_VERSION, PAGE_SIZE
from connectors.providers.quickbooks.reading import money, ref
from connectors.sdk.errors import RecordRejected
from connectors.sdk.records import BankTransfer, CustomerPayment, Document, Expense
from connectors.sdk.streams import Draft

Json = dict[str, Any]
RATE = Decimal("0.0000000001")
Booked = Document | CustomerPayment | BankTransfer | Expense


def at_day_rates(client: QuickBooksClient, drafts: Iterable[Draft]) -> list[Draft | RecordRejected]:
    """The drafts with the rate of their own day where they are in a foreign currency and name none, or why there is no rate."""
    return [_at_day_rate(client, draft) for draft in drafts]


def _at_day_rate(client: QuickBooksClient, draft: Draft) -> Draft | RecordRejected:
    booked = draft.document
    if not isinstance(booked, Booked) or booked.exchange_rate is not None or booked.currency == _home(client):
        return draft
    rate = _rate_of(booked) or day_rate(client, booked.currency, booked.date)
    if isinstance(rate, RecordRejected):
        return rate
    return replace(draft, document=msgspec.structs.replace(booked, exchange_rate=rate))


def _rate_of(booked: Booked) -> Decimal | None:
    """The rate at which a payment comes to what it came to in the home currency."""
    base = getattr(booked, "base_amount", None)
    amount = booked.total if isinstance(booked, Document) else booked.amount
    return (base / amount).quantize(RATE, ROUND_HALF_UP) if base else None


def _home(client: QuickBooksClient) -> str:
    """The company's own currency, asked for only where the connection does not know it."""
    if client.access.base_currency:
        return client.access.base_currency
    known = client.known("Preferences")
    if not known:
        found = client.query("select * from Preferences").get("Preferences", [{}])[0]
        client.remember("Preferences", {"home": {"currency": ref(found.get("CurrencyPrefs", {}), "HomeCurrency")}})
    return str(known["home"]["currency"])


def day_rate(client: QuickBooksClient, currency: str, day: dt.date) -> Decimal | RecordRejected:
    """Units of the home currency for one of a currency, as the company has it for a day; asked for once."""
    known, key = client.known("ExchangeRate"), f"{currency} {day}"
    if key not in known:
        client.remember("ExchangeRate", {key: {"rate": _asked_rate(client, currency, day)}})
    found: Decimal | RecordRejected = known[key]["rate"]
    return found


def _asked_rate(client: QuickBooksClient, currency: str, day: dt.date) -> Decimal | RecordRejected:
    try:
        answer = client.request(
            "GET",
            "api",
            client.company_path("exchangerate"),
            params={"sourcecurrencycode": currency, "asofdate": day.isoformat(), "minorversion": MINOR_VERSION},
        )
    except Faulty as refused:
        return rejection(refused.fault)
    found = (answer or {}).get("ExchangeRate") or {}
    if found.get("SourceCurrencyCode", currency) == currency and found.get("Rate"):
        return money(found["Rate"])
    return RecordRejected(
        f"QuickBooks has no exchange rate for {currency} on {day:%-d %B %Y}. Enter one in QuickBooks among its currencies, then "
        "post it again.",
    )


def purchase_percents(client: QuickBooksClient, codes: Iterable[str]) -> dict[str, Decimal]:
    """What these tax codes add to a purchase, in per cent. Codes without purchase rates are absent."""
    wanted = [code for code in dict.fromkeys(codes) if code and code not in client.known("purchase tax")]
    if wanted:
        found, rates = client.queries(
            [
                f"select * from TaxCode where Id in {quoted_list(wanted)} maxresults {PAGE_SIZE}",
                f"select * from TaxRate where Active in (true, false) maxresults {PAGE_SIZE}",
            ]
        )
        percents = {row["Id"]: money(row.get("RateValue", 0)) for row in rates.get("TaxRate", [])}
        for row in found.get("TaxCode", []):
            _remember_percent(client, row, percents)
    return {code: Decimal(row["percent"]) for code, row in client.known("purchase tax").items()}


def _remember_percent(client: QuickBooksClient, code: Json, percents: dict[str, Decimal]) -> None:
    details = (code.get("PurchaseTaxRateList") or {}).get("TaxRateDetail", [])
    if details:
        percent = sum((percents.get(ref(detail, "TaxRateRef"), Decimal(0)) for detail in details), Decimal(0))
        client.remember("purchase tax", {code["Id"]: {"percent": percent}})
