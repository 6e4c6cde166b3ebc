"""One simulated company with a client of ours: what the tests of this folder work on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import httpx

from connectors.providers.quickbooks.client import QuickBooksClient
from connectors.providers.quickbooks.manifest import MANIFEST
from connectors.providers.quickbooks.simulator import QuickBooksSimulator
from connectors.sdk.client import Access, FixedToken
from connectors.sdk.errors import RecordRejected
from connectors.sdk.records import DocumentLine, Invoice, Party, Record
from connectors.sdk.streams import Draft, Outcome, Page, SourceRecord, Written

HARBOR, KESTREL = "9130350000000001", "9130350000000002"
SALES, SHIPPING, FEES, CHECKING, CLEARING = "79", "45", "61", "35", "38"


class Company:
    """One simulated company with a client of ours, the clock standing still."""

    def __init__(self, realm: str) -> None:
        self.realm = realm
        self.simulator = QuickBooksSimulator()
        self.simulator.limits = ()
        self.simulator.freeze()
        self.simulator.outbox.behave({"paused": True})
        self.http = httpx.Client(transport=httpx.WSGITransport(self.simulator))
        self.client = self.new_client()

    def new_client(self) -> QuickBooksClient:
        scopes = tuple(scope.name for scope in MANIFEST.auth.scopes)
        _, answer = self.simulator.oauth.grant_for(self.realm, scopes, "alice")
        access = Access(
            token=FixedToken(answer["access_token"]),
            organisation_id=self.realm,
            simulator="http://quickbooks.test",
            base_currency=self.currency,
            sleep=self.simulator.advance,
        )
        return QuickBooksClient(access, self.http)

    @property
    def currency(self) -> str:
        return str(self.simulator.organisation(self.realm)["base_currency"])

    @property
    def now(self) -> dt.datetime:
        return self.simulator.now().replace(microsecond=0)

    def plant(self, *records: Record) -> list[str]:
        return self.simulator.plant(self.realm, records)

    def invoice(self, position: int, /, **changes: Any) -> Invoice:
        line = DocumentLine(description="Oak shelf", amount=Decimal("10.00"), ledger_account=SALES)
        values: dict[str, Any] = {
            "id": "",
            "number": f"A{position}",
            "reference": f"TO-{position}",
            "date": self.now.date(),
            "currency": self.currency,
            "customer": Party(name="Ada Byron"),
            "tax_mode": "none",
            "lines": (line,),
            "total": Decimal("10.00"),
        }
        return Invoice(**{**values, **changes})

    def calls_of(self, work: Any) -> int:
        before = self.client.calls
        work()
        return self.client.calls - before


def drafts(records: Sequence[Record]) -> list[Draft]:
    return [
        Draft(key=f"key-{number}", reference=str(getattr(record, "reference", number)), document=record)
        for number, record in enumerate(records)
    ]


def written(outcome: Outcome) -> Written:
    assert isinstance(outcome, Written), outcome
    return outcome


def rejected(outcome: Outcome) -> RecordRejected:
    assert isinstance(outcome, RecordRejected), outcome
    return outcome


def all_of(pages: Iterator[Page]) -> list[SourceRecord]:
    return [record for page in pages for record in page.records]
