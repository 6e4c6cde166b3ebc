"""Customers written to Stripe: one call each, marked in their metadata so that they can be found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from connectors.providers.stripe import reading
from connectors.providers.stripe.client import StripeClient
from connectors.providers.stripe.listing import Body, Listing
from connectors.sdk.client import Client
from connectors.sdk.errors import RecordRejected
from connectors.sdk.records import Address, Customer
from connectors.sdk.streams import (
    FORM,
    Draft,
    Outcome,
    Request,
    SourceRecord,
    WritableStream,
    Written,
    form_content,
)

KEY, REFERENCE = "tieout_key", "tieout_reference"
SEARCH_LAG_SECONDS = 600  # the search index is minutes behind at worst
MOST_CLAUSES = 10

Form = list[tuple[str, str]]


class CustomerWriting(Listing, WritableStream):
    path = "/v1/customers"
    cannot_empty = frozenset({"tax_number"})  # a tax ID is an object of its own, which we only read
    object_type = "customer"
    expand = ("tax_ids",)
    batch_size = 1

    def read(self, client: StripeClient, body: Body) -> SourceRecord:
        return reading.customer(body)

    def preview(self, client: Client, drafts: Sequence[Draft]) -> Request:
        (draft,) = drafts
        return Request(method="POST", path=self.path, content=form_content(creation(draft)), content_type=FORM)

    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        """Known under `key` for a day."""
        assert isinstance(client, StripeClient)
        return [_outcome(client, self.path, request.content, key=key)]

    def update(self, client: Client, external_id: str, draft: Draft, *, version: str) -> Outcome:
        """Stripe has no version to lock on, so the customer is read once more just before."""
        assert isinstance(client, StripeClient)
        current = self._one(client, external_id)
        if current is None or current.get("deleted"):
            return RecordRejected("The customer was deleted in Stripe.", code="missing_reference")
        if version and reading.version_of(current) != version:
            return RecordRejected(
                "The customer was changed in Stripe in the meantime. It is read again first.", code="stale"
            )
        form = [*values(completed(_customer(draft), current)), ("expand[0]", "tax_ids")]
        key = f"{draft.key}-{version}" if version else ""
        return _outcome(client, f"{self.path}/{external_id}", form_content(form), key=key)

    def void(
        self, client: Client, external_ids: Sequence[str], *, versions: Mapping[str, str] | None = None
    ) -> list[Outcome]:
        assert isinstance(client, StripeClient)
        return [_deleted(client, f"{self.path}/{external_id}", external_id) for external_id in external_ids]

    def find(self, client: Client, drafts: Sequence[Draft]) -> dict[str, Written]:
        """The newest customers are listed, because the search does not know them yet; the others are searched for."""
        assert isinstance(client, StripeClient)
        wanted = {draft.key: draft for draft in drafts}
        found: dict[str, Written] = {}
        self._find_new(client, wanted, found)
        references = [draft.reference for key, draft in wanted.items() if key not in found]
        for start in range(0, len(references), MOST_CLAUSES):
            query = " OR ".join(clause(one) for one in references[start : start + MOST_CLAUSES])
            params = [("query", query), ("limit", "100"), *self._expansions("data.")]
            _collect(client.get(f"{self.path}/search", params)["data"], wanted, found)
        return found

    def _find_new(self, client: StripeClient, wanted: dict[str, Draft], found: dict[str, Written]) -> None:
        after = ""
        while len(found) < len(wanted):
            answer = self._list(client, since=client.now - SEARCH_LAG_SECONDS, after=after)
            _collect(answer["data"], wanted, found)
            if not answer["has_more"]:
                return
            after = answer["data"][-1]["id"]


def creation(draft: Draft) -> Form:
    """The form that creates a customer."""
    marks = [(f"metadata[{KEY}]", draft.key), (f"metadata[{REFERENCE}]", draft.reference)]
    return [*values(_customer(draft)), *marks, ("expand[0]", "tax_ids")]


def completed(customer: Customer, current: Body) -> Customer:
    """The customer with what is not set of its address as Stripe has it: an address is replaced as a whole."""
    if customer.address == Address():
        return customer
    held = msgspec.structs.asdict(reading.address(current.get("address") or {}))
    given = {name: value for name, value in msgspec.structs.asdict(customer.address).items() if value}
    return msgspec.structs.replace(customer, address=Address(**{**held, **given}))


def values(customer: Customer) -> Form:
    """The fields that are set, and those to be emptied: sent empty, Stripe takes the old value away."""
    address = customer.address
    form = [
        ("name", customer.name),
        ("email", customer.email),
        ("phone", customer.phone),
        ("business_name", customer.company),
        ("address[line1]", address.line1),
        ("address[line2]", address.line2),
        ("address[city]", address.city),
        ("address[state]", address.region),
        ("address[postal_code]", address.postal_code),
        ("address[country]", address.country),
    ]
    emptied = [(name, "") for name in ("email", "phone", "address") if name in customer.emptied]
    return [(name, value) for name, value in form if value] + emptied


def clause(reference: str) -> str:
    """One condition of a search, its value quoted."""
    quoted = reference.replace("\\", "\\\\").replace("'", "\\'")
    return f"metadata['{REFERENCE}']:'{quoted}'"


def written(body: Body) -> Written:
    id = str(body["id"])
    return Written(
        external_id=id,
        number=id,
        version=reading.version_of(body),
        url=f"https://dashboard.stripe.com/customers/{id}",
        raw=dict(body),
        record=reading.customer(body),
    )


def _customer(draft: Draft) -> Customer:
    assert isinstance(draft.document, Customer)
    return draft.document


def _outcome(client: StripeClient, path: str, form: bytes, *, key: str) -> Outcome:
    try:
        return written(client.post(path, form, key=key))
    except RecordRejected as refusal:
        return refusal


def _deleted(client: StripeClient, path: str, external_id: str) -> Outcome:
    """A customer already gone is as wanted."""
    try:
        answer = client.delete(path)
    except RecordRejected as refusal:
        if refusal.code != "missing_reference":
            return refusal
        return Written(external_id=external_id)
    return Written(external_id=external_id, raw=answer)


def _collect(bodies: Sequence[Any], wanted: dict[str, Draft], found: dict[str, Written]) -> None:
    for body in bodies:
        key = (body.get("metadata") or {}).get(KEY)
        if key in wanted:
            found[key] = written(body)
