"""What is read from Stripe, under the names its dashboard uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from connectors.providers.stripe import reading, settling
from connectors.providers.stripe.client import StripeClient
from connectors.providers.stripe.listing import MOST_PER_PAGE, Body, Listing
from connectors.providers.stripe.writing import CustomerWriting
from connectors.sdk.client import Client
from connectors.sdk.records import BalanceTransaction, Company, Customer, Order, Payout, Refund
from connectors.sdk.streams import Cursor, Field, Page, SourceRecord, Stream


class Payments(Listing):
    """Charges. What was never captured has no payment; a payment intent without a charge is not a sale yet."""

    data_type = "order"
    label = "Payments"
    record = Order
    path = "/v1/charges"
    object_type = "charge"
    expand = ("balance_transaction", "customer")
    deletes = "never"
    event_types = (
        "charge.succeeded",
        "charge.captured",
        "charge.updated",
        "charge.refunded",
        "charge.pending",
        "charge.failed",
        "charge.expired",
    )
    fields = (
        Field("number", "Order number", hint="The payment's metadata “order_number”, else its ID"),
        Field("id", "Payment ID"),
        Field("placed_at", "Date", "datetime"),
        Field("total", "Amount", "money"),
        Field("currency", "Currency"),
        Field("status", "Status", "choice"),
        Field("note", "Description"),
        Field("lines", "Payment", "lines", hint="One line without tax: Stripe does not know what was sold"),
        Field("lines.description", "Description of the line"),
        Field("lines.amount", "Amount of the line", "money"),
        Field("tax_total", "Tax", "money", hint="Always 0: a payment has no tax split"),
        Field("payments.method", "Payment method", "choice"),
        Field("payments.amount", "Amount captured", "money"),
        Field("payments.paid_at", "Captured on", "datetime"),
        Field("payments.fee_amount", "Fees", "money"),
        Field("customer", "Customer", "party"),
        Field("customer.name", "Billing name"),
        Field("customer.email", "Billing email"),
        Field("country", "Billing country"),
        Field("is_test", "Test data", "flag"),
        Field("custom", "Metadata"),
    )

    def read(self, client: StripeClient, body: Body) -> SourceRecord:
        return reading.order(body)


class Refunds(Listing):
    data_type = "refund"
    label = "Refunds"
    record = Refund
    path = "/v1/refunds"
    object_type = "refund"
    expand = ("balance_transaction", "charge", "charge.customer")
    deletes = "flag"
    event_types = ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated")
    fields = (
        Field("id", "Refund ID"),
        Field("order_number", "Order number"),
        Field("order_id", "Payment ID"),
        Field("refunded_at", "Date", "datetime"),
        Field("total", "Amount refunded", "money"),
        Field("currency", "Currency"),
        Field("reason", "Reason", "choice"),
        Field("lines", "Refund", "lines"),
        Field("lines.description", "Description of the line"),
        Field("lines.amount", "Amount of the line", "money"),
        Field("tax_total", "Tax", "money", hint="Always 0: a refund has no tax split"),
        Field("payments.method", "Payment method", "choice"),
        Field("payments.amount", "Amount given back", "money"),
        Field("customer", "Customer", "party"),
        Field("customer.name", "Billing name"),
        Field("customer.email", "Billing email"),
        Field("country", "Billing country"),
        Field("custom", "Metadata"),
    )

    def read(self, client: StripeClient, body: Body) -> SourceRecord:
        return reading.refund(body)


class Payouts(Listing):
    """A transaction does not name its payout, so what a payout is made of takes one listing each."""

    data_type = "payout"
    label = "Payouts"
    record = Payout
    path = "/v1/payouts"
    object_type = "payout"
    expand = ("balance_transaction",)
    deletes = "never"
    poll_seconds = 3600
    event_types = (
        "payout.created",
        "payout.updated",
        "payout.paid",
        "payout.failed",
        "payout.canceled",
        "payout.reconciliation_completed",
    )
    fields = (
        Field("number", "Payout ID"),
        Field("paid_date", "Arrive by", "date"),
        Field("net", "Amount", "money"),
        Field("currency", "Currency"),
        Field("gross", "Payments", "money"),
        Field("fees", "Fees", "money"),
        Field("refunds", "Refunds", "money"),
        Field("adjustments", "Adjustments", "money", hint="Disputes, transfers, reserves and failed payouts"),
        Field("status", "Status", "choice"),
        Field("bank_reference", "Trace ID", hint="Or the statement descriptor, while there is no trace ID"),
        Field("is_test", "Test data", "flag"),
    )

    def read(self, client: StripeClient, body: Body) -> SourceRecord:
        if not settling.is_settled(body):
            return settling.payout(body, settling.whole(body))
        currency = str(body["currency"]).upper()
        return settling.payout(body, settling.makeup(self._settled(client, str(body["id"])), currency))

    def _settled(self, client: StripeClient, payout_id: str) -> Iterator[Body]:
        after: tuple[tuple[str, str], ...] = ()
        while True:
            params = (("payout", payout_id), ("limit", str(MOST_PER_PAGE)), *after)
            answer = client.get("/v1/balance_transactions", params)
            yield from answer["data"]
            if not answer["has_more"]:
                return
            after = (("starting_after", answer["data"][-1]["id"]),)


class BalanceTransactions(Listing):
    """Append only: nothing changes once it is there, so no events are asked for."""

    data_type = "balance_transaction"
    label = "Balance transactions"
    record = BalanceTransaction
    path = "/v1/balance_transactions"
    object_type = "balance_transaction"
    deletes = "never"
    poll_seconds = 3600
    fields = (
        Field("id", "Transaction ID"),
        Field("kind", "Type", "choice"),
        Field("occurred_at", "Created", "datetime"),
        Field("amount", "Gross", "money"),
        Field("fee", "Fee", "money"),
        Field("net", "Net", "money"),
        Field("currency", "Currency"),
        Field("source_id", "Source"),
        Field("payout_id", "Payout ID", hint="Only on the payout's own transaction"),
    )

    def read(self, client: StripeClient, body: Body) -> SourceRecord:
        return reading.balance_transaction(body)


class Customers(CustomerWriting):
    data_type = "customer"
    label = "Customers"
    record = Customer
    deletes = "feed"
    event_types = (
        "customer.created",
        "customer.updated",
        "customer.deleted",
    )
    fields = (
        Field("id", "Customer ID"),
        Field("name", "Name"),
        Field("email", "Email"),
        Field("phone", "Phone"),
        Field("company", "Business name"),
        Field("tax_number", "Tax ID"),
        Field("currency", "Currency"),
        Field("address.line1", "Address line 1"),
        Field("address.line2", "Address line 2"),
        Field("address.city", "City"),
        Field("address.region", "State, county or region"),
        Field("address.postal_code", "Postal code"),
        Field("address.country", "Country"),
        Field("custom", "Metadata"),
    )


class Account(Stream):
    """The Stripe account itself, one small call."""

    data_type = "company"
    label = "Business"
    record = Company
    page_size = 1
    deletes = "never"
    poll_seconds = 86_400
    fields = (
        Field("name", "Business name"),
        Field("base_currency", "Default currency"),
        Field("country", "Country"),
        Field("time_zone", "Time zone"),
    )

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        yield Page(records=(self._read(client),), cursor={}, is_last=True)

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        found = self._read(client)
        records = (found,) if found.external_id in external_ids else ()
        return Page(records=records, cursor={}, is_last=True)

    def _read(self, client: Client) -> SourceRecord:
        assert isinstance(client, StripeClient)
        body: Any = client.get("/v1/account")
        return reading.company(body)


STREAMS = (Payments(), Refunds(), Payouts(), BalanceTransactions(), Customers(), Account())
