"""The books of one simulated company: the checks QuickBooks makes, and what a document does to others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from connectors.providers.quickbooks import simulator_faults as faults
from connectors.providers.quickbooks.simulator_chart import CLASSIFICATION, RATES, currencies
from connectors.testing import Collection, Store

Json = dict[str, Any]

#: QuickBooks' servers tell time where they stand.
SERVER_ZONE = ZoneInfo("America/Los_Angeles")

TRANSACTIONS = ("Invoice", "CreditMemo", "RefundReceipt", "Payment", "Transfer", "Purchase", "Deposit")
PEOPLE = ("Customer", "Vendor")
NAMED = (*PEOPLE, "Account", "Item", "TaxCode", "TaxRate")
SINGLES = ("CompanyInfo", "Preferences")
ENTITIES = (*TRANSACTIONS, *NAMED, *SINGLES, "CompanyCurrency")
READ_ONLY = ("Id", "SyncToken", "MetaData", "domain", "sparse")


def stamp(moment: dt.datetime) -> str:
    return moment.astimezone(SERVER_ZONE).isoformat()


class Books:
    """One company. `now` and `next_id` are the simulator's."""

    def __init__(
        self, store: Store, organisation: Json, now: Callable[[], dt.datetime], next_id: Callable[[str], int]
    ) -> None:
        self.store = store
        self.organisation = organisation
        self.now = now
        self._next_id = next_id

    # ------------------------------------------------------------------ rows

    @property
    def realm(self) -> str:
        return str(self.organisation["id"])

    @property
    def home(self) -> str:
        return str(self.organisation["base_currency"])

    def rate(self, currency: str, day: str = "") -> Decimal:
        """Home units for one unit of a currency. `rates` of the company are today's, `rates_on` those of certain days."""
        on_day = self.organisation.get("rates_on", {}).get(day, {})
        if rate := {**self.organisation.get("rates", {}), **on_day}.get(currency):
            return Decimal(rate)
        return RATES.get((self.home, currency), Decimal(1))

    @property
    def is_american(self) -> bool:
        return self.organisation.get("country") == "US"

    def rows(self, entity: str) -> Collection:
        return self.store[f"{self.realm}/{entity}"]

    def get(self, entity: str, id: str) -> Json:
        row = self.rows(entity).get(id)
        if row is None:
            raise faults.not_found()
        return row

    def new_id(self, entity: str) -> str:
        """Transactions of a company share one number series, as do people, accounts and items."""
        series = "transaction" if entity in TRANSACTIONS else "entry"
        while True:
            id = str(100 + self._next_id(f"{self.realm}/{series}"))
            if all(id not in self.rows(other) for other in ENTITIES):
                return id

    def add(self, entity: str, body: Json, *, id: str = "", at: dt.datetime | None = None) -> Json:
        moment = stamp(at or self.now().replace(microsecond=0))
        row = {
            "Id": id or self.new_id(entity),
            "SyncToken": "0",
            "MetaData": {"CreateTime": moment, "LastUpdatedTime": moment},
            "domain": "QBO",
            "sparse": False,
            **{name: value for name, value in body.items() if name not in READ_ONLY},
        }
        self._index(entity, row)
        return self.rows(entity).put(row["Id"], row)

    def save(self, entity: str, row: Json, *, is_edit: bool = True) -> Json:
        """Keep a changed row. Only edits move the SyncToken: a balance that changes with a payment does not."""
        token = str(int(row["SyncToken"]) + 1) if is_edit else row["SyncToken"]
        moment = stamp(self.now().replace(microsecond=0))
        changed = {**row, "SyncToken": token, "MetaData": {**row["MetaData"], "LastUpdatedTime": moment}}
        self._index(entity, changed)
        return self.rows(entity).put(row["Id"], changed)

    def remove(self, entity: str, row: Json) -> Json:
        """Gone from lists and queries; the change feed remembers it."""
        self.rows(entity).delete(row["Id"])
        moment = stamp(self.now().replace(microsecond=0))
        gone = {"entity": entity, "Id": row["Id"], "at": moment}
        self.store[f"{self.realm}/_deleted"].put(f"{entity}/{row['Id']}", gone)
        return {"domain": "QBO", "status": "Deleted", "Id": row["Id"]}

    def deleted(self, entity: str) -> list[Json]:
        return [gone for gone in self.store[f"{self.realm}/_deleted"].values() if gone["entity"] == entity]

    def locked(self, entity: str, body: Json) -> Json:
        """The row an update is for, if the caller has seen its latest state."""
        row = self.get(entity, str(body.get("Id", "")))
        if body.get("SyncToken") in (None, ""):
            raise faults.missing("SyncToken")
        if str(body["SyncToken"]) != row["SyncToken"]:
            raise faults.stale()
        return row

    # ------------------------------------------------------------------ checks

    def reference(self, body: Json, name: str) -> str:
        found = body.get(name)
        value = found.get("value") if isinstance(found, dict) else None
        return "" if value is None else str(value)

    def active(self, entity: str, id: str, what: str = "") -> Json:
        """The entry a document refers to. Raises `Faulted` when it is unknown or inactive."""
        row = self.rows(entity).get(id)
        if row is None:
            raise faults.invalid_reference(what or f"{entity}s", id)
        if not row.get("Active", True):
            raise faults.inactive()
        return row

    def account(self, body: Json, name: str, kinds: tuple[str, ...] = ()) -> Json:
        id = self.reference(body, name)
        if not id:
            raise faults.missing(name)
        row = self.active("Account", id)
        if kinds and row["AccountType"] not in kinds:
            allowed = " or ".join(kinds)
            raise faults.business(
                f"Business Validation Error: {name} {row['Name']} must be an account of type {allowed}."
            )
        return row

    def account_ref(self, row: Json) -> Json:
        return {"value": row["Id"], "name": row["FullyQualifiedName"]}

    def check_open(self, date: str) -> None:
        """Nothing may be dated on or before the closing date."""
        closed = self.organisation.get("books_closed_until")
        if closed and date <= str(closed):
            raise faults.period_closed()

    def reconcile(self, id: str, *, is_done: bool = True) -> None:
        """Staff match a transaction with the bank's statement, or undo that. The API does not tell of it."""
        matched = self.store[f"{self.realm}/_reconciled"]
        matched.put(id, {"Id": id}) if is_done else matched.delete(id)

    def check_unreconciled(self, row: Json) -> None:
        if row["Id"] in self.store[f"{self.realm}/_reconciled"]:
            raise faults.reconciled()

    def date(self, body: Json) -> str:
        given = body.get("TxnDate")
        if given in (None, ""):
            zone = ZoneInfo(self.organisation.get("time_zone", "UTC"))
            return self.now().astimezone(zone).date().isoformat()
        try:
            return dt.date.fromisoformat(str(given)[:10]).isoformat()
        except ValueError as error:
            raise faults.invalid_value("TxnDate", given) from error

    def currency(self, body: Json, default: str) -> str:
        code = self.reference(body, "CurrencyRef") or default
        enabled = currencies(self.organisation)
        if code not in enabled and len(enabled) == 1:
            raise faults.business("Multi Currency should be enabled to perform this operation.")
        if code not in enabled:
            raise faults.business(f"The currency is not active in this company: {code}.")
        return code

    def check_length(self, body: Json, name: str, limit: int) -> None:
        if len(str(body.get(name) or "")) > limit:
            raise faults.too_long(name, limit)

    # ------------------------------------------------------------------ lists

    def create_entry(self, entity: str, body: Json, *, id: str = "", at: dt.datetime | None = None) -> Json:
        return self.add(entity, self.entry(entity, body, {}), id=id, at=at)

    def update_entry(self, entity: str, body: Json) -> Json:
        row = self.locked(entity, body)
        kept = row if body.get("sparse") else {name: row[name] for name in READ_ONLY}
        changes = {name: value for name, value in body.items() if name not in READ_ONLY}
        left = {name: value for name, value in kept.items() if not (name in changes and _is_blank(changes[name]))}
        return self.save(entity, {**left, **self.entry(entity, {**kept, **changes}, row), "sparse": False})

    def entry(self, entity: str, body: Json, row: Json) -> Json:
        """A list entry as it will be kept. `row` is what it was."""
        if entity in PEOPLE:
            return self._person(entity, body, row)
        if entity == "Item":
            return self._item(body, row)
        if entity == "Account":
            return self._account(body, row)
        raise faults.unsupported(f"write {entity}")

    def _person(self, entity: str, body: Json, row: Json) -> Json:
        name = str(body.get("DisplayName") or "").strip()
        if not name:
            raise faults.missing("DisplayName")
        self.check_length(body, "DisplayName", 500)
        if ":" in name or "\t" in name or "\n" in name:
            raise faults.invalid_value("DisplayName", name)
        is_active = body.get("Active", True) is not False
        if row.get("Active", True) and not is_active:
            name = f"{name} (deleted)"
        holder = self.person_named(name)
        if holder and holder[1]["Id"] != row.get("Id"):
            raise faults.duplicate_name(holder[0].lower())
        body = {field: value for field, value in body.items() if not _is_blank(value)}
        currency = self.currency(body, self.home)
        if row and currency != self.reference(row, "CurrencyRef"):
            raise faults.business("Business Validation Error: The currency of a customer or vendor cannot be changed.")
        return {
            **body,
            "DisplayName": name,
            "FullyQualifiedName": name,
            "PrintOnCheckName": body.get("PrintOnCheckName") or name,
            "Active": is_active,
            "CurrencyRef": {"value": currency},
            "Balance": row.get("Balance", Decimal(0)),
        }

    def person_named(self, name: str) -> tuple[str, Json] | None:
        """Who bears this name among customers and suppliers; case does not count."""
        noted = self.store[f"{self.realm}/_names"].get(name.casefold())
        row = self.rows(noted["kind"]).get(noted["id"]) if noted else None
        if noted is None or row is None or row["DisplayName"].casefold() != name.casefold():
            return None
        return noted["kind"], row

    def _index(self, entity: str, row: Json) -> None:
        """Names and numbers have to be found without reading all rows."""
        if entity in PEOPLE:
            names = self.store[f"{self.realm}/_names"]
            names.put(row["DisplayName"].casefold(), {"kind": entity, "id": row["Id"]})
        if row.get("DocNumber") and not str(row.get("PrivateNote", "")).startswith("Voided"):
            self.store[f"{self.realm}/_numbers/{entity}"].put(row["DocNumber"], {"id": row["Id"]})

    def numbered(self, entity: str, number: str) -> Json | None:
        """The latest document with this number."""
        noted = self.store[f"{self.realm}/_numbers/{entity}"].get(number)
        row = self.rows(entity).get(noted["id"]) if noted else None
        return row if row and row.get("DocNumber") == number else None

    def next_number(self, entity: str) -> str:
        while True:
            number = str(1000 + self._next_id(f"{self.realm}/{entity} number"))
            if self.numbered(entity, number) is None:
                return number

    def _item(self, body: Json, row: Json) -> Json:
        name = str(body.get("Name") or "").strip()
        if not name:
            raise faults.missing("Name")
        self.check_length(body, "Name", 100)
        self._check_unique("Item", "item", name, row)
        income = self.account(body, "IncomeAccountRef")
        return {
            **body,
            "Name": name,
            "FullyQualifiedName": name,
            "Active": body.get("Active", True) is not False,
            "Type": body.get("Type") or "Service",
            "Taxable": bool(body.get("Taxable", False)),
            "UnitPrice": body.get("UnitPrice") or Decimal(0),
            "IncomeAccountRef": self.account_ref(income),
            "TrackQtyOnHand": False,
        }

    def _account(self, body: Json, row: Json) -> Json:
        name = str(body.get("Name") or "").strip()
        if not name:
            raise faults.missing("Name")
        kind = str(body.get("AccountType") or "")
        if kind not in CLASSIFICATION:
            raise faults.invalid_value("AccountType", kind)
        self._check_unique("Account", "account", name, row)
        return {
            **body,
            "Name": name,
            "FullyQualifiedName": name,
            "SubAccount": bool(body.get("SubAccount", False)),
            "Active": body.get("Active", True) is not False,
            "Classification": CLASSIFICATION[kind],
            "CurrentBalance": row.get("CurrentBalance", Decimal(0)),
            "CurrencyRef": {"value": self.currency(body, self.home)},
        }

    def _check_unique(self, entity: str, word: str, name: str, row: Json) -> None:
        for other in self.rows(entity).values():
            if other["Name"].casefold() == name.casefold() and other["Id"] != row.get("Id"):
                raise faults.duplicate_name(word)


def _is_blank(value: Any) -> bool:
    """Nothing is kept of a field that was sent empty, nor of one whose parts all were."""
    parts = value.values() if isinstance(value, dict) else [value]
    return all(part in (None, "", {}, []) for part in parts)
