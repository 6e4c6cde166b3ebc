"""Streams: named lists of records a connector reads, and the ones it can write."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec

from connectors.sdk.client import Client, dump_json, parse_json
from connectors.sdk.errors import ConnectorError, OutcomeUnknown, RecordRejected
from connectors.sdk.records import Record, encode

Cursor = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """One attribute of a stream as the provider's own pages call it. `path` is a path into the standard record."""

    path: str
    label: str
    kind: Literal["text", "money", "date", "datetime", "number", "choice", "flag", "party", "lines"] = "text"
    hint: str = ""


class SourceRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record as read: the standard form beside the provider's raw body.

    `version` changes whenever the provider's object changes. A deleted or voided object is still a record. `raw` is the parsed
    body, or its JSON text as it came. `encoded` is the record as `encode` gives it, from whoever had to know it anyway.
    """

    external_id: str
    version: str
    record: Record
    raw: Any
    updated_at: dt.datetime | None = None
    is_deleted: bool = False
    encoded: bytes = b""

    @property
    def body(self) -> bytes:
        return self.encoded or encode(self.record)

    @property
    def raw_text(self) -> str:
        return self.raw if isinstance(self.raw, str) else dump_json(self.raw).decode()

    @property
    def raw_body(self) -> Any:
        """Parsed. Raises ValueError."""
        return parse_json(self.raw) if isinstance(self.raw, str) else self.raw


@dataclass(frozen=True, kw_only=True)
class RejectedRow:
    """A row we could not read; kept, counted and shown, never dropped."""

    external_id: str
    reason: str
    raw: Any


@dataclass(frozen=True, kw_only=True)
class Page:
    """One answer of a list. `cursor` is where to go on if the run ends here; `total` is the provider's own count, if told.

    `is_last` is true on the page that completes the listing, and only there.
    """

    records: tuple[SourceRecord, ...]
    cursor: Cursor
    rejected: tuple[RejectedRow, ...] = ()
    total: int | None = None
    is_last: bool = False


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A document to be written. `key` is the posting key; `reference` is what `find` can look it up by."""

    key: str
    reference: str
    document: Record
    as_draft: bool = False


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the provider now holds. `url` opens it in the provider's own pages, `total` is its own sum, if it answers one.

    `others`: looked up, further objects fit as well; which of them is ours only a person can say.
    `record` is the whole object as the provider made it of our write, for data types both sides may change: what is read back
    later is compared with it.
    """

    external_id: str
    number: str = ""
    version: str = ""
    total: Decimal | None = None
    url: str = ""
    raw: dict[str, Any] = field(default_factory=dict)
    record: SourceRecord | None = None
    others: tuple[str, ...] = ()

    def beside(self, other: Written) -> Written:
        """The same, with another object that fits as well."""
        is_new = other.external_id not in (self.external_id, *self.others)
        return replace(self, others=(*self.others, other.external_id)) if is_new else self


Outcome = Written | RecordRejected


def part_by_part(name: str, sending: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes of a batch that takes several writes, each sent when it is asked for. Trouble after one of them was written
    leaves the batch's outcome unknown: it must not pass for unwritten."""
    outcomes: list[Outcome] = []
    try:
        for outcome in sending:
            outcomes.append(outcome)
    except ConnectorError as error:
        if any(isinstance(outcome, Written) for outcome in outcomes):
            raise OutcomeUnknown(f"{name} confirmed only a part of a batch; it is looked up.") from error
        raise
    return outcomes


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How an entry stands at the provider, apart from what it says.

    `settled_by` are the entries that pay it or use it up, by id; `UNNAMED` where the provider does not tell which.
    `is_reconciled`: matched with a bank statement, so the provider lets nobody take it back. `exchange_rate`: at which an entry in a
    foreign currency was booked, as the provider quotes it; `base_rate`: the same as units of the base currency for one of its own.
    """

    is_void: bool = False
    is_reconciled: bool = False
    settled_by: frozenset[str] = frozenset()
    exchange_rate: Decimal | None = None
    base_rate: Decimal | None = None


UNNAMED = "unnamed"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The exact request a write sends: what is committed before it, goes over the wire, and people read. Holds no credentials.

    `content` is the body, byte for byte. `decided`: the drafts it does not hold, by their place, with what became of them before
    anything was sent.
    """

    method: str
    path: str
    content: bytes
    content_type: str = JSON
    decided: Mapping[int, Outcome] = field(default_factory=dict)

    @property
    def body(self) -> Any:
        """The content as people read it."""
        is_json = self.content_type == JSON
        return parse_json(self.content) if is_json else dict(parse_qsl(self.content.decode(), keep_blank_values=True))

    def outcomes(self, sent: Iterable[Outcome], count: int) -> list[Outcome]:
        """One outcome for each of so many drafts, in order, from those of the ones that were sent."""
        answered = iter(sent)
        return [self.decided[place] if place in self.decided else next(answered) for place in range(count)]


def form_content(values: Sequence[tuple[str, str]]) -> bytes:
    """The body of a request whose `content_type` is `FORM`."""
    return urlencode(values).encode()


class Stream(ABC):
    """A readable data type.

    `deletes` says how a deletion shows: as a state of the object (`flag`), in a separate `feed`, only by its absence from a
    complete `listing`, or `never`. `carried_by` names the stream in whose pages these records arrive, for a data type without
    a listing of its own (its `pages` is never called). Cursors compare `>=` with an overlap, so a boundary record may be seen twice, never missed.
    """

    data_type: ClassVar[str]
    label: ClassVar[str]
    record: ClassVar[type[Record]]
    fields: ClassVar[tuple[Field, ...]]
    page_size: ClassVar[int]
    deletes: ClassVar[Literal["flag", "feed", "listing", "never"]]
    poll_seconds: ClassVar[int] = 900
    carried_by: ClassVar[str] = ""

    @abstractmethod
    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        """All records changed since `cursor` (None: from the beginning), oldest change first."""

    @abstractmethod
    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        """The current state of these objects, in as few calls as the provider allows; unknown ids are absent."""


class WritableStream(Stream):
    """A data type we can also write. Every method answers one outcome a draft, in order.

    `send` raises `OutcomeUnknown` when the answer was lost, `TransientError` when surely nothing was written.
    `settles_on_document`: a credit note's repayment is part of the document itself, so no separate payment is written.
    `cannot_empty`: fields that, once filled, the provider lets nobody empty.
    """

    batch_size: ClassVar[int]
    void_batch_size: ClassVar[int] = 30
    settles_on_document: ClassVar[bool] = False
    cannot_empty: ClassVar[frozenset[str]] = frozenset()

    def request(self, client: Client, drafts: Sequence[Draft], *, key: str) -> Request:
        """What creates up to `batch_size` documents in one call. What they name, such as their customers, may be created first,
        which must be as good as once when it is done twice."""
        return self.preview(client, drafts)

    @abstractmethod
    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        """Send the very bytes of what `request` made of these drafts, idempotent under `key` within the provider's window. So what
        was committed as the intent and what is sent are the same by construction."""

    def create(self, client: Client, drafts: Sequence[Draft], *, key: str) -> list[Outcome]:
        """Make up a request and send it."""
        return self.send(client, drafts, self.request(client, drafts, key=key), key=key)

    def anticipate(self, client: Client, drafts: Sequence[Draft], *, key: str) -> None:
        """Told of documents that follow in several batches: a provider that wants what they name to exist first can create it
        in full batches here. `request` must do without."""
        return None

    @abstractmethod
    def update(self, client: Client, external_id: str, draft: Draft, *, version: str) -> Outcome:
        """Overwrite one object, if its `version` is still the one we know. A field left at its default is not sent, unless the
        document says that it is to be emptied."""

    @abstractmethod
    def void(
        self, client: Client, external_ids: Sequence[str], *, versions: Mapping[str, str] | None = None
    ) -> list[Outcome]:
        """Take documents back the way the provider has it: void where it exists, else delete. What is void stays as it is.

        With `versions`, an object that has another version by now is left alone and refused as `stale`. Doing it twice is as
        good as once, so an answer that was lost is no harm: read the objects again. Only documents of ledgers are given versions.
        """

    def standing(self, found: SourceRecord) -> Standing:
        """What keeps an object, as fetched, from being taken back."""
        return Standing(is_void=found.is_deleted or getattr(found.record, "status", "") == "void")

    def edition(self, version: str) -> str:
        """The part of a version that only an edit of the object itself changes, where the provider tells it from being paid."""
        return version

    @abstractmethod
    def find(self, client: Client, drafts: Sequence[Draft]) -> dict[str, Written]:
        """Which of these drafts exist already, by posting key: looked up by reference, for outcomes that are unknown. There may be
        more of them than go into one request: they are asked for in as few calls as possible. A document that was copied with its
        reference fits as well as its original: `Written.beside`."""

    @abstractmethod
    def preview(self, client: Client, drafts: Sequence[Draft]) -> Request:
        """The same as `request` where everything the drafts name is there; what is not appears by its name. Creates nothing."""
