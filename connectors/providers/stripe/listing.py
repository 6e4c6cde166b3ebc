"""Reading a Stripe list as a stream, although no object says when it last changed.

A run lists what was created since the last one, newest first, then asks the list of events which older objects changed
and fetches those. The mark of a run lies a little before its first answer, so whatever happens while it lists belongs to
the next run. Events are kept for 30 days; after a longer break everything is listed again.

A cursor is `mark` alone between runs. Under way it also holds `since` (the mark this run began from, 0 for everything)
and either where the listing stands (`after`, `at`) or that it is complete (`listed`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from connectors.providers.stripe.client import StripeClient
from connectors.sdk.client import Client
from connectors.sdk.errors import RecordRejected
from connectors.sdk.streams import Cursor, Page, RejectedRow, SourceRecord, Stream

MOST_PER_PAGE = 100
OVERLAP_SECONDS = 60
EVENTS_KEPT_SECONDS = 29 * 86_400

Body = Mapping[str, Any]


class Listing(Stream):
    """`path` is listed with `expand`; `object_type` and `event_types` say which events tell of a change."""

    path: ClassVar[str]
    object_type: ClassVar[str]
    expand: ClassVar[tuple[str, ...]] = ()
    event_types: ClassVar[tuple[str, ...]] = ()
    page_size = MOST_PER_PAGE

    @abstractmethod
    def read(self, client: StripeClient, body: Body) -> SourceRecord:
        """One object as a record. Raises ValueError, KeyError or TypeError when it is not as documented."""

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        assert isinstance(client, StripeClient)
        under_way = dict(cursor or {})
        if "listed" not in under_way:
            for page in self._created(client, under_way):
                under_way = page.cursor
                yield page
                if page.is_last:
                    return
        changes = self._changed(client, under_way)
        yield from closed(changes, {"mark": under_way["mark"]})

    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        """Webhooks tell mostly of new objects, so pages from the top are tried as long as they beat single calls."""
        assert isinstance(client, StripeClient)
        wanted = dict.fromkeys(external_ids)
        found: list[Body] = []
        after = ""
        while len(wanted) > 2:
            answer = self._list(client, after=after)
            hits = [body for body in answer["data"] if body["id"] in wanted]
            found += hits
            for body in hits:
                del wanted[body["id"]]
            if len(hits) < 2 or not answer["has_more"]:
                break
            after = answer["data"][-1]["id"]
        found += [body for body in (self._one(client, id) for id in wanted) if body is not None]
        return self._page(client, found, cursor={}, is_last=True)

    # ------------------------------------------------------------------ what was created

    def _created(self, client: StripeClient, cursor: Cursor) -> Iterator[Page]:
        """The listing from where the cursor stands; its last page says `listed`, or ends a run that lists everything."""
        is_begun = "since" in cursor
        mark = int(cursor.get("mark", 0))
        since, after, at = int(cursor.get("since", mark)), str(cursor.get("after", "")), int(cursor.get("at", 0))
        while True:
            answer = self._resumed(client, since=since, after=after, at=at)
            if not is_begun:
                is_begun, mark = True, client.now - OVERLAP_SECONDS
                if since and client.now - since > EVENTS_KEPT_SECONDS and self.event_types:
                    since = 0
                    continue
            bodies = answer["data"]
            if bodies:
                after, at = bodies[-1]["id"], bodies[-1]["created"]
            position: Cursor = {"mark": mark, "since": since, "after": after, "at": at}
            if answer["has_more"]:
                yield self._page(client, bodies, cursor=position)
                continue
            is_last = not (since and self.event_types)
            rest = {"mark": mark} if is_last else {"mark": mark, "since": since, "listed": True}
            yield self._page(client, bodies, cursor=rest, is_last=is_last)
            return

    def _resumed(self, client: StripeClient, *, since: int, after: str, at: int) -> Any:
        """One page; an object deleted since it was read last cannot be gone on from, so its time stands in."""
        try:
            return self._list(client, since=since, after=after)
        except RecordRejected as refusal:
            if not after or refusal.code != "missing_reference":
                raise
            return self._list(client, since=since, until=at)

    def _list(self, client: StripeClient, *, since: int = 0, until: int = 0, after: str = "") -> Any:
        params = [("limit", str(self.page_size)), *self._expansions("data.")]
        params += [("created[gte]", str(since))] if since else []
        params += [("created[lte]", str(until))] if until else []
        params += [("starting_after", after)] if after else []
        return client.get(self.path, params)

    def _expansions(self, prefix: str = "") -> list[tuple[str, str]]:
        return [("expand[]", f"{prefix}{name}") for name in self.expand]

    # ------------------------------------------------------------------ what changed

    def _changed(self, client: StripeClient, cursor: Cursor) -> Iterator[Page]:
        """Objects older than this run's window of which an event tells."""
        told = self._told(client, cursor["since"])
        gone = [body for body in told.values() if body.get("deleted")]
        if gone:
            yield self._page(client, gone, cursor=cursor)
        alive = {id: body["created"] for id, body in told.items() if not body.get("deleted")}
        for bodies in self._current(client, alive):
            yield self._page(client, bodies, cursor=cursor)

    def _told(self, client: StripeClient, since: int) -> dict[str, Body]:
        """Objects by id as the newest event about them showed them; deleted ones as Stripe itself answers them."""
        told: dict[str, Body] = {}
        after = ""
        while True:
            params = [("limit", str(MOST_PER_PAGE)), ("created[gte]", str(since))]
            params += [("types[]", name) for name in self.event_types]
            params += [("starting_after", after)] if after else []
            answer = client.get("/v1/events", params)
            for event in answer["data"]:
                self._note(event, since, told)
            if not answer["has_more"]:
                return told
            after = answer["data"][-1]["id"]

    def _note(self, event: Body, since: int, told: dict[str, Body]) -> None:
        body = event["data"]["object"]
        if body.get("object") != self.object_type or body["id"] in told:
            return
        if event["type"].endswith(".deleted"):
            told[body["id"]] = {"id": body["id"], "object": self.object_type, "deleted": True}
        elif body["created"] < since:
            told[body["id"]] = body

    def _current(self, client: StripeClient, wanted: dict[str, int]) -> Iterator[list[Body]]:
        """The present state of objects whose time of creation is known. A page that holds one of them costs no more than
        asking for it alone, so pages are listed from the newest one down."""
        while len(wanted) > 1:
            newest = max(wanted, key=lambda id: wanted[id])
            answer = self._list(client, since=min(wanted.values()), until=wanted[newest])
            hits = [body for body in answer["data"] if body["id"] in wanted]
            if not any(body["id"] == newest for body in hits):
                alone = self._one(client, newest)
                hits += [alone] if alone else []
                del wanted[newest]
            for body in hits:
                wanted.pop(body["id"], None)
            yield hits
        for id in wanted:
            body = self._one(client, id)
            yield [body] if body else []

    def _one(self, client: StripeClient, id: str) -> Body | None:
        """One object, or None when Stripe has none of this id."""
        try:
            found: Body = client.get(f"{self.path}/{id}", self._expansions())
        except RecordRejected as refusal:
            if refusal.code != "missing_reference":
                raise
            return None
        return found

    # ------------------------------------------------------------------ pages

    def _page(self, client: StripeClient, bodies: Sequence[Body], *, cursor: Cursor, is_last: bool = False) -> Page:
        records: list[SourceRecord] = []
        rejected: list[RejectedRow] = []
        for body in bodies:
            try:
                records.append(self.read(client, body))
            except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
                rejected.append(_rejected(body, error))
        return Page(records=tuple(records), rejected=tuple(rejected), cursor=cursor, is_last=is_last)


def closed(pages: Iterator[Page], cursor: Cursor) -> Iterator[Page]:
    """The same pages, the last of them ending the run; an empty one when there is none."""
    held: Page | None = None
    for page in pages:
        if held is not None:
            yield held
        held = page
    held = held or Page(records=(), cursor=cursor)
    yield replace(held, cursor=cursor, is_last=True)


def _rejected(body: Any, error: Exception) -> RejectedRow:
    id = str(body.get("id", "")) if isinstance(body, Mapping) else ""
    missing = f"Stripe left out {error}." if isinstance(error, KeyError) else str(error)
    return RejectedRow(external_id=id, reason=f"This record cannot be read: {missing}", raw=body)
