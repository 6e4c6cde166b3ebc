"""How few calls each provider's page and batch sizes allow, worked out from counts alone.

The sizes are the ones the connectors declare; a page or batch can not be larger than the provider lets it be.
"""

from __future__ import annotations

from collections.abc import Mapping

from connectors.registry import connector
from connectors.sdk.streams import WritableStream

Counts = Mapping[str, int]

#: Shopify's bulk operation: submit, ask whether it is done, download the file.
BULK = 3
SHOPIFY_PAGE = 250
#: A query may cost 1,000 points; a refund with its lines, shipping, adjustments and transactions costs 82 of them.
SHOPIFY_REFUNDS_PER_QUERY = 12
#: What an invoice needs in QuickBooks besides itself: the company's items once, the customers' names once.
QUICKBOOKS_LOOK_UPS = 2
#: QuickBooks' sales lines name items, not ledger accounts: a company that has none for an account gets one, so many in a call.
QUICKBOOKS_ITEMS_PER_CALL = 30


def pages(count: int, size: int) -> int:
    """Even an empty list takes a call to know that it is empty."""
    return max(1, batches(count, size))


def batches(count: int, size: int) -> int:
    return -(-count // size)


def to_read(slug: str, counts: Counts, payout_sizes: Mapping[str, int]) -> int:
    """Every data type a connection reads, whole, once. `payout_sizes` are the transactions behind each payout."""
    sizes = {found.data_type: found.page_size for found in connector(slug).streams if not found.carried_by}
    if slug == "shopify":
        listed = sum(min(BULK, pages(counts.get(name, 0), SHOPIFY_PAGE)) for name in sizes)
        return listed + batches(counts.get("refund", 0), SHOPIFY_REFUNDS_PER_QUERY)
    listed = sum(pages(counts.get(name, 0), size) for name, size in sizes.items())
    return listed + sum(pages(size, sizes["payout"]) for size in payout_sizes.values())


def to_write(slug: str, counts: Counts, new_customers: int, ledger_accounts: int) -> int:
    """Every document in full batches. `new_customers` are those the ledger does not know, `ledger_accounts` those that lines are
    booked on; Xero takes both with the document."""
    sizes = {
        found.data_type: found.batch_size for found in connector(slug).streams if isinstance(found, WritableStream)
    }
    written = sum(batches(count, sizes[name]) for name, count in counts.items())
    if slug == "quickbooks":
        new_items = batches(ledger_accounts, QUICKBOOKS_ITEMS_PER_CALL)
        return written + QUICKBOOKS_LOOK_UPS + new_items + batches(new_customers, sizes["customer"])
    return written
