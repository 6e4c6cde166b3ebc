"""One authorised call to a shop: who asks, what they may see, and what happens on the side."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError

from connectors.providers.shopify.simulator_bulk import Export, export_of, lines
from connectors.providers.shopify.simulator_lists import matching
from connectors.providers.shopify.simulator_shop import Shop, stamp
from connectors.sdk.records import Record
from connectors.testing import Action
from connectors.testing.store import Body

RECENT = dt.timedelta(days=60)
FILE_LIFE = dt.timedelta(days=7)
BULK_SECONDS = 1.0
BULK_OBJECTS_PER_SECOND = 5000

#: Root field -> the scopes of which one is needed.
SCOPES: dict[str, tuple[str, ...]] = {
    "order": ("read_orders",),
    "orders": ("read_orders",),
    "ordersCount": ("read_orders",),
    "refund": ("read_orders",),
    "customer": ("read_customers",),
    "customers": ("read_customers",),
    "customersCount": ("read_customers",),
    "shopifyPaymentsAccount": ("read_shopify_payments_accounts", "read_shopify_payments"),
    "payouts": ("read_shopify_payments_payouts", "read_shopify_payments"),
    "customerCreate": ("write_customers",),
    "customerUpdate": ("write_customers",),
    "customerDelete": ("write_customers",),
    "customerAddressCreate": ("write_customers",),
    "customerAddressUpdate": ("write_customers",),
}
_ROOT_OF = {"Order": "orders", "Refund": "orders", "Customer": "customers", "ShopifyPaymentsPayout": "payouts"}


@dataclass
class Call:
    """`tell` sends a webhook: topic, type, body. `note` appends to the ledger. `root_url` is where files are found."""

    shop: Shop
    now: dt.datetime
    scopes: tuple[str, ...]
    speed: float
    root_url: str
    note: Callable[[Action, Record], None]
    tell: Callable[[str, str, Body], None]
    uninstall: Callable[[], None]

    def require(self, field: str) -> None:
        """Raises Shopify's ACCESS_DENIED."""
        needed = SCOPES.get(field, ())
        if not needed or set(needed) & set(self.scopes):
            return
        access = " or ".join(f"`{scope}`" for scope in needed)
        extensions = {
            "code": "ACCESS_DENIED",
            "documentation": "https://shopify.dev/api/usage/access-scopes",
            "requiredAccess": f"{access} access scope.",
        }
        raise GraphQLError(
            f"Access denied for {field} field. Required access: {access} access scope.", extensions=extensions
        )

    def visible(self, type_: str) -> list[Body]:
        """All objects of a type; orders older than 60 days need a scope of their own."""
        bodies = self.shop.all(type_).values()
        if type_ != "Order" or "read_all_orders" in self.scopes:
            return bodies
        return [body for body in bodies if body["createdAt"] >= stamp(self.now - RECENT)]

    def node(self, id: str) -> Body | None:
        """An object by its global id, if this call may see its type."""
        found = self.shop.node(id)
        if found is None:
            return None
        self.require(_ROOT_OF.get(found[0], ""))
        return found[1]

    # ------------------------------------------------------------------ bulk operations

    def bulk_status(self, operation: Body) -> Body:
        """The operation as it is by now: running for a while, then completed with its file."""
        if operation["completedAt"] is None:
            seconds = (self.now - operation["submitted_at"]).total_seconds() * self.speed
            export = export_of(operation["query"])
            bodies = self._exported(export)
            if seconds >= BULK_SECONDS + len(bodies) / BULK_OBJECTS_PER_SECOND:
                self._finish(operation, export, bodies)
            elif seconds > 0:
                operation["status"] = "RUNNING"
        elif operation["url"] and self.now - operation["submitted_at"] > FILE_LIFE:
            operation |= {"status": "EXPIRED", "url": None}
        return self.shop.put("BulkOperation", operation)

    def _exported(self, export: Export) -> list[Body]:
        type_ = export.plan.type
        found = matching(self.visible(type_), export.arguments.get("query"))
        return sorted(found, key=lambda body: str(body["id"]).rjust(60))

    def _finish(self, operation: Body, export: Export, bodies: list[Body]) -> None:
        operation["completedAt"] = stamp(self.now)
        try:
            for field in export.path:
                self.require(field)
        except GraphQLError:
            operation |= {"status": "FAILED", "errorCode": "ACCESS_DENIED"}
            return
        written = list(lines(export.plan, bodies, self.shop.field))
        operation |= {
            "status": "COMPLETED",
            "objectCount": str(len(written)),
            "rootObjectCount": str(len(bodies)),
        }
        if written:
            text = b"\n".join([*written, b""]).decode()
            name = f"{self.shop.domain}-{operation['id'].rpartition('/')[2]}.jsonl"
            self.shop.store["files"].put(name, {"text": text})
            operation |= {"fileSize": str(len(text.encode())), "url": f"{self.root_url}files/{name}"}
        self.tell("bulk_operations/finish", "BulkOperation", operation)


def count(found: list[Any], limit: int | None) -> Body:
    """Counts stop at their limit and say so."""
    most = 10_000 if limit is None else limit
    is_cut = len(found) > most
    return {"count": min(len(found), most), "precision": "AT_LEAST" if is_cut else "EXACT"}
