"""How a simulated company works out a sales document: lines, tax per rate, totals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from connectors.providers.quickbooks.simulator_faults import Faulted, business, invalid_value, missing

Json = dict[str, Any]
CENT = Decimal("0.01")
ZERO = Decimal(0)
#: A quantity or price of nothing counts as not told: Intuit's callers send zeros for it.
UNTOLD = (None, "", 0)


def amount(value: Any, name: str) -> Decimal:
    """An amount as sent: a number, or digits in a text."""
    try:
        return Decimal(value) if not isinstance(value, bool) else _not_an_amount(name, value)
    except (InvalidOperation, TypeError, ValueError) as error:
        raise invalid_value(name, value) from error


def _not_an_amount(name: str, value: Any) -> Decimal:
    raise invalid_value(name, value)


def rounded(value: Decimal) -> Decimal:
    return value.quantize(CENT, ROUND_HALF_UP)


@dataclass(frozen=True)
class Rate:
    """One tax rate of a code."""

    id: str
    percent: Decimal


@dataclass(frozen=True)
class TaxedLine:
    net: Decimal
    gross: Decimal | None
    rates: tuple[Rate, ...]


@dataclass(frozen=True)
class Totals:
    subtotal: Decimal
    tax: Decimal
    total: Decimal
    tax_lines: list[Json]


def net_of(gross: Decimal, rates: tuple[Rate, ...], said: Decimal) -> Decimal:
    """The part of `gross` before tax; the caller's own figure stands when it is only a rounding away."""
    percent = sum((rate.percent for rate in rates), ZERO)
    computed = rounded(gross / (1 + percent / 100))
    return said if abs(said - computed) <= 2 * CENT else computed


def totals(lines: Iterable[TaxedLine], *, mode: str, override: Decimal | None) -> Totals:
    """Tax is rounded once per rate. An override moves the last tax line, and needs a line that is taxed."""
    lines = list(lines)
    subtotal = sum((line.net for line in lines), ZERO)
    tax_lines = _tax_lines(lines, mode)
    tax = sum((line["Amount"] for line in tax_lines), ZERO)
    if override is not None and override != tax:
        if not tax_lines:
            raise business("Business Validation Error: TotalTax was given, but no line is taxable.")
        tax_lines[-1]["Amount"] += override - tax
        tax_lines[-1]["TaxLineDetail"]["OverrideDeltaAmount"] = override - tax
        tax = override
    gross = sum((line.gross if line.gross is not None else line.net for line in lines), ZERO)
    total = gross if mode == "TaxInclusive" else subtotal + tax
    if mode == "TaxInclusive":
        subtotal = total - tax
    if total < 0:
        raise business("Business Validation Error: The transaction amount must be 0 or greater.")
    return Totals(subtotal, tax, total, tax_lines)


def _tax_lines(lines: list[TaxedLine], mode: str) -> list[Json]:
    groups: dict[str, list[tuple[TaxedLine, Rate]]] = {}
    for line in lines:
        for rate in line.rates:
            groups.setdefault(rate.id, []).append((line, rate))
    return [_tax_line(pairs, mode) for pairs in groups.values()]


def _tax_line(pairs: list[tuple[TaxedLine, Rate]], mode: str) -> Json:
    rate = pairs[0][1]
    nets = sum((line.net for line, _ in pairs), ZERO)
    if mode == "TaxInclusive":
        tax = sum((line.gross or line.net for line, _ in pairs), ZERO) - nets
    else:
        tax = rounded(nets * rate.percent / 100)
    return {
        "Amount": tax,
        "DetailType": "TaxLineDetail",
        "TaxLineDetail": {
            "TaxRateRef": {"value": rate.id},
            "PercentBased": True,
            "TaxPercent": rate.percent,
            "NetAmountTaxable": nets,
        },
    }


def line_amount(line: Json) -> Decimal:
    """The line's amount, which has to agree with quantity times price where both are told."""
    detail = line.get("SalesItemLineDetail") or {}
    if line.get("Amount") in (None, ""):
        raise missing("Line.Amount")
    total = amount(line["Amount"], "Line.Amount")
    if detail.get("Qty") not in UNTOLD and detail.get("UnitPrice") not in UNTOLD:
        product = amount(detail["Qty"], "Qty") * amount(detail["UnitPrice"], "UnitPrice")
        if rounded(product) != rounded(total):
            raise Faulted(
                "6070",
                "Amount calculation incorrect in the request",
                f"Amount calculation incorrect in the request : Amount is not equal to UnitPrice * Qty. "
                f"Supplied value:{total}",
            )
    return total
