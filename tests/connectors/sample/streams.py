"""Reading and writing the sample ledger: its JSON is the standard record plus `updated_at` and `version`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal

import msgspec

from connectors.sdk.client import Client, dump_json
from connectors.sdk.errors import RecordRejected
from connectors.sdk.records import Company, Customer, Invoice, LedgerAccount, Record, decode, encode
from connectors.sdk.streams import (
    Cursor,
    Draft,
    Field,
    Outcome,
    Page,
    RejectedRow,
    Request,
    SourceRecord,
    Stream,
    WritableStream,
    Written,
)


class Listed(Stream):
    """Rows in order of (updated_at, id): a page goes on after the last row, a run begins again at its moment."""

    page_size: ClassVar[int] = 50
    deletes: ClassVar[Literal["flag", "feed", "listing", "never"]] = "flag"

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        position: Cursor = cursor or {"since": "", "after": ""}
        while True:
            rows = self.rows(client, {**position, "limit": self.page_size})
            is_last = len(rows) < self.page_size
            if rows:
                position = {"since": rows[-1]["updated_at"], "after": "" if is_last else rows[-1]["id"]}
            yield self.page(rows, position, is_last)
            if is_last:
                return

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        return self.page(self.rows(client, {"ids": ",".join(external_ids)}), {}, True)

    def rows(self, client: Client, query: dict[str, Any]) -> list[dict[str, Any]]:
        answer = client.request("GET", "api", f"/records/{self.data_type}", params=query)
        rows: list[dict[str, Any]] = answer["rows"]
        return rows

    def page(self, rows: Sequence[dict[str, Any]], cursor: Cursor, is_last: bool) -> Page:
        read: list[SourceRecord] = []
        rejected: list[RejectedRow] = []
        for row in rows:
            try:
                read.append(self.read(row))
            except msgspec.ValidationError as error:
                rejected.append(RejectedRow(external_id=row["id"], reason=str(error), raw=row))
        return Page(records=tuple(read), rejected=tuple(rejected), cursor=cursor, is_last=is_last)

    def read(self, row: dict[str, Any]) -> SourceRecord:
        record = decode(self.data_type, msgspec.json.encode(row["record"]))
        return SourceRecord(
            external_id=row["id"],
            version=str(row["version"]),
            record=record,
            raw=row,
            updated_at=dt.datetime.fromisoformat(row["updated_at"]),
        )


class Writable(Listed, WritableStream):
    batch_size: ClassVar[int] = 5

    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        answer = client.request(
            request.method,
            "api",
            request.path,
            is_write=True,
            content=request.content,
            headers={"Content-Type": request.content_type, "Idempotency-Key": key},
        )
        return [outcome(result) for result in answer["results"]]

    def update(self, client: Client, external_id: str, draft: Draft, *, version: str) -> Outcome:
        changes = as_json(draft.document)
        body = {"version": version, "empty": changes.pop("emptied", []), "changes": changes}
        path = f"/records/{self.data_type}/{external_id}"
        return outcome(client.request("PATCH", "api", path, is_write=True, json=body))

    def void(
        self, client: Client, external_ids: Sequence[str], *, versions: Mapping[str, str] | None = None
    ) -> list[Outcome]:
        held = {found.external_id: found.version for found in self.fetch(client, external_ids).records}
        known = versions or held
        return [
            outcome(client.request("POST", "api", f"/records/{self.data_type}/{id}/void", is_write=True))
            if known.get(id) == held.get(id)
            else RecordRejected("It was changed meanwhile.", code="stale")
            for id in external_ids
        ]

    def find(self, client: Client, drafts: Sequence[Draft]) -> dict[str, Written]:
        by_reference = {draft.reference: draft.key for draft in drafts}
        rows = self.rows(client, {"references": ",".join(by_reference)})
        return {by_reference[row["reference"]]: Written(external_id=row["id"]) for row in rows}

    def preview(self, client: Client, drafts: Sequence[Draft]) -> Request:
        body = {"drafts": [{"reference": draft.reference, "record": as_json(draft.document)} for draft in drafts]}
        return Request(method="POST", path=f"/records/{self.data_type}/batch", content=dump_json(body))


def as_json(record: Record) -> Any:
    return msgspec.json.decode(encode(record))


def outcome(result: dict[str, Any]) -> Outcome:
    if "error" in result:
        return RecordRejected(result["error"], code=result["code"])
    total = Decimal(result["total"]) if result.get("total") else None
    return Written(external_id=result["id"], version=str(result["version"]), total=total)


class Companies(Listed):
    data_type = "company"
    label = "Company"
    record = Company
    fields = (Field("name", "Legal name"),)


class LedgerAccounts(Listed):
    data_type = "ledger_account"
    label = "Accounts"
    record = LedgerAccount
    fields = (Field("code", "Code"), Field("name", "Name"))


class Customers(Writable):
    data_type = "customer"
    label = "Customers"
    record = Customer
    fields = (Field("name", "Name"), Field("address.city", "City"))


class Invoices(Writable):
    data_type = "invoice"
    label = "Invoices"
    record = Invoice
    fields = (Field("total", "Total", "money"), Field("lines.amount", "Amount", "money"))


STREAMS = (Companies(), LedgerAccounts(), Customers(), Invoices())
