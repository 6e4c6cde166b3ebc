"""The GraphQL this connector sends, with what each query costs in Shopify's points."""

from __future__ import annotations

from dataclasses import dataclass

_MONEY = "{ shopMoney { amount } }"
_DISCOUNTS = f"discountAllocations {{ allocatedAmountSet {_MONEY} }}"
_TAXES = f"taxLines {{ title rate channelLiable priceSet {_MONEY} }}"
_PLACES = (
    "customer { id displayName } billingAddress { name company countryCodeV2 } "
    "shippingAddress { name company countryCodeV2 }"
)
_TRANSACTION = (
    f"id kind status gateway formattedGateway processedAt amountSet {_MONEY} amountRoundingSet {_MONEY} "
    "fees { amount { amount currencyCode } }"
)
_ORDER_HEAD = "id legacyResourceId name currencyCode presentmentCurrencyCode taxesIncluded test email " + _PLACES

_ORDER = (
    _ORDER_HEAD
    + " processedAt createdAt updatedAt cancelledAt dutiesIncluded displayFinancialStatus sourceName tags note "
    + " ".join(
        f"{name} {_MONEY}"
        for name in (
            "totalPriceSet",
            "totalTaxSet",
            "totalDiscountsSet",
            "totalShippingPriceSet",
            "totalTipReceivedSet",
        )
    )
    + f" totalCashRoundingAdjustment {{ paymentSet {_MONEY} }}"
    + f" additionalFees {{ name price {_MONEY} {_TAXES} }}"
    + f" transactions {{ {_TRANSACTION} }} refunds {{ id }}"
)
_ITEM = (
    f"id name quantity sku isGiftCard originalTotalSet {_MONEY} {_DISCOUNTS} {_TAXES} "
    f"duties {{ price {_MONEY} {_TAXES} }}"
)
_SHIPPING = f"id title originalPriceSet {_MONEY} {_DISCOUNTS} {_TAXES}"
_REFUND = (
    f"id createdAt processedAt updatedAt note totalRefundedSet {_MONEY} duties {{ amountSet {_MONEY} }} "
    f"order {{ {_ORDER_HEAD} }}"
)
_REFUND_ITEM = f"id quantity subtotalSet {_MONEY} totalTaxSet {_MONEY} lineItem {{ name sku isGiftCard {_TAXES} }}"
_REFUND_SHIPPING = f"id subtotalAmountSet {_MONEY} taxAmountSet {_MONEY} shippingLine {{ title {_TAXES} }}"
_ADJUSTMENT = f"id reason amountSet {_MONEY} taxAmountSet {_MONEY}"
CUSTOMER = (
    "id legacyResourceId displayName createdAt updatedAt tags defaultEmailAddress { emailAddress } "
    "defaultPhoneNumber { phoneNumber } "
    "defaultAddress { id address1 address2 city company province provinceCode zip countryCodeV2 }"
)
_SUMMARY = (
    "chargesGross",
    "chargesFee",
    "refundsFeeGross",
    "refundsFee",
    "adjustmentsGross",
    "adjustmentsFee",
    "reservedFundsGross",
    "reservedFundsFee",
    "retriedPayoutsGross",
    "retriedPayoutsFee",
    "advanceGross",
    "advanceFees",
)
_PAYOUT = (
    "id legacyResourceId issuedAt status transactionType externalTraceId net { amount currencyCode } "
    f"summary {{ {' '.join(f'{name} {{ amount }}' for name in _SUMMARY)} }}"
)
SHOP = "query { shop { id name myshopifyDomain currencyCode ianaTimezone updatedAt shopAddress { countryCodeV2 } } }"
SHOP_COST = 2
MUTATION_COST = 10


@dataclass(frozen=True)
class Part:
    """A connection inside an object: read `at_once` with the object, the rest (rarely any) by follow-up calls of `step`."""

    field: str
    selection: str
    cost: int
    at_once: int
    step: int

    def inside(self, first: int, after: str = "") -> str:
        arguments = f"first: {first}{after}"
        return f"{self.field}({arguments}) {{ nodes {{ {self.selection} }} pageInfo {{ hasNextPage endCursor }} }}"

    @property
    def inside_cost(self) -> int:
        return 2 + self.at_once * self.cost


@dataclass(frozen=True)
class Shape:
    """What we read of one type. `scalar_cost` is the cost of one object without its `parts`; at most 1,000 points a query."""

    type: str
    selection: str
    scalar_cost: int
    parts: tuple[Part, ...] = ()

    @property
    def each(self) -> int:
        return self.scalar_cost + sum(part.inside_cost for part in self.parts)

    @property
    def most(self) -> int:
        """How many objects one query may ask for, with points to spare for the list around them."""
        return min(250, 990 // self.each)

    @property
    def paged(self) -> str:
        return f"{self.selection} {' '.join(part.inside(part.at_once) for part in self.parts)}"

    @property
    def bulk(self) -> str:
        inside = (f"{part.field} {{ edges {{ node {{ {part.selection} }} }} }}" for part in self.parts)
        return f"{self.selection} {' '.join(inside)}"

    @property
    def by_ids(self) -> str:
        return f"query($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on {self.type} {{ {self.paged} }} }} }}"

    def rest_of(self, part: Part) -> str:
        return (
            f"query($id: ID!, $after: String!) {{ node(id: $id) {{ ... on {self.type} {{ "
            f"{part.inside(part.step, ', after: $after')} }} }} }}"
        )


ORDER = Shape(
    "Order",
    _ORDER,
    31,
    (Part("lineItems", _ITEM, 15, 5, 60), Part("shippingLines", _SHIPPING, 9, 2, 100)),
)
REFUND = Shape(
    "Refund",
    _REFUND,
    10,
    (
        Part("refundLineItems", _REFUND_ITEM, 9, 4, 100),
        Part("refundShippingLines", _REFUND_SHIPPING, 9, 1, 100),
        Part("orderAdjustments", _ADJUSTMENT, 5, 1, 150),
        Part("transactions", _TRANSACTION, 7, 2, 100),
    ),
)
CUSTOMERS = Shape("Customer", CUSTOMER, 4)
PAYOUTS = Shape("ShopifyPaymentsPayout", _PAYOUT, 15)


@dataclass(frozen=True)
class Listing:
    """Where a type is listed: the connection's field, the time it is filtered by, and the count field if there is one."""

    shape: Shape
    field: str
    sort_key: str
    time_filter: str
    count: str = ""
    within: str = ""

    @property
    def page(self) -> str:
        listed = (
            f"{self.field}(first: $first, after: $after, query: $query, sortKey: {self.sort_key}) "
            f"{{ nodes {{ {self.shape.paged} }} pageInfo {{ hasNextPage endCursor }} }}"
        )
        counted = f"{self.count}(query: $query) {{ count }}" if self.count else ""
        inside = f"{self.within} {{ {listed} }}" if self.within else listed
        return f"query($first: Int!, $after: String, $query: String) {{ {counted} {inside} }}"

    def page_cost(self, first: int) -> int:
        return 2 + first * self.shape.each + (1 if self.count else 0) + (1 if self.within else 0)

    def bulk(self, since: str) -> str:
        arguments = f'(query: "{self.changed_since(since)}")' if since else ""
        listed = f"{self.field}{arguments} {{ edges {{ node {{ {self.shape.bulk} }} }} }}"
        return f"{{ {self.within} {{ {listed} }} }}" if self.within else f"{{ {listed} }}"

    def changed_since(self, since: str) -> str:
        return f"{self.time_filter}:>='{since}'"


ORDERS = Listing(ORDER, "orders", "UPDATED_AT", "updated_at", count="ordersCount")
ALL_CUSTOMERS = Listing(CUSTOMERS, "customers", "UPDATED_AT", "updated_at", count="customersCount")
ALL_PAYOUTS = Listing(PAYOUTS, "payouts", "ISSUED_AT", "issued_at", within="shopifyPaymentsAccount")

RUN_BULK = (
    "mutation($query: String!) { bulkOperationRunQuery(query: $query, groupObjects: true) "
    "{ bulkOperation { id status createdAt } userErrors { field message code } } }"
)
BULK_STATUS = "query($id: ID!) { bulkOperation(id: $id) { id status errorCode createdAt objectCount rootObjectCount url partialDataUrl } }"
BULK_STATUS_COST = 1
