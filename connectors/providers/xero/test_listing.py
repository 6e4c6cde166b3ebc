"""Pages over an order that moves while it is read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.providers.xero.listing import Walk, changed_pages, next_window
from connectors.providers.xero.simulator_books import ms_date
from connectors.sdk.records import Customer
from connectors.sdk.streams import Cursor, Page, SourceRecord
from connectors.testing.contract import Bench, Parts
from connectors.testing.contract.samples import Books, sample

START = dt.datetime(2026, 4, 1, 9, 0, tzinfo=dt.UTC)


class Contacts:
    """A list as Xero keeps it: whoever changes goes to the end."""

    def __init__(self, count: int, *, seconds_apart: float = 1.0) -> None:
        self.rows = [(f"c{n}", START + dt.timedelta(seconds=n * seconds_apart)) for n in range(count)]
        self.clock = self.rows[-1][1] if self.rows else START
        self.calls = 0

    def touch(self, position: int) -> str:
        id, _ = self.rows.pop(position)
        self.clock += dt.timedelta(seconds=5)
        self.rows.append((id, self.clock))
        return id

    def ask(self, since: str, number: int, size: int) -> dict[str, Any]:
        self.calls += 1
        after = dt.datetime.fromisoformat(since).replace(tzinfo=dt.UTC) if since else dt.datetime.min
        rows = [row for row in self.rows if not since or row[1] > after]
        page = rows[(number - 1) * size : number * size]
        told = {"pageCount": -(-len(rows) // size), "itemCount": len(rows)}
        listed = [{"ContactID": id, "UpdatedDateUTC": ms_date(at)} for id, at in page]
        return {"pagination": told, "Contacts": listed}

    def pages(self, size: int, cursor: Cursor | None = None) -> Iterator[Page]:
        return changed_pages(cursor, ask=self.ask, read=read, list_key="Contacts", id_key="ContactID", page_size=size)


def read(row: dict[str, Any]) -> SourceRecord:
    record = Customer(id=row["ContactID"], name=row["ContactID"])
    return SourceRecord(external_id=record.id, version=row["UpdatedDateUTC"], record=record, raw=row)


def ids(pages: list[Page]) -> list[str]:
    return [found.external_id for page in pages for found in page.records]


@pytest.mark.parametrize("size", [2, 3, 10, 50])
@pytest.mark.parametrize("seconds_apart", [0.0, 0.3, 60.0])
def test_a_quiet_list_is_read_once(size: int, seconds_apart: float) -> None:
    contacts = Contacts(101, seconds_apart=seconds_apart)
    found = ids(list(contacts.pages(size)))
    assert set(found) == {id for id, _ in contacts.rows}


def test_two_full_pages_take_two_calls() -> None:
    contacts = Contacts(200, seconds_apart=0.01)
    assert len(ids(list(contacts.pages(100)))) == 200
    assert contacts.calls == 2


def test_a_long_list_takes_hardly_more_calls_than_pages() -> None:
    contacts = Contacts(50_000, seconds_apart=2.0)
    list(contacts.pages(1000))
    assert contacts.calls <= 52


@pytest.mark.parametrize("size", [3, 7, 20])
@pytest.mark.parametrize("seconds_apart", [0.0, 1.0])
def test_rows_that_move_take_no_other_with_them(size: int, seconds_apart: float) -> None:
    """After every page the oldest row changes, so each next page would begin one row too late."""
    contacts = Contacts(60, seconds_apart=seconds_apart)
    everybody = {id for id, _ in contacts.rows}
    pages = []
    for page in contacts.pages(size):
        pages.append(page)
        if len(pages) <= 12:
            contacts.touch(0)
    assert set(ids(pages)) == everybody


@pytest.mark.parametrize("pause_after", [1, 2, 3])
def test_rows_that_move_between_two_runs_are_not_lost(pause_after: int) -> None:
    contacts = Contacts(40)
    everybody = {id for id, _ in contacts.rows}
    walk = contacts.pages(10)
    first = [next(walk) for _ in range(pause_after)]
    for _ in range(5):
        contacts.touch(0)
    second = list(contacts.pages(10, first[-1].cursor))
    assert set(ids(first + second)) == everybody


def test_the_next_run_reads_only_what_is_new() -> None:
    contacts = Contacts(40, seconds_apart=60)
    cursor = list(contacts.pages(10))[-1].cursor
    changed = contacts.touch(7)
    assert set(ids(list(contacts.pages(10, cursor)))) == {changed, "c39"}, "the last row is the overlap"


def test_every_page_goes_on_from_the_last_row() -> None:
    walk = Walk(count=1000)
    while walk.count < 20_000:
        number, size, overlap = next_window(walk, 1000, None)
        assert (number - 1) * size + overlap == walk.count
        assert overlap >= 1
        assert size - overlap > 900
        walk.count += size - overlap


def test_two_thousand_invoices_are_read_in_two_calls() -> None:
    bench = Bench(Parts.of("connectors.providers.xero"), organisation="", settings={}, page_size=None)
    books = Books.of(bench, sales_tax="")
    invoices = [sample(bench, books, "invoice", position) for position in range(2000)]
    bench.simulator.plant(bench.organisation, invoices)
    assert bench.calls_during(lambda: bench.read("invoice")) == 2
    bench.close()
