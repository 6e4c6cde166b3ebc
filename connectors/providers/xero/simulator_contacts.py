"""Contacts of a simulated organisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connectors.providers.xero import reading
from connectors.providers.xero.simulator_books import Books, Invalid, Row
from connectors.testing import Action, Author

KEPT = {
    "ContactID",
    "ContactNumber",
    "ContactStatus",
    "Name",
    "FirstName",
    "LastName",
    "EmailAddress",
    "TaxNumber",
    "DefaultCurrency",
    "Addresses",
    "Phones",
    "CompanyNumber",
    "AccountNumber",
}


@dataclass(frozen=True)
class Contacts:
    books: Books

    def check(self, given: Mapping[str, object], *, may_update: bool) -> Row:
        """A contact as it would be stored. POST finds it by id, number or name; PUT only creates. Raises `Invalid`."""
        known = self._known(given)
        by_name = self._by_name(str(given.get("Name", "")))
        if known is None and by_name is not None:
            if not may_update:
                raise Invalid(
                    f"The contact name {given['Name']} is already assigned to another contact. "
                    "The contact name must be unique across all active contacts."
                )
            known = by_name
        if by_name is not None and known is not None and by_name["ContactID"] != known["ContactID"]:
            raise Invalid(f"The contact name {given['Name']} is already assigned to another contact.")
        row: Row = {
            "ContactStatus": "ACTIVE",
            "EmailAddress": "",
            "Addresses": [],
            "Phones": [],
            "IsSupplier": False,
            "IsCustomer": False,
            "HasAttachments": False,
            **(known or {}),
            **{key: value for key, value in given.items() if key in KEPT},
        }
        for key, kind in (("Phones", "PhoneType"), ("Addresses", "AddressType")):
            row[key] = _by_kind((known or {}).get(key) or [], row[key] or [], kind)
        self._check_fields(row)
        return row

    def keep(self, row: Row, *, by: Author) -> Row:
        is_new = not row.get("ContactID")
        if is_new:
            row["ContactID"] = self.books.new_id("Contacts")
        known = self.books["Contacts"].get(row["ContactID"])
        self.books.put_contact(row)
        is_archived = row["ContactStatus"] == "ARCHIVED" and (known or {}).get("ContactStatus") == "ACTIVE"
        action: Action = "create" if is_new else "void" if is_archived else "update"
        self.books.simulator.append_ledger(
            organisation=self.books.id, by=by, action=action, record=reading.customer(self.books.shown(row))
        )
        self.books.simulator.tell(
            self.books.id, category="CONTACT", collection="Contacts", id=row["ContactID"], is_new=is_new
        )
        return row

    def _known(self, given: Mapping[str, object]) -> Row | None:
        if given.get("ContactID"):
            found = self.books["Contacts"].get(str(given["ContactID"]))
            if found is None:
                raise Invalid("The contact could not be found")
            return found
        entry = self.books.index("contact-numbers").get(str(given.get("ContactNumber", "")))
        return self.books["Contacts"].get(entry["id"]) if entry else None

    def _by_name(self, name: str) -> Row | None:
        entry = self.books.index("contacts").get(name.strip().casefold())
        return self.books["Contacts"].get(entry["id"]) if entry else None

    def _check_fields(self, row: Row) -> None:
        messages = []
        if not str(row.get("Name", "")).strip():
            messages.append("The contact name must be specified.")
        if len(str(row.get("Name", ""))) > 255:
            messages.append("The contact name must not be longer than 255 characters.")
        if row["EmailAddress"] and "@" not in row["EmailAddress"]:
            messages.append("Email address must be valid.")
        if row.get("DefaultCurrency") and row["DefaultCurrency"] not in self.books["Currencies"]:
            messages.append(f"Organisation is not subscribed to currency {row['DefaultCurrency']}")
        if messages:
            raise Invalid(*messages)


def _by_kind(known: Sequence[Row], given: Sequence[Row], kind: str) -> list[Row]:
    """A contact has one telephone number and one address of each kind; those that are not given stay."""
    return list({row.get(kind): row for row in (*known, *given)}.values())
