"""Customers <-> contacts: the same people on both sides, without copies and without rewriting what the other side owns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectors.sdk.records import Address, Customer
from marketplace.mapping.plan import Circumstances, Excluded, Held, PlannedDocument
from marketplace.mapping.templates.base import TargetField, Template, of_field

if TYPE_CHECKING:
    from marketplace.mapping.compiling import Mapped

ADDRESS_PARTS = ("line1", "line2", "city", "region", "postal_code", "country")


def build_contact(customer: Customer, mapped: Mapped, circumstances: Circumstances) -> list[PlannedDocument]:
    """Create the contact, or change the fields this side owns and that differ. Nothing to change: no document, no write."""
    if customer.is_archived:
        raise Excluded("archived", "It is archived at the source.")
    values = mapped.fields(customer, circumstances)
    if not values["name"]:
        raise Held(
            "no_name",
            "The customer has neither a name nor an e-mail address.",
            owner="owner",
            next_step="Give the customer a name at the source.",
        )
    wanted = _contact(values)
    known_id = circumstances.ledger.contacts.get(customer.id, "")
    if not known_id:
        return [_first(wanted, circumstances)]
    current = circumstances.ledger.contact_bodies.get(known_id)
    if current is None or current.is_archived:
        raise Excluded("contact_gone", "Its contact is no longer active on the other side.")
    return _changes(customer, wanted, current, mapped, circumstances)


def _contact(values: dict[str, Any]) -> Customer:
    return Customer(
        id="",
        name=values["name"],
        email=values["email"],
        phone=values["phone"],
        tax_number=values["tax_number"],
        address=Address(**{part: values[f"address_{part}"] for part in ADDRESS_PARTS}),
    )


def _first(wanted: Customer, circumstances: Circumstances) -> PlannedDocument:
    """A contact with the same e-mail address, or the very same name, is the same person: linked, not copied."""
    bodies = circumstances.ledger.contact_bodies
    same = [known for known, body in bodies.items() if _is_same(body, wanted) and not body.is_archived]
    if len(same) == 1:
        return PlannedDocument(purpose="customer", document=wanted, action="link", external_id=same[0])
    if len(same) > 1:
        raise Held(
            "several_contacts",
            f"{len(same)} contacts look like {wanted.name}.",
            owner="bookkeeper",
            next_step="Merge the duplicate contacts in the ledger, then post it again.",
        )
    return PlannedDocument(purpose="customer", document=wanted)


def _is_same(body: Customer, wanted: Customer) -> bool:
    if wanted.email and body.email:
        return body.email.lower() == wanted.email.lower()
    return body.name.strip().lower() == wanted.name.strip().lower()


def _changes(
    customer: Customer, wanted: Customer, current: Customer, mapped: Mapped, circumstances: Circumstances
) -> list[PlannedDocument]:
    different = {
        field: getattr(wanted, field)
        for field in ("name", "email", "phone", "tax_number", "address")
        if getattr(wanted, field) != getattr(current, field)
        and _may_write(field, getattr(wanted, field), getattr(current, field), customer, current, mapped, circumstances)
    }
    if not different:
        return []
    document = Customer(id=current.id, **{"name": current.name, **different})
    return [PlannedDocument(purpose="customer", document=document, action="update", external_id=current.id)]


def _may_write(
    field: str,
    wanted: Any,
    current: Any,
    customer: Customer,
    contact: Customer,
    mapped: Mapped,
    circumstances: Circumstances,
) -> bool:
    """Write mode first, then the source of truth: field by field where it is set, else the data type's rule. An empty value
    never wipes out a filled one."""
    mode = mapped.write_modes.get("address_line1" if field == "address" else field, "overwrite")
    is_empty = not current or current == Address()
    if mode in ("never", "if_new") or (mode == "if_empty" and not is_empty) or not wanted or wanted == Address():
        return False
    if is_empty:
        return True
    winner = circumstances.field_winners.get(field)
    if winner:
        return winner == "source"
    if circumstances.rule == "newest" and customer.updated_at and contact.updated_at:
        return customer.updated_at > contact.updated_at
    if circumstances.rule == "ask":
        raise Held(
            "conflict",
            f"{field.replace('_', ' ').capitalize()} differs: “{wanted}” here, “{current}” there.",
            owner="bookkeeper",
            next_step="Decide on the source-of-truth page which side owns this field, or make both equal.",
        )
    return circumstances.is_source_of_truth


def _field(name: str, label: str, path: str, *, is_required: bool = False) -> TargetField:
    return TargetField(
        name=name,
        label=label,
        target=("customer", path),
        default=of_field(path),
        is_required=is_required,
        has_write_mode=True,
    )


CONTACTS = Template(
    slug="customers",
    name="Customers ↔ contacts",
    summary="Customers and contacts stay the same people on both sides; you say which side owns which field.",
    source_type="customer",
    needs=("customer",),
    main_type="customer",
    fields=(
        _field("name", "Name", "name", is_required=True),
        _field("email", "E-mail", "email"),
        _field("phone", "Phone", "phone"),
        _field("tax_number", "Tax number", "tax_number"),
        *(_field(f"address_{part}", part.replace("_", " ").capitalize(), f"address.{part}") for part in ADDRESS_PARTS),
    ),
    build=build_contact,
    is_two_way=True,
)
