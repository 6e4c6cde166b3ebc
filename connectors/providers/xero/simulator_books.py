"""One simulated organisation's books: what there is, what may be used, and what Xero says when it may not."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from connectors.providers.xero.simulator_charts import (
    ACCOUNT_CLASSES,
    ACCOUNTS,
    EURO_ACCOUNTS,
    PER_POUND,
    Account,
    Country,
    Tax,
    country_of,
)
from connectors.providers.xero.values import day
from connectors.testing import Collection

if TYPE_CHECKING:
    from connectors.providers.xero.simulator import XeroSimulator

Row = dict[str, Any]
CENT = Decimal("0.01")
NAMESPACE = uuid.UUID("5c1b7a46-0d3f-4f0e-9a8e-3b1f0f6f2a10")

#: The field that identifies the objects of each collection.
ID_KEYS = {
    "Accounts": "AccountID",
    "TaxRates": "TaxType",
    "Currencies": "Code",
    "Contacts": "ContactID",
    "Invoices": "InvoiceID",
    "CreditNotes": "CreditNoteID",
    "Payments": "PaymentID",
    "BankTransactions": "BankTransactionID",
    "BankTransfers": "BankTransferID",
}


class Invalid(Exception):
    """Xero's reasons for not taking an object."""

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


def round_money(value: Decimal) -> Decimal:
    return value.quantize(CENT, ROUND_HALF_UP)


def number_of(value: Any, name: str) -> Decimal:
    """An amount from a request. Raises `Invalid`."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Invalid(f"{name} is not a number")
    return Decimal(value)


def ms_date(at: dt.datetime | dt.date) -> str:
    """Xero's form of an instant or a day."""
    if not isinstance(at, dt.datetime):
        at = dt.datetime(at.year, at.month, at.day, tzinfo=dt.UTC)
    return f"/Date({milliseconds(at)}+0000)/"


def milliseconds(at: dt.datetime) -> int:
    return int(at.timestamp() * 1000)


class Books:
    """The collections of one organisation. Stored objects are the API's JSON plus `_ms`, when they last changed."""

    def __init__(self, simulator: XeroSimulator, organisation: str) -> None:
        self.simulator = simulator
        self.id = organisation
        self.organisation = simulator.organisation(organisation)
        self.country: Country = country_of(self.organisation["country"])

    def __getitem__(self, kind: str) -> Collection:
        return self.simulator.store[f"{kind}:{self.id}"]

    def index(self, name: str) -> Collection:
        """Where an object with a unique name or number is found without looking through all of them."""
        return self.simulator.store[f"index-{name}:{self.id}"]

    @property
    def base_currency(self) -> str:
        return str(self.organisation["base_currency"])

    def put(self, kind: str, row: Row, *, at: dt.datetime | None = None) -> Row:
        """Store an object as changed now, or `at`; never at the very moment of its change before."""
        at = at or self.simulator.now()
        known = self[kind].get(row[ID_KEYS[kind]])
        if known is not None and known["_ms"] == milliseconds(at):
            at += dt.timedelta(milliseconds=1)
        row["_ms"] = milliseconds(at)
        if kind not in ("TaxRates", "Currencies", "BankTransfers"):
            row["UpdatedDateUTC"] = ms_date(at)
        return self[kind].put(row[ID_KEYS[kind]], row)

    def new_id(self, kind: str) -> str:
        """The same run gives the same ids."""
        return str(uuid.uuid5(NAMESPACE, f"{self.id}/{kind}/{self.simulator.next_id(f'{kind}:{self.id}')}"))

    # ------------------------------------------------------------------ opening

    def open(self) -> None:
        """A new organisation's chart, rates and currencies; nothing for one that has them."""
        if len(self["Accounts"]):
            return
        for tax in self.country.rates:
            self.put("TaxRates", tax_row(tax))
        for code in dict.fromkeys((self.base_currency, *self.country.currencies)):
            self.put("Currencies", {"Code": code, "Description": code})
        extra = EURO_ACCOUNTS if "EUR" in self.country.currencies else ()
        for account in (*ACCOUNTS, *extra):
            self.put_account(self._account_row(account))

    def _account_row(self, account: Account) -> Row:
        row: Row = {
            "AccountID": self.new_id("Accounts"),
            "Code": account.code,
            "Name": account.name or self.country.tax_account,
            "Type": account.type,
            "Class": ACCOUNT_CLASSES[account.type],
            "Status": "ACTIVE",
            "TaxType": self.country.taxes[account.tax],
            "EnablePaymentsToAccount": account.takes_payments,
            "ShowInExpenseClaims": False,
            "HasAttachments": False,
        }
        if account.type == "BANK":
            row |= {
                "BankAccountNumber": f"200000{self.simulator.next_id('bank_number'):08d}",
                "BankAccountType": "BANK",
                "CurrencyCode": account.currency or self.base_currency,
            }
        if account.system:
            row["SystemAccount"] = account.system
        if not account.code:
            del row["Code"]
        return row

    def put_account(self, row: Row, *, at: dt.datetime | None = None) -> Row:
        if row.get("Code"):
            self.index("accounts").put(row["Code"], {"id": row["AccountID"]})
        return self.put("Accounts", row, at=at)

    # ------------------------------------------------------------------ looking up

    def account(self, named: Mapping[str, Any], *, code_key: str = "Code") -> Row | None:
        """The account a request names by id or code."""
        if named.get("AccountID"):
            return self["Accounts"].get(str(named["AccountID"]))
        entry = self.index("accounts").get(str(named.get(code_key, "")))
        return self["Accounts"].get(entry["id"]) if entry else None

    def line_account(self, line: Mapping[str, Any]) -> Row:
        """The account of a document's line. Raises `Invalid`."""
        found = self.account(line, code_key="AccountCode")
        named = line.get("AccountCode") or line.get("AccountID") or ""
        if found is None or found["Type"] == "BANK" or found.get("SystemAccount") in ("DEBTORS", "CREDITORS"):
            raise Invalid(f"Account code '{named}' is not a valid code for this document.")
        if found["Status"] != "ACTIVE":
            raise Invalid(f"Account code '{named}' has been archived.")
        return found

    def bank_account(self, named: Mapping[str, Any] | None, *, pays_documents: bool = False) -> Row:
        """A bank account, or with `pays_documents` also one that takes payments. Raises `Invalid`."""
        found = self.account(named or {})
        if found is None:
            raise Invalid("The bank account could not be found")
        is_fit = found["Type"] == "BANK" or (pays_documents and found["EnablePaymentsToAccount"])
        if not is_fit:
            raise Invalid(f"The account {found['Name']} is not a valid account for payments")
        if found["Status"] != "ACTIVE":
            raise Invalid(f"The bank account {found['Name']} has been archived")
        return found

    def tax_rate(self, code: str) -> Decimal:
        """The rate as a fraction. Raises `Invalid`."""
        found = self["TaxRates"].get(code)
        if found is None or found["Status"] != "ACTIVE":
            raise Invalid(f"The TaxType code '{code}' does not exist or cannot be used.")
        return Decimal(found["EffectiveRate"]) / 100

    def currency(self, code: str | None) -> str:
        code = code or self.base_currency
        if code not in self["Currencies"]:
            raise Invalid(f"Organisation is not subscribed to currency {code}")
        return code

    def rate(self, code: str, date: dt.date | None = None) -> Decimal:
        """Units of the currency for one unit of the base currency, as Xero quotes them. `rates` of the organisation are today's,
        `rates_on` those of certain days."""
        on_day = self.organisation.get("rates_on", {}).get(str(date), {})
        if rate := {**self.organisation.get("rates", {}), **on_day}.get(code):
            return Decimal(rate)
        base = Decimal(PER_POUND.get(self.base_currency, "1"))
        return (Decimal(PER_POUND.get(code, "1")) / base).quantize(Decimal("0.000001"))

    def open_day(self, value: Any) -> dt.date:
        """The date of a document, which must lie after both lock dates. Raises `Invalid`."""
        try:
            found = day(value)
        except ValueError as error:
            raise Invalid("The date is not a date") from error
        if found is None:
            found = self.simulator.now().date()
        self.check_open(found)
        return found

    def check_open(self, date: dt.date) -> None:
        for key, name in (
            ("books_closed_until", "period lock date"),
            ("year_closed_until", "end of year lock date"),
        ):
            locked = self.organisation.get(key)
            if locked and date <= dt.date.fromisoformat(str(locked)):
                raise Invalid(f"The document date cannot be before the {name}.")

    # ------------------------------------------------------------------ contacts

    def contact(self, named: Mapping[str, Any] | None) -> Row | None:
        """The contact a document names by id, number or name; None when the name is new. Raises `Invalid`."""
        named = named or {}
        if named.get("ContactID"):
            found = self["Contacts"].get(str(named["ContactID"]))
            if found is None:
                raise Invalid("The contact could not be found")
        elif named.get("Name"):
            entry = self.index("contacts").get(str(named["Name"]).strip().casefold())
            found = self["Contacts"].get(entry["id"]) if entry else None
        else:
            raise Invalid("A Contact must be specified for this type of transaction")
        if found is not None and found["ContactStatus"] != "ACTIVE":
            raise Invalid(f"The contact {found['Name']} is archived and cannot be used")
        return found

    def put_contact(self, row: Row, *, at: dt.datetime | None = None) -> Row:
        known = self["Contacts"].get(row["ContactID"])
        if known is not None:
            self.index("contacts").delete(known["Name"].strip().casefold())
        self.index("contacts").put(row["Name"].strip().casefold(), {"id": row["ContactID"]})
        if row.get("ContactNumber"):
            self.index("contact-numbers").put(row["ContactNumber"], {"id": row["ContactID"]})
        return self.put("Contacts", row, at=at)

    def named_contact(self, named: Mapping[str, Any], **roles: bool) -> Row:
        """The contact of a document, created when its name is new, and marked as customer or supplier."""
        found = self.contact(named) or {
            "ContactID": self.new_id("Contacts"),
            "ContactStatus": "ACTIVE",
            "Name": str(named["Name"]).strip(),
            "EmailAddress": named.get("EmailAddress", ""),
            "Addresses": [],
            "Phones": [],
            "IsSupplier": False,
            "IsCustomer": False,
            "HasAttachments": False,
        }
        if found["ContactID"] not in self["Contacts"] or not roles.items() <= found.items():
            self.put_contact({**found, **roles})
        return found

    def shown(self, row: Row) -> Row:
        """An object as the API answers it: without our own fields, the contact as it is now."""
        shown = {key: value for key, value in row.items() if not key.startswith("_")}
        contact = self["Contacts"].get(str((row.get("Contact") or {}).get("ContactID", "")))
        if contact is not None:
            keys = ("ContactID", "Name", "EmailAddress", "ContactStatus")
            shown["Contact"] = {key: contact[key] for key in keys if contact.get(key)}
        return shown


def tax_row(tax: Tax) -> Row:
    percent = Decimal(tax.percent)
    return {
        "Name": tax.name,
        "TaxType": tax.code,
        "ReportTaxType": tax.report,
        "CanApplyToAssets": True,
        "CanApplyToEquity": True,
        "CanApplyToExpenses": not tax.is_sale or tax.report == "NONE",
        "CanApplyToLiabilities": True,
        "CanApplyToRevenue": tax.is_sale,
        "DisplayTaxRate": percent,
        "EffectiveRate": percent,
        "Status": "ACTIVE",
        "TaxComponents": [{"Name": tax.name, "Rate": percent, "IsCompound": False, "IsNonRecoverable": False}],
    }


def account_stub(account: Row) -> Row:
    """An account as other objects name it."""
    return {key: account[key] for key in ("AccountID", "Code", "Name") if account.get(key)}


def collect(checks: Iterable[Any]) -> list[Any]:
    """Run all checks (callables) and raise one `Invalid` with everything that is wrong."""
    results: list[Any] = []
    messages: list[str] = []
    for check in checks:
        try:
            results.append(check())
        except Invalid as invalid:
            messages.extend(invalid.messages)
    if messages:
        raise Invalid(*messages)
    return results
