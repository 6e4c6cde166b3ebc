"""Stripe against the contract, and what only Stripe has."""

from __future__ import annotations

from connectors.testing.contract import ConnectorContract


class TestStripe(ConnectorContract):
    slug = "stripe"
    # A charge knows its sum and nothing of what was sold.
    not_kept = {
        "order": frozenset({"tax_total", "shipping_total", "lines"}),
        "refund": frozenset({"tax_total", "lines"}),
    }
