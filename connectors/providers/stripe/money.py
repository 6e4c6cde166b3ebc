"""Stripe's amounts: whole numbers of a currency's smallest unit, here turned into exact decimals and back."""

from __future__ import annotations

from decimal import Decimal

ZERO_DECIMAL = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
THREE_DECIMAL = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])


def exponent(currency: str) -> int:
    """How many decimals Stripe counts in. ISK and UGX have none in life but two at Stripe."""
    code = currency.upper()
    if code in ZERO_DECIMAL:
        return 0
    return 3 if code in THREE_DECIMAL else 2


def from_minor(amount: object, currency: str) -> Decimal:
    """1999 in GBP is 19.99. Raises ValueError on anything but a whole number: Stripe never sends another."""
    if not isinstance(amount, int) or isinstance(amount, bool):
        raise ValueError(f"an amount of {amount!r}")
    return Decimal(amount).scaleb(-exponent(currency))


def to_minor(amount: Decimal, currency: str) -> int:
    """Raises ValueError when the amount is finer than the currency's smallest unit."""
    units = amount.scaleb(exponent(currency))
    if units != units.to_integral_value():
        raise ValueError(f"{amount} {currency} is finer than the currency's smallest unit")
    return int(units)
