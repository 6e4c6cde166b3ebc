"""Writing in batches: build, send up to 30 in one call, and pair every result with its draft."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

from connectors.providers.quickbooks.client import (
    QuickBooksClient,
    batch_content,
    incomplete,
    portions,
    quoted_list,
)
from connectors.providers.quickbooks.faults import fault_of, rejection
from connectors.providers.quickbooks.listing import Entity, fetch_page, fetch_rows, read_pages
from connectors.providers.quickbooks.manifest import BATCH_SIZE, PAGE_SIZE
from connectors.providers.quickbooks.names import item_ids, no_tax_code, party_ids
from connectors.providers.quickbooks.reading import is_voided, money, note_reference, read_rows, sync_token, version_of
from connectors.providers.quickbooks.writing import (
    References,
    document_number,
    is_money_back,
    total_of,
    wanted_party,
)
from connectors.sdk.client import Client
from connectors.sdk.errors import RecordRejected
from connectors.sdk.records import Document, Party, Record
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
)

Json = dict[str, Any]
DocumentType = TypeVar("DocumentType", bound=Record)
#: One document as it will be sent: the object type and its body, or why it cannot be.
Prepared = tuple[str, Json] | RecordRejected
#: What a document was made from; links to it settle nothing.
ORIGINS = {"Estimate", "TimeActivity", "ReimburseCharge", "StatementCharge", "ChargeCredit"}


def company_client(client: Client) -> QuickBooksClient:
    if not isinstance(client, QuickBooksClient):
        raise TypeError(f"QuickBooks streams need a QuickBooks client, not {type(client).__name__}")
    return client


class Listed(Stream):
    """Read by walking its entities; transactions also have the change feed, which tells of deletions."""

    entities: ClassVar[tuple[Entity, ...]]
    page_size = PAGE_SIZE
    has_feed: ClassVar[bool] = True

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        yield from read_pages(company_client(client), self.entities, cursor, self.page_size, has_feed=self.has_feed)

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        return fetch_page(company_client(client), self.entities, external_ids, self.page_size)


class Written30(Listed, WritableStream):
    """Written through QuickBooks' batch call, whose elements succeed or fail on their own.

    `also_written` are entities that are written but not listed. `web_page` opens a document in QuickBooks, by entity. `answers_record`: both sides may change it, so what QuickBooks made of
    our write is of interest.
    """

    batch_size = BATCH_SIZE
    also_written: ClassVar[tuple[Entity, ...]] = ()
    web_page: ClassVar[dict[str, str]]
    answers_record: ClassVar[bool] = False

    @property
    def written_entities(self) -> tuple[Entity, ...]:
        return (*self.entities, *self.also_written)

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        return fetch_page(company_client(client), self.written_entities, external_ids, self.page_size)

    @abstractmethod
    def prepare(self, client: QuickBooksClient, drafts: Sequence[Draft], *, create: bool, key: str) -> list[Prepared]:
        """What would be sent. With `create`, missing customers, suppliers and items are made first."""

    @abstractmethod
    def search(self, drafts: Sequence[Draft]) -> list[tuple[Entity, str]]:
        """Queries that find these drafts' documents, each with the entity it answers."""

    def is_found(self, draft: Draft, row: Json) -> bool:
        """Whether a row the search brought is this draft's document."""
        return note_reference(row) == draft.reference

    def void_item(self, entity: str, row: Json) -> Json:
        """The operation that takes a document back."""
        return {"operation": "delete", entity: {"Id": row["Id"], "SyncToken": row["SyncToken"]}}

    def anticipate(self, client: Client, drafts: Sequence[Draft], *, key: str) -> None:
        """Customers, suppliers and items of all these documents, thirty to a call instead of a few with every batch."""
        self.prepare(company_client(client), drafts, create=True, key=key)

    def request(self, client: Client, drafts: Sequence[Draft], *, key: str) -> Request:
        return self._request(company_client(client), drafts, create=True, key=key)

    def preview(self, client: Client, drafts: Sequence[Draft]) -> Request:
        """Customers and items that would be created first appear by name."""
        return self._request(company_client(client), drafts, create=False, key="")

    def _request(self, client: QuickBooksClient, drafts: Sequence[Draft], *, create: bool, key: str) -> Request:
        """Each operation bears the place of its draft; a draft that cannot be built is in none."""
        prepared = self.prepare(client, drafts, create=create, key=key)
        items = [
            {"bId": str(place), "operation": "create", one[0]: one[1]}
            for place, one in enumerate(prepared)
            if not isinstance(one, RecordRejected)
        ]
        return Request(
            method="POST",
            path=client.company_path("batch"),
            content=batch_content(items),
            decided={place: one for place, one in enumerate(prepared) if isinstance(one, RecordRejected)},
        )

    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        company = company_client(client)
        ids = [str(place) for place in range(len(drafts)) if place not in request.decided]
        results = company.send(request.content, ids, key=key) if ids else []
        return request.outcomes((self._outcome(company, result) for result in results), len(drafts))

    def update(self, client: Client, external_id: str, draft: Draft, *, version: str) -> Outcome:
        """Only what the draft says is changed; an object changed meanwhile is refused as stale."""
        company = company_client(client)
        (prepared,) = self.prepare(company, [draft], create=True, key=draft.key)
        if isinstance(prepared, RecordRejected):
            return prepared
        entity, body = prepared
        lock = {"Id": external_id, "SyncToken": sync_token(version), "sparse": True}
        item = {"bId": "0", "operation": "update", entity: body | lock}
        (result,) = company.write([item], key=f"{draft.key}:{external_id}:{version}")
        return self._outcome(company, result)

    def void(
        self, client: Client, external_ids: Sequence[str], *, versions: Mapping[str, str] | None = None
    ) -> list[Outcome]:
        """The sync tokens just read go along, so what changes on the way is refused by QuickBooks itself."""
        company, known = company_client(client), versions or {}
        found = fetch_rows(company, self.written_entities, external_ids, self.page_size)
        rows = {row["Id"]: (entity, row) for entity, some in found.items() for row in some}
        outcomes: dict[str, Outcome] = {id: _absent(id) for id in external_ids if id not in rows}
        outcomes |= {id: _stale() for id, (_, row) in rows.items() if known.get(id, version_of(row)) != version_of(row)}
        outcomes |= {
            id: self._written(company, *rows[id]) for id in rows if id not in outcomes and _is_void_already(rows[id][1])
        }
        for some in portions([id for id in external_ids if id not in outcomes], self.batch_size):
            items = [{"bId": str(number)} | self.void_item(*rows[id]) for number, id in enumerate(some)]
            results = company.write(items, key=f"void:{[(id, rows[id][1]['SyncToken']) for id in some]}")
            for id, result in zip(some, results, strict=True):
                outcomes[id] = self._outcome(company, result)
        return [outcomes[id] for id in external_ids]

    def standing(self, found: SourceRecord) -> Standing:
        """QuickBooks does not tell what is reconciled with the bank; it refuses to take such an entry back."""
        row = found.raw
        links = [*(row.get("LinkedTxn") or ()), *_unapplied_marks(row)]
        rate = money(row["ExchangeRate"]) if row.get("ExchangeRate") else None
        return Standing(
            is_void=found.is_deleted or _is_void_already(row),
            settled_by=frozenset(str(link["TxnId"]) for link in links if link.get("TxnType") not in ORIGINS),
            exchange_rate=rate,
            base_rate=rate,
        )

    def edition(self, version: str) -> str:
        return sync_token(version)

    def find(self, client: Client, drafts: Sequence[Draft]) -> dict[str, Written]:
        company = company_client(client)
        found: dict[str, Written] = {}
        for name, row in _found_by(company, self.search(drafts)):
            for draft in drafts:
                if self.is_found(draft, row):
                    one = self._written(company, name, row)
                    found[draft.key] = found.get(draft.key, one).beside(one)
        return found

    def _outcome(self, client: QuickBooksClient, result: Json) -> Outcome:
        if fault := fault_of(result):
            return rejection(fault)
        entity = next((known.name for known in self.written_entities if known.name in result), None)
        if entity is None:
            raise incomplete(True, f"a result without an object: {sorted(result)}")
        return self._written(client, entity, result[entity])

    def _written(self, client: QuickBooksClient, entity: str, row: Json) -> Written:
        return Written(
            external_id=row["Id"],
            number=str(row.get("DocNumber") or row.get("DisplayName") or ""),
            version=version_of(row),
            total=_signed_total(entity, row),
            url=client.url("web", self.web_page[entity].format(id=row["Id"])),
            raw=row,
            record=self._record(entity, row) if self.answers_record else None,
        )

    def _record(self, entity: str, row: Json) -> SourceRecord | None:
        (converted,) = [known.convert for known in self.written_entities if known.name == entity]
        records, _ = read_rows([row], converted)
        return records[0] if records else None


def _found_by(client: QuickBooksClient, searches: Sequence[tuple[Entity, str]]) -> Iterator[tuple[str, Json]]:
    """The rows that these queries find, to the last one, each with the name of its entity."""
    for some in portions(searches, BATCH_SIZE):
        statements = [statement for _, statement in some]
        answers = client.queries(statements) if len(statements) > 1 else [client.query(statements[0])]
        for (entity, statement), answer in zip(some, answers, strict=True):
            rows, start = answer.get(entity.name, []), 1
            yield from ((entity.name, row) for row in rows)
            while len(rows) == PAGE_SIZE:
                start += PAGE_SIZE
                next_page = statement.replace(" maxresults ", f" startposition {start} maxresults ")
                rows = client.query(next_page).get(entity.name, [])
                yield from ((entity.name, row) for row in rows)


def _signed_total(entity: str, row: Json) -> Decimal | None:
    total = total_of(row)
    return -total if total is not None and is_money_back(entity, row) else total


def _is_void_already(row: Json) -> bool:
    return "TotalAmt" in row and is_voided(row, money(row["TotalAmt"]))


def _unapplied_marks(row: Json) -> list[Json]:
    """A sale of which less is open than its total is settled by something, named or not."""
    is_settled = "Balance" in row and "DepositToAccountRef" not in row and row["Balance"] != row.get("TotalAmt")
    return [{"TxnId": UNNAMED}] if is_settled and not row.get("LinkedTxn") else []


def _stale() -> RecordRejected:
    return RecordRejected("Somebody changed this in QuickBooks in the meantime.", code="stale")


def _absent(id: str) -> RecordRejected:
    return RecordRejected(f"Transaction {id} is not in QuickBooks any more.", code="missing_reference")


def each(drafts: Sequence[Draft | RecordRejected], build: Callable[[Draft], tuple[str, Json]]) -> list[Prepared]:
    """Bodies in order; a draft that cannot be built stands as its own refusal and stops no other."""
    prepared: list[Prepared] = []
    for draft in drafts:
        if isinstance(draft, RecordRejected):
            prepared.append(draft)
            continue
        try:
            prepared.append(build(draft))
        except RecordRejected as refused:
            prepared.append(refused)
    return prepared


def document_references(
    client: QuickBooksClient, documents: Iterable[Document], *, create: bool, key: str
) -> References:
    """Everything these sales documents name, in as few calls as possible; none when all is known."""
    documents = list(documents)
    accounts = [line.ledger_account for document in documents for line in document.lines]
    wanted = [wanted_party(document.customer, document.currency) for document in documents]
    items = item_ids(client, accounts, create=create, key=key)
    return References(
        items=items,
        no_tax_code=no_tax_code(client),
        parties=party_ids(client, "Customer", wanted, create=create, key=key),
    )


def party_references(
    client: QuickBooksClient, kind: str, parties: Iterable[tuple[Party, str]], *, create: bool, key: str
) -> dict[tuple[str, str], str | RecordRejected]:
    wanted = [wanted_party(party, currency) for party, currency in parties]
    return party_ids(client, kind, wanted, create=create, key=key)


def by_number(entity: Entity, field: str, numbers: Iterable[str]) -> tuple[Entity, str]:
    distinct = list(dict.fromkeys(numbers))
    where = entity.where(f"{field} in {quoted_list(distinct)}")
    return entity, f"select * from {entity.name}{where} orderby Id maxresults {PAGE_SIZE}"


def number_of(draft: Draft) -> str:
    return document_number(str(getattr(draft.document, "number", "")), draft.reference)


def documents_of(drafts: Sequence[Draft], kind: type[DocumentType]) -> list[DocumentType]:
    return [typed(draft, kind) for draft in drafts]


def typed(draft: Draft, kind: type[DocumentType]) -> DocumentType:
    if not isinstance(draft.document, kind):
        raise TypeError(f"A draft of {kind.data_type} holds a {draft.document.data_type}")
    return draft.document
