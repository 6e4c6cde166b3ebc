"""Standard customers as Shopify's mutations, many to a call, and Shopify's refusals as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.providers.shopify.client import graphql_content
from connectors.providers.shopify.queries import CUSTOMER
from connectors.sdk.client import parse_json
from connectors.sdk.errors import RecordRejected
from connectors.sdk.records import Address, Customer, Record
from connectors.sdk.streams import Draft

_ANSWER = f"{{ customer {{ {CUSTOMER} }} userErrors {{ field message }} }}"


def creation(inputs: Sequence[Mapping[str, Any]]) -> bytes:
    """One mutation that creates every customer."""
    names = ", ".join(f"$c{place}: CustomerInput!" for place in range(len(inputs)))
    calls = " ".join(f"c{place}: customerCreate(input: $c{place}) {_ANSWER}" for place in range(len(inputs)))
    variables = {f"c{place}": given for place, given in enumerate(inputs)}
    return graphql_content(f"mutation({names}) {{ {calls} }}", variables)


def each_alone(content: bytes) -> list[bytes]:
    """The customers of one mutation as mutations of their own."""
    variables = parse_json(content)["variables"]
    return [creation([variables[f"c{place}"]]) for place in range(len(variables))]


def new_customer(draft: Draft) -> dict[str, Any]:
    """Tagged with its reference so that it can be found again."""
    customer = customer_of(draft.document)
    address = address_input(customer)
    return {
        **customer_input(customer),
        **({"addresses": [address]} if address else {}),
        **({"tags": [draft.reference]} if draft.reference else {}),
    }


def update_body(external_id: str, customer: Customer, address_id: str) -> dict[str, Any]:
    """The customer and, in the same call, the default address; other addresses stay as they are."""
    gid = f"gid://shopify/Customer/{external_id}"
    address = address_input(customer)
    names, calls = ["$input: CustomerInput!"], [f"customer: customerUpdate(input: $input) {_ANSWER}"]
    variables: dict[str, Any] = {"input": {"id": gid, **customer_input(customer)}}
    if address:
        names += ["$customer: ID!", "$address: MailingAddressInput!"]
        variables |= {"customer": gid, "address": address}
        target = "customerAddressCreate("
        if address_id:
            names.append("$addressId: ID!")
            variables["addressId"] = address_id
            target = "customerAddressUpdate(addressId: $addressId, "
        calls.append(
            f"address: {target}customerId: $customer, address: $address, setAsDefault: true) "
            "{ userErrors { field message } }"
        )
    return {"query": f"mutation({', '.join(names)}) {{ {' '.join(calls)} }}", "variables": variables}


def delete_body(external_ids: Sequence[str]) -> dict[str, Any]:
    names = ", ".join(f"$c{place}: CustomerDeleteInput!" for place in range(len(external_ids)))
    calls = " ".join(
        f"c{place}: customerDelete(input: $c{place}) {{ deletedCustomerId userErrors {{ field message }} }}"
        for place in range(len(external_ids))
    )
    variables = {f"c{place}": {"id": f"gid://shopify/Customer/{id}"} for place, id in enumerate(external_ids)}
    return {"query": f"mutation({names}) {{ {calls} }}", "variables": variables}


def customer_of(record: Record) -> Customer:
    if not isinstance(record, Customer):
        raise RecordRejected("Only customers can be written to Shopify.")
    return record


def customer_input(customer: Customer) -> dict[str, Any]:
    """A field at its default is not sent, one that is to be emptied is null. Shopify wants the last word of a name apart."""
    first, _, last = customer.name.rpartition(" ")
    given = {
        "firstName": first or last,
        "lastName": last if first else "",
        "email": customer.email,
        "phone": customer.phone,
    }
    filled = {name: value for name, value in given.items() if value or (name == "lastName" and customer.name)}
    return filled | dict.fromkeys(name for name in ("email", "phone") if name in customer.emptied)


def address_input(customer: Customer) -> dict[str, Any]:
    address: Address = customer.address
    given = {
        "address1": address.line1,
        "address2": address.line2,
        "city": address.city,
        "zip": address.postal_code,
        "provinceCode": address.region,
        "countryCode": address.country,
        "company": customer.company,
    }
    return {name: value for name, value in given.items() if value}


def refusal(errors: Sequence[Mapping[str, Any]]) -> RecordRejected:
    """Shopify's complaints about one customer, in one sentence; each names its field."""
    said = "; ".join(f"{error['message'][:1].lower()}{error['message'][1:]}" for error in errors)
    code = "duplicate" if "already been taken" in said else "other"
    if "does not exist" in said or "can't be found" in said:
        code = "missing_reference"
    return RecordRejected(f"Shopify did not accept this customer: {said}.", code=code, detail=str(list(errors))[:300])
