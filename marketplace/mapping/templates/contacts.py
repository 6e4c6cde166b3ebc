"""Customers <-> contacts: the same people on both sides, without copies and without rewriting what the other side owns."""

from __future__ import annotations

import msgspec

from connectors.sdk.records import Address, Customer
from marketplace.mapping.contact_values import ADDRESS_PARTS, FIELDS, is_same, only, texts_of
from marketplace.mapping.mapped import Mapped
from marketplace.mapping.merging import Rules
from marketplace.mapping.plan import Circumstances, Excluded, Held, PlannedDocument
from marketplace.mapping.templates.base import TargetField, Template, of_field

CHANGES = "changes"  # the purpose of what is written to a contact that is known already


def build_contact(customer: Customer, mapped: Mapped, circumstances: Circumstances) -> list[PlannedDocument]:
    """Create the contact or link the one that is there; of a known one, all this side would have it hold. Which of these fields
    are written is decided where the pair's base is known (`marketplace.mapping.merging`)."""
    if customer.is_archived:
        raise Excluded("archived", "It is archived at the source.")
    wanted = wanted_contact(customer, mapped, circumstances)
    if not wanted.name:
        raise Held(
            "no_name",
            "The customer has neither a name nor an e-mail address.",
            owner="owner",
            next_step="Give the customer a name at the source.",
        )
    known_id, documents = circumstances.ledger.contacts.get(customer.id, ""), []
    if not known_id:
        documents = [_first(wanted, circumstances)]
        known_id = documents[0].external_id
    return [*documents, *_changes(wanted, known_id, mapped, circumstances)]


def wanted_contact(customer: Customer, mapped: Mapped, circumstances: Circumstances) -> Customer:
    """The contact as the mapping would have it."""
    values = mapped.fields(customer, circumstances)
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
    same = circumstances.ledger.contacts_like(name=wanted.name, email=wanted.email)
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


def _changes(wanted: Customer, known_id: str, mapped: Mapped, circumstances: Circumstances) -> list[PlannedDocument]:
    if not known_id:
        return []
    current = circumstances.ledger.contact_bodies.get(known_id)
    if current is None or current.is_archived:
        raise Held(
            "contact_gone",
            f"The contact of {wanted.name} is archived or deleted on the other side. Nothing was deleted here for it.",
            owner="bookkeeper",
            next_step="Make the contact active again there, then post it again. Otherwise archive the customer here too.",
        )
    return [
        PlannedDocument(
            purpose=CHANGES,
            document=msgspec.structs.replace(wanted, id=known_id),
            action="update",
            external_id=known_id,
            write_modes=mapped.write_modes,
            party=wanted.name,
        )
    ]


def differing(planned: PlannedDocument, circumstances: Circumstances) -> PlannedDocument | None:
    """A known contact's fields that differ and may be written, for a look ahead without the pair's base; None without any."""
    if planned.purpose != CHANGES:
        return planned
    wanted, current = planned.document, circumstances.ledger.contact_bodies[planned.external_id]
    assert isinstance(wanted, Customer)
    sent, held, rules = texts_of(wanted), texts_of(current), Rules(modes=planned.write_modes)
    names = [
        name
        for name in FIELDS
        if not is_same(name, sent[name], held[name]) and rules.may_write(name, sent[name], held[name])
    ]
    return msgspec.structs.replace(planned, document=only(wanted, names)) if names else None


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
