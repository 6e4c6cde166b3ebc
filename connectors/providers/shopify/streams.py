"""What can be read from and written to a shop."""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from connectors.providers.shopify import nodes, writing
from connectors.providers.shopify.client import GRAPHQL, InvalidVariables, ShopifyClient
from connectors.providers.shopify.listing import OVERLAP, Chunk, as_text, by_ids, chunks
from connectors.providers.shopify.queries import (
    ALL_CUSTOMERS,
    ALL_PAYOUTS,
    CUSTOMERS,
    MUTATION_COST,
    ORDERS,
    REFUND,
    SHOP,
    SHOP_COST,
    Listing,
)
from connectors.providers.shopify.reading import (
    Raw,
    node_source,
    number_of,
    read_company,
    read_customer,
    read_order,
    read_payout,
    read_refund,
    source,
    text_source,
)
from connectors.sdk.client import Client
from connectors.sdk.errors import RecordRejected
from connectors.sdk.records import Company, Customer, Order, Payout, Refund
from connectors.sdk.streams import (
    Cursor,
    Draft,
    Field,
    Outcome,
    Page,
    RejectedRow,
    Request,
    SourceRecord,
    Stream,
    WritableStream,
    Written,
)

_LINE_FIELDS = (
    Field("lines", "Items", "lines"),
    Field("lines.kind", "Kind of line", "choice", "Product, shipping, tip, gift card, duties, fee or rounding"),
    Field("lines.description", "Product"),
    Field("lines.quantity", "Quantity", "number"),
    Field("lines.amount", "Line total", "money", "After discounts; with tax if the shop's prices include it"),
    Field("lines.discount_amount", "Line discount", "money"),
    Field("lines.sku", "SKU"),
    Field("lines.taxes.name", "Tax", hint="Such as VAT or CA State Tax"),
    Field("lines.taxes.rate", "Tax rate", "number"),
    Field("lines.taxes.amount", "Line tax", "money"),
)
_PAYMENT_FIELDS = (
    Field("payments", "Transactions", "lines"),
    Field("payments.method", "Payment gateway", "choice", "Such as Shopify Payments, PayPal or Cash"),
    Field("payments.amount", "Transaction amount", "money"),
    Field("payments.paid_at", "Transaction date", "datetime"),
    Field("payments.fee_amount", "Shopify Payments fee", "money"),
)
_CUSTOMER_FIELDS = (
    Field("customer", "Customer", "party"),
    Field("customer.name", "Customer name"),
    Field("customer.email", "Contact email"),
    Field("customer.country", "Billing country"),
)


def _client(client: Client) -> ShopifyClient:
    assert isinstance(client, ShopifyClient)
    return client


def _page(
    read: Iterable[SourceRecord | RejectedRow], cursor: Cursor, total: int | None = None, is_last: bool = True
) -> Page:
    found = list(read)
    return Page(
        records=tuple(row for row in found if isinstance(row, SourceRecord)),
        rejected=tuple(row for row in found if isinstance(row, RejectedRow)),
        cursor=cursor,
        total=total,
        is_last=is_last,
    )


#: How most orders say so. In a text of theirs its quotation marks would be escaped.
_NO_REFUNDS = '"refunds":[]'
#: So many are asked for well within the time a worker may go without keeping anything.
REFUNDS_AT_ONCE = 120
#: So many may wait while orders are read on, so that the file of a bulk operation is left and gone on with rarely.
REFUNDS_WAITING = 1200


class ListedStream(Stream):
    """A type with a list of its own: `page_size` rows of a bulk operation's file make a page."""

    listing: ClassVar[Listing]
    page_size = 2000
    overlap: ClassVar[dt.timedelta] = OVERLAP
    deletes: ClassVar[Literal["flag", "feed", "listing", "never"]] = "never"

    @abstractmethod
    def row(self, row: str) -> SourceRecord | RejectedRow:
        """One row of the list."""

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        shop = _client(client)
        for rows, going_on, total, is_last in self.listed(shop, cursor):
            yield _page(map(self.row, rows), going_on, total, is_last)
            del rows  # while the next ones are gathered

    def listed(self, client: ShopifyClient, cursor: Cursor | None) -> Iterator[Chunk]:
        return chunks(client, self.listing, cursor, size=self.page_size, overlap=self.overlap)

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        shop = _client(client)
        return _page(map(self.row, as_text(by_ids(shop, self.listing.shape, external_ids))), {})


class Orders(ListedStream):
    """Refunds come with their orders: a refund changes its order, and Shopify has no list of refunds."""

    data_type = "order"
    label = "Orders"
    record = Order
    listing = ORDERS
    deletes = "flag"
    fields = (
        Field("number", "Order"),
        Field("placed_at", "Date", "datetime"),
        Field("updated_at", "Updated", "datetime"),
        Field("status", "Payment status", "choice"),
        Field("currency", "Store currency", "choice"),
        Field("total", "Total", "money"),
        Field("tax_total", "Taxes", "money"),
        Field("discount_total", "Discounts", "money"),
        Field("shipping_total", "Shipping", "money"),
        Field("taxes_included", "Prices include tax", "flag"),
        Field("is_test", "Test order", "flag"),
        *_CUSTOMER_FIELDS,
        *_LINE_FIELDS,
        *_PAYMENT_FIELDS,
        Field("country", "Shipping country", "choice"),
        Field("channel", "Channel", "choice", "Such as web, pos or draft order"),
        Field("tags", "Tags"),
        Field("note", "Notes"),
    )

    def row(self, row: str) -> SourceRecord | RejectedRow:
        return node_source(row, nodes.ORDER, read_order)

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        """Refunds wait until they fill their queries: the cursor holds them (`refunds`), and that they are asked for before any
        further order (`is_due`)."""
        shop, place = _client(client), dict(cursor or {})
        waiting, is_due = place.pop("refunds", []), place.pop("is_due", False)
        if is_due:
            is_listed = "bulk" not in place and "after" not in place
            waiting = yield from _refund_pages(shop, waiting, place, is_last=is_listed)
            if is_listed:
                return
        for rows, going_on, total, is_last in self.listed(shop, place or None):
            waiting = [*waiting, *_refunds_of(rows)]
            is_due = bool(waiting) and (is_last or len(waiting) >= REFUNDS_WAITING)
            kept = {**going_on, **_kept(waiting, is_due=is_due)}
            yield _page(map(self.row, rows), kept, total, is_last and not waiting)
            del rows  # while the next ones are gathered
            if is_due:
                waiting = yield from _refund_pages(shop, waiting, going_on, is_last=is_last)

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        """With their refunds."""
        shop = _client(client)
        orders = as_text(by_ids(shop, self.listing.shape, external_ids))
        refunds = by_ids(shop, REFUND, _refunds_of(orders))
        return _page([*map(self.row, orders), *_read_refunds(refunds)], {})


def _refunds_of(orders: Iterable[str]) -> list[str]:
    """The refunds of these orders, which neither a page nor a bulk operation may list in full."""
    refunded = (nodes.WITH_REFUNDS.decode(order) for order in orders if _NO_REFUNDS not in order)
    return [number_of(refund.id) for order in refunded for refund in order.refunds]


def _read_refunds(found: Sequence[Raw]) -> list[SourceRecord | RejectedRow]:
    return [node_source(row, nodes.REFUND, read_refund) for row in as_text(found)]


def _kept(waiting: Sequence[str], *, is_due: bool) -> Cursor:
    """What a cursor says of refunds that wait."""
    return {"refunds": list(waiting), **({"is_due": True} if is_due else {})} if waiting else {}


def _refund_pages(
    client: ShopifyClient, waiting: list[str], place: Cursor, *, is_last: bool
) -> Generator[Page, None, list[str]]:
    """Refunds in full queries, at the end of a listing all that are left. Answers those that wait on."""
    while len(waiting) >= (1 if is_last else REFUND.most):
        asked = min(REFUNDS_AT_ONCE, len(waiting) if is_last else len(waiting) // REFUND.most * REFUND.most)
        found, waiting = by_ids(client, REFUND, waiting[:asked]), waiting[asked:]
        is_due = is_last or len(waiting) >= REFUND.most
        kept = {**place, **_kept(waiting, is_due=is_due)}
        yield _page(_read_refunds(found), kept, is_last=is_last and not waiting)
    return waiting


class Refunds(Stream):
    data_type = "refund"
    label = "Refunds"
    record = Refund
    page_size = 250
    deletes = "never"
    carried_by = "order"
    fields = (
        Field("order_number", "Order"),
        Field("refunded_at", "Date", "datetime"),
        Field("updated_at", "Updated", "datetime"),
        Field("currency", "Store currency", "choice"),
        Field("total", "Refund total", "money"),
        Field("tax_total", "Taxes", "money"),
        Field("taxes_included", "Prices include tax", "flag"),
        Field("is_test", "Test order", "flag"),
        *_CUSTOMER_FIELDS,
        *(field for field in _LINE_FIELDS if field.path != "lines.discount_amount"),
        *_PAYMENT_FIELDS,
        Field("reason", "Reason for refund"),
        Field("country", "Shipping country", "choice"),
    )

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        """Refunds arrive in the pages of the orders; Shopify lists them nowhere else."""
        yield _page((), cursor or {})

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        return _page(_read_refunds(by_ids(_client(client), REFUND, external_ids)), {})


class Payouts(ListedStream):
    """A payout has no time of change, so those of the last month are read again for their status."""

    data_type = "payout"
    label = "Payouts"
    record = Payout
    listing = ALL_PAYOUTS
    overlap = dt.timedelta(days=30)
    poll_seconds = 3600
    fields = (
        Field("number", "Payout ID"),
        Field("paid_date", "Payout date", "date"),
        Field("status", "Status", "choice"),
        Field("currency", "Currency", "choice"),
        Field("gross", "Charges", "money"),
        Field("refunds", "Refunds", "money"),
        Field("adjustments", "Adjustments", "money", "Disputes, reserves, advances and retried payouts"),
        Field("fees", "Fees", "money"),
        Field("net", "Total", "money"),
        Field("bank_reference", "Trace ID", hint="The bank's reference of the transfer"),
    )

    def row(self, row: str) -> SourceRecord | RejectedRow:
        return text_source(row, read_payout, "issuedAt")


class Customers(ListedStream, WritableStream):
    data_type = "customer"
    label = "Customers"
    record = Customer
    listing = ALL_CUSTOMERS
    batch_size = 50
    cannot_empty = frozenset({"address"})  # Shopify does not let a default address be taken away
    fields = (
        Field("name", "Name"),
        Field("email", "Email"),
        Field("phone", "Phone number"),
        Field("company", "Company"),
        Field("updated_at", "Updated", "datetime"),
        Field("address.line1", "Address"),
        Field("address.line2", "Apartment, suite, etc."),
        Field("address.city", "City"),
        Field("address.region", "State, county or region"),
        Field("address.postal_code", "Postal code"),
        Field("address.country", "Country/region", "choice"),
    )

    def row(self, row: str) -> SourceRecord | RejectedRow:
        return text_source(row, read_customer)

    def request(self, client: Client, drafts: Sequence[Draft], *, key: str) -> Request:
        """A draft with neither e-mail address nor phone number is looked up before, as nothing else would keep it from being created
        twice."""
        nameless = [draft for draft in drafts if not _is_unique(draft)]
        found = self.find(client, nameless) if nameless else {}
        decided = {place: found[draft.key] for place, draft in enumerate(drafts) if draft.key in found}
        return replace(self.preview(client, [draft for draft in drafts if draft.key not in found]), decided=decided)

    def preview(self, client: Client, drafts: Sequence[Draft]) -> Request:
        path = urlsplit(client.url("admin", GRAPHQL)).path
        content = writing.creation([writing.new_customer(draft) for draft in drafts])
        return Request(method="POST", path=path, content=content)

    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        """Shopify takes an e-mail address or phone number once, so a repetition is refused; then it is looked up."""
        shop = _client(client)
        new = [draft for place, draft in enumerate(drafts) if place not in request.decided]
        outcomes = _created(shop, request.content, [draft.key for draft in new]) if new else {}
        repeated = [draft for draft in new if _is_duplicate(outcomes[draft.key])]
        outcomes |= self.find(client, repeated) if repeated else {}
        return request.outcomes((outcomes[draft.key] for draft in new), len(drafts))

    def update(self, client: Client, external_id: str, draft: Draft, *, version: str) -> Outcome:
        """Shopify has no locking, so the version is compared just before the write."""
        shop = _client(client)
        found = by_ids(shop, CUSTOMERS, [external_id])
        if not found:
            return RecordRejected("This customer no longer exists in Shopify.", code="missing_reference")
        current = source(found[0], read_customer)
        if version and isinstance(current, SourceRecord) and current.version != version:
            return RecordRejected("This customer was changed in Shopify meanwhile.", code="stale")
        address_id = (found[0]["defaultAddress"] or {}).get("id", "")
        body = writing.update_body(external_id, writing.customer_of(draft.document), address_id)
        answer = shop.graphql(body["query"], body["variables"], cost=2 * MUTATION_COST, is_write=True)
        errors = [error for result in answer.values() for error in result["userErrors"]]
        if errors:
            return writing.refusal(errors)
        return _written(shop, by_ids(shop, CUSTOMERS, [external_id])[0])

    def void(
        self, client: Client, external_ids: Sequence[str], *, versions: Mapping[str, str] | None = None
    ) -> list[Outcome]:
        """Customers are deleted; Shopify keeps those with orders."""
        shop = _client(client)
        body = writing.delete_body(external_ids)
        cost = len(external_ids) * MUTATION_COST
        answer = shop.graphql(body["query"], body["variables"], cost=cost, is_write=True)
        return [_deleted(answer[f"c{place}"], id) for place, id in enumerate(external_ids)]

    def find(self, client: Client, drafts: Sequence[Draft]) -> dict[str, Written]:
        shop = _client(client)
        keys = {draft.reference: draft.key for draft in drafts if draft.reference}
        references = list(keys)
        portions = [references[start : start + self.batch_size] for start in range(0, len(keys), self.batch_size)]
        tagged = [node for some in portions for node in _tagged(shop, some)]
        return {keys[tag]: _written(shop, node) for node in tagged for tag in node["tags"] if tag in keys}


def _tagged(shop: ShopifyClient, tags: Sequence[str]) -> list[Raw]:
    asked = " OR ".join(f"tag:'{_quoted(tag)}'" for tag in tags)
    first = min(len(tags), CUSTOMERS.most)
    answer = shop.graphql(ALL_CUSTOMERS.page, {"first": first, "query": asked}, cost=ALL_CUSTOMERS.page_cost(first))
    nodes: list[Raw] = answer["customers"]["nodes"]
    return nodes


def _is_unique(draft: Draft) -> bool:
    customer = writing.customer_of(draft.document)
    return bool(customer.email or customer.phone)


def _is_duplicate(outcome: Outcome) -> bool:
    return isinstance(outcome, RecordRejected) and outcome.code == "duplicate"


def _created(shop: ShopifyClient, content: bytes, keys: Sequence[str]) -> dict[str, Outcome]:
    """By posting key. A value Shopify cannot even read fails the whole call, so the customers are then sent one by one."""
    try:
        answer = shop.send(content, cost=len(keys) * MUTATION_COST, is_write=True)
    except InvalidVariables as error:
        if len(keys) > 1:
            alone = zip(keys, writing.each_alone(content), strict=True)
            return {key: _created(shop, one, [key])[key] for key, one in alone}
        return {keys[0]: RecordRejected(error.user_message, detail=error.detail)}
    results = {key: answer[f"c{place}"] for place, key in enumerate(keys)}
    return {
        key: writing.refusal(result["userErrors"]) if result["userErrors"] else _written(shop, result["customer"])
        for key, result in results.items()
    }


def _written(shop: ShopifyClient, raw: Raw) -> Written:
    current = source(raw, read_customer)
    number = number_of(raw["id"])
    store = shop.access.organisation_id.removesuffix(".myshopify.com")
    return Written(
        external_id=number,
        number=raw["displayName"],
        version=current.version if isinstance(current, SourceRecord) else "",
        url=f"https://admin.shopify.com/store/{store}/customers/{number}",
        raw=raw,
        record=current if isinstance(current, SourceRecord) else None,
    )


def _deleted(result: dict[str, Any], external_id: str) -> Outcome:
    if result["userErrors"]:
        return writing.refusal(result["userErrors"])
    return Written(external_id=external_id, raw=result)


def _quoted(reference: str) -> str:
    return reference.replace("\\", "\\\\").replace("'", "\\'")


class CompanyStream(Stream):
    data_type = "company"
    label = "Store"
    record = Company
    page_size = 1
    deletes = "never"
    poll_seconds = 86400
    fields = (
        Field("name", "Store name"),
        Field("base_currency", "Store currency", "choice"),
        Field("country", "Country/region", "choice"),
        Field("time_zone", "Time zone", "choice"),
    )

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        raw = _client(client).graphql(SHOP, cost=SHOP_COST)["shop"]
        yield _page([_company(raw)], {"updated_at": raw["updatedAt"]}, 1)

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        found = next(self.pages(client, None))
        return _page([row for row in found.records if row.external_id in external_ids], {})


def _company(raw: Raw) -> SourceRecord | RejectedRow:
    return source({**raw, "id": raw["myshopifyDomain"]}, read_company)


STREAMS: tuple[Stream, ...] = (Orders(), Refunds(), Payouts(), Customers(), CompanyStream())
