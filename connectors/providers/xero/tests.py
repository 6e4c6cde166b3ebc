from __future__ import annotations

from connectors.testing.contract import ConnectorContract


class TestXero(ConnectorContract):
    slug = "xero"
    unpaged = frozenset({"ledger_account", "bank_transfer"})
