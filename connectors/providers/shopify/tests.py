from typing import Any

import msgspec

from connectors.sdk.records import Address, Record
from connectors.sdk.streams import Draft
from connectors.testing.contract import Bench, ConnectorContract
from connectors.testing.contract.setup import redraft


class TestShopify(ConnectorContract):
    slug = "shopify"
    settings = {"shop": "kestrel-and-co.myshopify.com"}
    no_bad_draft = frozenset()

    def sample(self, bench: Bench, data_type: str, position: int) -> Record:
        """Shopify lets a phone number belong to one customer only."""
        record: Any = super().sample(bench, data_type, position)
        if data_type == "customer":
            return msgspec.structs.replace(record, phone=f"+44207946{position:04d}")
        return record

    def bad_draft(self, draft: Draft) -> Draft:
        """A country Shopify's schema does not know fails the whole call, unless the connector sends the rest apart."""
        return redraft(draft, address=Address(line1="1 Nowhere Road", country="ZY"))
