"""How finely a currency is counted."""

from __future__ import annotations

from decimal import Decimal

CENT = Decimal("0.01")
#: ISO 4217: the currencies that have no hundredth part.
_UNITS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        Decimal(1),
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], Decimal("0.001")),
}


def minor_unit(currency: str) -> Decimal:
    """The smallest amount of it there is: a cent, a yen, a fils."""
    return _UNITS.get(currency, CENT)
