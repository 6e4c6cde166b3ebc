"""What all Xero endpoints have in common: lists, batches that answer for each element, and refusals."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal, TypedDict
from urllib.parse import quote_plus

import msgspec

from connectors.providers.xero.client import XeroClient, rows_of
from connectors.providers.xero.listing import Row, before, changed_at, changed_pages, page_of
from connectors.providers.xero.refusals import is_refused, refusal_of
from connectors.providers.xero.values import moment, money, quoted
from connectors.providers.xero.writing import reference_of
from connectors.sdk.client import Client, dump_json, parse_json
from connectors.sdk.errors import OutcomeUnknown, RecordRejected
from connectors.sdk.records import Record
from connectors.sdk.streams import (
    UNNAMED,
    Cursor,
    Draft,
    Outcome,
    Page,
    Request,
    SourceRecord,
    Standing,
    Stream,
    WritableStream,
    Written,
    part_by_part,
)

#: So many ids, or so long conditions, keep the address of a call well below 2,000 characters.
IDS_PER_CALL = 40
CONDITIONS_PER_CALL = 20
CONDITIONS_LENGTH = 1500

RECONCILED_KEYS = ("IsReconciled", "FromIsReconciled", "ToIsReconciled")
#: Where a document names what settles it, and by which key.
SETTLING = {
    "Payments": "PaymentID",
    "CreditNotes": "CreditNoteID",
    "Prepayments": "PrepaymentID",
    "Overpayments": "OverpaymentID",
    "Allocations": "AllocationID",
}

BATCH_PARAMS = {"summarizeErrors": "false"}


class Confirmed(TypedDict, total=False):
    """What of an answered document tells what became of it. Lines and contacts, most of an answer, are not even parsed."""

    InvoiceID: Any
    InvoiceNumber: Any
    CreditNoteID: Any
    CreditNoteNumber: Any
    PaymentID: Any
    BankTransferID: Any
    BankTransactionID: Any
    Reference: Any
    Type: Any
    Status: Any
    Total: Any
    TotalTax: Any
    Amount: Any
    UpdatedDateUTC: Any
    CreatedDateUTC: Any
    StatusAttributeString: Any
    HasErrors: Any
    HasValidationErrors: Any
    ValidationErrors: Any


class Confirmation(TypedDict, total=False):
    Invoices: list[Confirmed]
    CreditNotes: list[Confirmed]
    Payments: list[Confirmed]
    BankTransfers: list[Confirmed]
    BankTransactions: list[Confirmed]


_CONFIRMATION = msgspec.json.Decoder(Confirmation, float_hook=Decimal)


def confirmation(body: bytes) -> Any:
    """The answer to a write as far as it tells what became of it. Raises ValueError."""
    try:
        return _CONFIRMATION.decode(body)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def gone() -> RecordRejected:
    return RecordRejected("Xero no longer has this record.", code="missing_reference")


def stale() -> RecordRejected:
    return RecordRejected("Somebody changed this in Xero in the meantime.", code="stale")


def settled_by(row: Row) -> frozenset[str]:
    """What pays a document or uses it up; not everything that does is named on it."""
    named = {str(entry[key]) for name, key in SETTLING.items() for entry in row.get(name) or () if entry.get(key)}
    is_settled = any(row.get(key) for key in ("AmountPaid", "AmountCredited")) or (
        "RemainingCredit" in row and row["RemainingCredit"] != row.get("Total")
    )
    return frozenset(named or ({UNNAMED} if is_settled else ()))


def rate_of(row: Row) -> Decimal | None:
    """At which an entry was booked: one, where it is in the base currency."""
    return money(row["CurrencyRate"]) if row.get("CurrencyRate") else None


def xero(client: Client) -> XeroClient:
    if not isinstance(client, XeroClient):
        raise TypeError("A Xero stream needs a Xero client")
    return client


def digest(row: Row) -> str:
    """The version of an object that does not tell when it changed."""
    return hashlib.sha256(dump_json(row)).hexdigest()[:32]


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def packed(conditions: Sequence[str]) -> Iterator[list[str]]:
    """As many of them as have room in the address of one call."""
    some: list[str] = []
    left = CONDITIONS_LENGTH
    for condition in conditions:
        length = len(quote_plus(f"{condition} OR "))
        if some and length > left:
            yield some
            some, left = [], CONDITIONS_LENGTH
        some.append(condition)
        left -= length
    if some:
        yield some


class XeroStream(Stream):
    """One collection. `only` is the `where` filter that leaves out what we do not follow, `ours` the one for what we look up because
    we wrote it, where that is more."""

    path: ClassVar[str]
    list_key: ClassVar[str]
    id_key: ClassVar[str]
    only: ClassVar[str] = ""
    ours: ClassVar[str] = ""
    params: ClassVar[Mapping[str, str]] = {}
    takes_ids: ClassVar[bool] = False
    page_size: ClassVar[int] = 1000
    deletes: ClassVar[Literal["flag", "feed", "listing", "never"]] = "flag"

    @abstractmethod
    def read(self, row: Row) -> Record:
        """Raises ValueError or KeyError on a row that cannot be read."""

    def source(self, row: Row) -> SourceRecord:
        return SourceRecord(
            external_id=row[self.id_key],
            version=self.version(row),
            record=self.read(row),
            raw=row,
            updated_at=moment(row.get("UpdatedDateUTC")),
            is_deleted=row.get("Status") == "DELETED",
        )

    def version(self, row: Row) -> str:
        return changed_at(row) or digest(row)

    def asked(self, *conditions: str) -> dict[str, str]:
        """The parameters of a list; several conditions must all hold."""
        where = " AND ".join(f"({text})" if len(conditions) > 1 else text for text in conditions if text)
        return {**self.params, "where": where} if where else dict(self.params)

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        def ask(since: str, number: int, size: int) -> Mapping[str, Any]:
            paging = {"order": "UpdatedDateUTC ASC", "page": number, "pageSize": size}
            return xero(client).get(self.path, {**self.asked(self.only), **paging}, since)

        return changed_pages(
            cursor,
            ask=ask,
            read=self.source,
            list_key=self.list_key,
            id_key=self.id_key,
            page_size=self.page_size,
        )

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        return page_of(self.rows(client, external_ids), self.source, self.id_key, {}, is_last=True)

    def rows(self, client: Client, external_ids: Sequence[str]) -> list[Row]:
        """The objects with these ids as Xero has them now."""
        if self.takes_ids:
            asks = [
                {**self.asked(self.ours or self.only), "IDs": ",".join(ids)}
                for ids in chunks(external_ids, IDS_PER_CALL)
            ]
        else:
            asks = [
                self.asked(self.ours or self.only, " OR ".join(f'{self.id_key}==guid("{id}")' for id in ids))
                for ids in chunks(external_ids, CONDITIONS_PER_CALL)
            ]
        return [row for params in asks for row in self.listed(client, params)]

    def listed(self, client: Client, params: Mapping[str, str]) -> list[Row]:
        """One call; asking for a page makes Xero answer the line items too."""
        answer = xero(client).get(self.path, {**params, "page": 1, "pageSize": self.page_size})
        return rows_of(answer, self.list_key)


class WholeList(XeroStream):
    """A collection that Xero answers in one piece."""

    knows_modified_since: ClassVar[bool] = True

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        since = (cursor or {}).get("since", "") if self.knows_modified_since else ""
        answer = xero(client).get(self.path, self.asked(self.only), since)
        rows = sorted(rows_of(answer, self.list_key), key=changed_at)
        latest = max([before(changed_at(row)) for row in rows], default="")
        yield self.page(client, rows, {"since": max(since, latest)})

    def page(self, client: Client, rows: list[Row], cursor: Cursor) -> Page:
        return page_of(rows, self.source, self.id_key, cursor, is_last=True)

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        return self.page(client, self.rows(client, external_ids), {})

    def rows(self, client: Client, external_ids: Sequence[str]) -> list[Row]:
        wanted = set(external_ids)
        return [row for row in self.listed(client, self.asked(self.only)) if row.get(self.id_key) in wanted]

    def listed(self, client: Client, params: Mapping[str, str]) -> list[Row]:
        return rows_of(xero(client).get(self.path, params), self.list_key)


class WritableXeroStream(XeroStream, WritableStream):
    """PUT creates up to 50 objects and answers one outcome for each, POST changes them."""

    batch_size: ClassVar[int] = 50
    create_method: ClassVar[str] = "PUT"
    write_params: ClassVar[Mapping[str, str]] = BATCH_PARAMS
    reference_key: ClassVar[str] = "Reference"
    reference_length: ClassVar[int] = 255
    number_key: ClassVar[str] = ""
    total_key: ClassVar[str] = "Total"
    page_url: ClassVar[str] = ""
    answers_record: ClassVar[bool] = False  # both sides may change it, so what Xero made of our write is of interest

    @abstractmethod
    def write(self, draft: Draft) -> Row:
        """The draft as Xero's JSON."""

    def change(self, draft: Draft) -> Row:
        """The same for an object that is there."""
        return self.write(draft)

    def emptied(self, draft: Draft, row: Row) -> Row:
        """What empties the fields that the draft wants empty of the object as it is."""
        return {}

    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        """A batch refused as a whole wrote nothing; its elements are then sent one by one."""
        try:
            return self.post(client, self.create_method, self.path, request.content, len(drafts), key)
        except RecordRejected as refused:
            if len(drafts) == 1:
                return [refused]
        elements = enumerate(request.body[self.list_key])
        return part_by_part("Xero", (self._alone(client, one, key=f"{key[:120]}-{number}") for number, one in elements))

    def _alone(self, client: Client, element: Row, *, key: str) -> Outcome:
        """One element of a batch, as it stood in it."""
        try:
            content = dump_json({self.list_key: [element]})
            return self.post(client, self.create_method, self.path, content, 1, key)[0]
        except RecordRejected as refused:
            return refused

    def update(self, client: Client, external_id: str, draft: Draft, *, version: str) -> Outcome:
        """Xero has no lock, so the current version is read and compared right before the write."""
        found = self.rows(client, [external_id])
        if not found:
            return gone()
        if version and self.version(found[0]) != version:
            return stale()
        filled = {name: value for name, value in self.change(draft).items() if not is_empty(value)}
        body = filled | self.emptied(draft, found[0])
        key = f"{draft.key}-{digest(body)}"
        try:
            path = f"{self.path}/{external_id}"
            content = dump_json({self.list_key: [{self.id_key: external_id, **body}]})
            return self.post(client, "POST", path, content, 1, key)[0]
        except RecordRejected as refused:
            return refused

    def void(
        self, client: Client, external_ids: Sequence[str], *, versions: Mapping[str, str] | None = None
    ) -> list[Outcome]:
        """Xero has no lock, so the versions are compared with what was read right before the write."""
        known = versions or {}
        found = {row[self.id_key]: row for row in self.rows(client, external_ids)}
        outcomes: dict[str, Outcome] = {
            id: stale() for id, row in found.items() if known.get(id, self.version(row)) != self.version(row)
        }
        for ids in chunks([id for id in external_ids if id in found and id not in outcomes], self.batch_size):
            outcomes |= self.void_batch(client, [found[id] for id in ids])
        return [outcomes.get(id) or gone() for id in external_ids]

    def standing(self, found: SourceRecord) -> Standing:
        rate = rate_of(found.raw)
        return Standing(
            is_void=self.is_void(found.raw),
            is_reconciled=any(found.raw.get(key) for key in RECONCILED_KEYS),
            settled_by=settled_by(found.raw),
            exchange_rate=rate,
            base_rate=1 / rate if rate else None,
        )

    def void_batch(self, client: Client, rows: Sequence[Row]) -> dict[str, Outcome]:
        """What is void already stays as it is."""
        outcomes: dict[str, Outcome] = {row[self.id_key]: self.written(client, row) for row in rows}
        open_rows = [row for row in rows if not self.is_void(row)]
        if open_rows:
            answers = self.send_void(client, open_rows)
            outcomes |= {row[self.id_key]: answer for row, answer in zip(open_rows, answers, strict=True)}
        return outcomes

    def send_void(self, client: Client, rows: Sequence[Row]) -> list[Outcome]:
        bodies = [{self.id_key: row[self.id_key], **self.voided(row)} for row in rows]
        try:
            content = dump_json({self.list_key: bodies})
            return self.post(client, "POST", self.path, content, len(bodies), self.void_key(rows))
        except RecordRejected as refused:
            if len(rows) == 1:
                return [refused]
        return [outcome for row in rows for outcome in self.send_void(client, [row])]

    def void_key(self, rows: Sequence[Row]) -> str:
        """The same objects as they stood: once somebody has changed one, it is another request."""
        return f"void-{digest({row[self.id_key]: self.version(row) for row in rows})}"

    def is_void(self, row: Row) -> bool:
        return row.get("Status") in ("VOIDED", "DELETED")

    def voided(self, row: Row) -> Row:
        """What to send to take the document back."""
        return {"Status": "DELETED"}

    def find(self, client: Client, drafts: Sequence[Draft]) -> dict[str, Written]:
        """What is void does not count as written."""
        by_reference: dict[str, list[Draft]] = {}
        for draft in drafts:
            if reference := reference_of(draft, self.reference_length):
                by_reference.setdefault(reference, []).append(draft)
        found: dict[str, Written] = {}
        for conditions in packed([f"{self.reference_key}=={quoted(text)}" for text in by_reference]):
            for row in self.listed(client, self.asked(self.ours or self.only, " OR ".join(conditions))):
                for draft in by_reference.get(row.get(self.reference_key, ""), ()):
                    if not self.is_void(row) and self.is_same(draft, row):
                        one = self.written(client, row)
                        found[draft.key] = found.get(draft.key, one).beside(one)
        return found

    def is_same(self, draft: Draft, row: Row) -> bool:
        """Whether a document with the draft's reference is the draft's."""
        return True

    def preview(self, client: Client, drafts: Sequence[Draft]) -> Request:
        content = dump_json({self.list_key: [self.write(draft) for draft in drafts]})
        return Request(method=self.create_method, path=f"/api.xro/2.0{self.path}", content=content)

    def post(self, client: Client, method: str, path: str, content: bytes, count: int, key: str) -> list[Outcome]:
        """Send a batch of so many. Raises `RecordRejected` when Xero refused it as a whole."""
        reads = parse_json if self.answers_record else confirmation
        answer = xero(client).send(method, path, content, self.write_params, key=key, reads=reads)
        elements = answer.get(self.list_key)
        if not isinstance(elements, list) or len(elements) != count:
            raise OutcomeUnknown("Xero did not confirm every document of a batch; they are looked up.")
        return [refusal_of(element) if is_refused(element) else self.written(client, element) for element in elements]

    def written(self, client: Client, element: Row) -> Written:
        total = element.get(self.total_key)
        is_linked = self.page_url and not client.access.simulator
        return Written(
            external_id=element[self.id_key],
            number=element.get(self.number_key, ""),
            version=self.version(element),
            total=None if total is None else money(total),
            url=self.page_url.format(id=element[self.id_key]) if is_linked else "",
            raw=element,
            record=self.source(element) if self.answers_record else None,
        )


def is_empty(value: Any) -> bool:
    """A field that was left at its default; a contact without a name counts as one."""
    return value in ("", None, [], {}) or value == {"Name": ""}
