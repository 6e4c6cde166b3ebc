"""What a flow's mapping makes of one source record: documents to write, or the reason why none is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from connectors.sdk.records import Customer, LedgerAccount, Record, TaxRate


class PlannedDocument(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One document for the target. `purpose` is unique within the record (invoice, payment:<id>, credit_note, repayment,
    transfer, fees, customer ...); `needs` names the purpose that must be in the ledger first.

    For `update`, `external_id` is the object to overwrite, `version` its state that is replaced and `write_modes` say which of its
    fields may be; for `link` it is the object that is already there and stays as it is. `party` is whom a document is about that
    does not name anybody itself.
    """

    purpose: str
    document: Record
    needs: str = ""
    action: Literal["create", "update", "link"] = "create"
    external_id: str = ""
    version: str = ""
    write_modes: Mapping[str, str] = {}
    party: str = ""


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What a mapping may rely on in the target: its accounts and tax rates by code, its closing date, its currency, and the
    contacts we already know (source customer id -> contact id, and contacts by id for field-by-field decisions)."""

    base_currency: str
    closed_until: dt.date | None = None
    ledger_accounts: Mapping[str, LedgerAccount] = field(default_factory=dict)
    tax_rates: Mapping[str, TaxRate] = field(default_factory=dict)
    contacts: Mapping[str, str] = field(default_factory=dict)
    contact_bodies: Mapping[str, Customer] = field(default_factory=dict)
    repays_on_credit_note: bool = False  # the repayment is part of the credit note itself

    def contacts_like(self, *, name: str, email: str) -> list[str]:
        """Active contacts with this e-mail address; where either has none, with this very name."""
        known = self._contacts_by_words
        mine, named = email.lower(), name.strip().lower()
        if not mine:
            return known.get(("name", named), [])
        nameless = [found for found in known.get(("name", named), []) if not self.contact_bodies[found].email]
        return [*known.get(("email", mine), []), *nameless]

    @cached_property
    def _contacts_by_words(self) -> dict[tuple[str, str], list[str]]:
        """Looking through all contacts for every new customer would take the square of their number."""
        found: dict[tuple[str, str], list[str]] = {}
        for id, body in self.contact_bodies.items():
            if not body.is_archived:
                found.setdefault(("name", body.name.strip().lower()), []).append(id)
                if body.email:
                    found.setdefault(("email", body.email.lower()), []).append(id)
        return found


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """Everything outside the record that its plan may depend on; the same record and circumstances give the same plan."""

    time_zone: ZoneInfo
    ledger: Ledger
    start_date: dt.date
    source_name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    is_source_of_truth: bool = True  # for the record's data type
    rule: str = "owner"  # owner | newest | ask, for records both sides may change
    field_winners: Mapping[str, str] = field(default_factory=dict)  # field -> source | target, where it differs


class NotPlanned(Exception):
    """No document is made of this record. Carries what a bookkeeper is told, whose move it is and the next step."""

    state: Literal["held", "excluded"] = "held"

    def __init__(self, code: str, reason: str, *, owner: str = "", next_step: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.owner = owner
        self.next_step = next_step


class Held(NotPlanned):
    """A person has to decide or to complete something first."""

    state = "held"


class Excluded(NotPlanned):
    """By the rules agreed for this flow the record does not belong in the ledger."""

    state = "excluded"


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The figures of a source record that the proof adds up: its day in the tenant's zone, its signed total, its currency."""

    occurred_on: dt.date
    amount: Decimal
    currency: str


Planner = Callable[[Record, Circumstances], list[PlannedDocument]]
