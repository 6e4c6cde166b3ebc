"""Shopify's money is text in major units, once in the shop's currency and once in the buyer's; ledgers want the shop's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from connectors.providers.shopify.nodes import Discount, Money, TaxLine
from connectors.sdk.records import Tax

ZERO = Decimal(0)


class Unreadable(ValueError):
    """A row does not make sense; the sentence says why, to a bookkeeper."""


def money(bag: Money | None) -> Decimal:
    """The shop-currency side of a MoneyBag; absent bags are zero."""
    return ZERO if bag is None else amount(bag.shop_money.amount)


def amount(text: Any) -> Decimal:
    """The amount of a MoneyV2, which should be text."""
    return _known_amount(text) if type(text) is str else _amount(text)


def _amount(text: Any) -> Decimal:
    try:
        parsed = Decimal(text)
    except (InvalidOperation, TypeError) as error:
        raise Unreadable(f"Shopify sent {text!r} where an amount belongs.") from error
    if not parsed.is_finite():
        raise Unreadable(f"Shopify sent {text!r} where an amount belongs.")
    return parsed


#: Prices repeat, and most amounts of an order are nought.
_known_amount = lru_cache(maxsize=4096)(_amount)


def moment(text: str) -> dt.datetime:
    """An instant with its time zone."""
    try:
        parsed = dt.datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise Unreadable(f"Shopify sent {text!r} where a date belongs.") from error
    if parsed.tzinfo is None:
        raise Unreadable(f"Shopify sent the date {text} without its time zone.")
    return parsed


def stamp(value: dt.datetime) -> str:
    """As Shopify writes instants: UTC, to the second."""
    return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def discounts(parts: Sequence[Discount]) -> Decimal:
    """Every discount that fell to a line, those on the whole order included."""
    return sum([money(part.allocated_amount_set) for part in parts], ZERO) if parts else ZERO


def taxes(lines: Sequence[TaxLine]) -> tuple[Tax, ...]:
    """A line's taxes. What a sales channel pays to the tax office itself is named so, as it is no debt of the shop."""
    return tuple([Tax(name=_tax_name(line), rate=_rate(line.rate), amount=money(line.price_set)) for line in lines])


def _rate(rate: Decimal | int | None) -> Decimal:
    return rate if type(rate) is Decimal and rate else Decimal(str(rate or 0))


def _tax_name(line: TaxLine) -> str:
    return f"{line.title} (paid by the sales channel)" if line.channel_liable else line.title


def shared_out(total: Decimal, among: Iterable[Tax]) -> tuple[Tax, ...]:
    """`total` of refunded tax over the taxes of the line it belongs to, in their proportion, to the last cent."""
    parts = [tax for tax in among if tax.amount]
    if not parts:
        return (Tax(name="Tax", rate=ZERO, amount=total),) if total else ()
    whole = sum((tax.amount for tax in parts), ZERO)
    unit = Decimal(1).scaleb(int(min(total.as_tuple().exponent, -2)))
    shares = [(total * tax.amount / whole).quantize(unit) for tax in parts[:-1]]
    shares.append(total - sum(shares, ZERO))
    return tuple(
        Tax(name=tax.name, rate=tax.rate, amount=share) for tax, share in zip(parts, shares, strict=True) if share
    )
