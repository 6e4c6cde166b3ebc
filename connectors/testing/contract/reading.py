"""Every record arrives, once, exactly; wherever a run was cut off and whatever changed meanwhile."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from connectors.sdk.client import dump_json, parse_json
from connectors.sdk.records import Record, decode, encode
from connectors.sdk.streams import Page, SourceRecord
from connectors.testing.contract.bench import Bench, only
from connectors.testing.contract.samples import part_of
from connectors.testing.contract.setup import Setup

#: A change to one field that every provider of the data type can hold.
TOUCHES: dict[str, dict[str, Any]] = {
    "order": {"note": "Changed while it was being read"},
    "customer": {"email": "changed@alder-finch.example"},
    "invoice": {"due_date": dt.date(2031, 1, 31)},
    "ledger_account": {"name": "Changed while it was being read"},
}

#: Data types whose rows carry amounts, so that one of them can be made unreadable.
WITH_AMOUNTS = ("order", "payout", "balance_transaction", "deal", "invoice", "credit_note", "bank_transfer", "expense")


class ReadingRules(Setup):
    def seed_pages(self, bench: Bench, data_type: str) -> list[str]:
        """More than two pages of records."""
        page_size = bench.stream(data_type).page_size
        count = 4 if data_type in self.unpaged else 2 * page_size + 1
        return self.seed(bench, data_type, count)

    def test_every_record_arrives_exactly_once(self, bench: Bench, seeded: str) -> None:
        ids = self.seed_pages(bench, seeded)
        pages = list(bench.pages(seeded))
        arrived = Counter(found.external_id for page in pages for found in only(seeded, page))
        assert [id for id in ids if arrived[id] != 1] == []
        assert [row for page in pages for row in page.rejected] == []
        if seeded not in self.unpaged:
            assert len(pages) >= 3, "small pages were asked for"

    def test_records_come_back_as_they_were(self, bench: Bench, seeded: str) -> None:
        records = self.samples(bench, seeded, 4)
        ids = bench.simulator.plant(bench.organisation, records)
        arrived = {found.external_id: found.record for found in bench.read(seeded)}
        for id, record in zip(ids, records, strict=True):
            assert differences(record, arrived[id], self.kept(seeded)) == []

    def test_amounts_are_exact_and_moments_aware(self, bench: Bench, reads: str) -> None:
        if reads not in self.not_seeded:
            self.seed(bench, reads, 4)
        arrived = bench.read(reads)
        assert arrived or reads in self.not_seeded, "nothing to look at"
        for found in arrived:
            assert wrong_types(found.record) == []
            assert decode(reads, encode(found.record)) == found.record
            assert found.external_id and found.version
            assert found.record.id == found.external_id
            assert found.updated_at is None or found.updated_at.tzinfo is not None
            assert isinstance(parse_json(found.raw_text), dict), "the raw body is JSON"

    def test_the_end_of_a_listing_is_told_once(self, bench: Bench, reads: str) -> None:
        if reads not in self.not_seeded:
            self.seed_pages(bench, reads)
        ends = [page.is_last for page in bench.pages(reads)]
        assert ends == [False] * (len(ends) - 1) + [True]

    def test_a_run_goes_on_from_any_page(self, bench: Bench, seeded: str) -> None:
        ids = set(self.seed_pages(bench, seeded))
        pages = list(bench.pages(seeded))
        seen: set[str] = set()
        for page in pages:
            seen |= {found.external_id for found in only(seeded, page)}
            rest = {found.external_id for found in bench.read(seeded, page.cursor)}
            assert ids - seen - rest == set(), "cut off here, these would never arrive"

    def test_the_cursor_never_moves_back(self, bench: Bench, seeded: str) -> None:
        self.seed_pages(bench, seeded)
        moments: dict[str, dt.datetime] = {}
        for page in bench.pages(seeded):
            for name, moment in moments_in(page).items():
                assert moment >= moments.get(name, moment)
                moments[name] = moment

    def test_nothing_changed_means_no_new_versions(self, bench: Bench, seeded: str) -> None:
        self.seed_pages(bench, seeded)
        pages = list(bench.pages(seeded))
        known = {(found.external_id, found.version) for page in pages for found in only(seeded, page)}
        again = {(found.external_id, found.version) for found in bench.read(seeded, pages[-1].cursor)}
        assert again - known == set()

    def test_records_of_the_same_moment_are_not_lost(self, bench: Bench, seeded: str) -> None:
        """The clock stands still: the second batch carries the very moment at which the first run ended."""
        self.seed(bench, seeded, 2)
        cursor = list(bench.pages(seeded))[-1].cursor
        later = self.seed(bench, seeded, 7, first=100)
        arrived = {found.external_id for found in bench.read(seeded, cursor)}
        assert set(later) - arrived == set()

    def test_later_records_arrive_in_the_next_run(self, bench: Bench, seeded: str) -> None:
        self.seed(bench, seeded, 2)
        cursor = list(bench.pages(seeded))[-1].cursor
        bench.pass_time(3600)
        later = self.seed(bench, seeded, 2, first=100)
        arrived = {found.external_id for found in bench.read(seeded, cursor)}
        assert set(later) - arrived == set()

    def test_changes_during_a_listing_lose_nothing(self, bench: Bench, seeded: str) -> None:
        """A record of the first page changes while the second is still to come, so it moves to the end of the list."""
        if seeded in self.not_touched or seeded not in TOUCHES:
            pytest.skip("objects of this data type do not change by themselves")
        ids = self.seed_pages(bench, seeded)
        pages: list[Page] = []
        touched = ""
        for page in bench.pages(seeded):
            if not touched and only(seeded, page):
                bench.pass_time(2)
                self.touch(bench, only(seeded, page)[0])
                touched = only(seeded, page)[0].external_id
            pages.append(page)
        seen = [found for page in pages for found in only(seeded, page)]
        seen += bench.read(seeded, pages[-1].cursor)
        assert set(ids) - {found.external_id for found in seen} == set()
        (current,) = bench.stream(seeded).fetch(bench.client, [touched]).records
        assert current.version in {found.version for found in seen if found.external_id == touched}

    def test_fetch_answers_the_current_state(self, bench: Bench, seeded: str) -> None:
        ids = self.seed(bench, seeded, 4)
        wanted = [ids[0], ids[2], self.unknown_id(ids[3])]
        fetched = bench.stream(seeded).fetch(bench.client, wanted)
        found = {record.external_id: record for record in only(seeded, fetched)}
        assert set(found) == {ids[0], ids[2]}
        listed = {record.external_id: record for record in bench.read(seeded)}
        for id, record in found.items():
            assert differences(listed[id].record, record.record, self.kept(seeded)) == []

    def test_an_unreadable_row_is_kept_aside(self, bench: Bench, seeded: str) -> None:
        if seeded not in WITH_AMOUNTS or bench.stream(seeded).carried_by:
            pytest.skip("no amounts to make unreadable")
        ids = self.seed(bench, seeded, 4)
        bench.wire.tamper = garbling(ids[1])
        pages = list(bench.pages(seeded))
        arrived = {found.external_id for page in pages for found in only(seeded, page)}
        rejected = [row for page in pages for row in page.rejected]
        assert {row.external_id for row in rejected} == {ids[1]}
        assert all(row.reason for row in rejected)
        assert set(ids) - arrived == {ids[1]}

    def touch(self, bench: Bench, found: SourceRecord) -> None:
        """Change one object as staff would, through the standard record."""
        changes = TOUCHES[found.record.data_type]
        changed = msgspec.structs.replace(found.record, **changes)
        if hasattr(changed, "updated_at"):
            changed = msgspec.structs.replace(changed, updated_at=bench.simulator.now())
        bench.simulator.plant(bench.organisation, [changed])


def differences(wanted: Record, got: Record, fields: list[str]) -> list[str]:
    """The fields that came back otherwise, as text for the report."""
    return [
        f"{name}: {getattr(wanted, name)!r} came back as {getattr(got, name)!r}"
        for name in fields
        if not part_of(getattr(wanted, name), getattr(got, name))
    ]


def wrong_types(value: Any, path: str = "") -> list[str]:
    """Amounts that are not Decimal, moments without a zone, currencies that are none."""
    found: list[str] = []
    for field in msgspec.structs.fields(value):
        inner, where = getattr(value, field.name), f"{path}{field.name}"
        if field.type is Decimal and not isinstance(inner, Decimal):
            found.append(f"{where} is {type(inner).__name__} {inner!r}")
        elif isinstance(inner, float):
            found.append(f"{where} is a float")
        elif isinstance(inner, dt.datetime) and inner.tzinfo is None:
            found.append(f"{where} has no time zone")
        elif field.name in ("currency", "base_currency") and not is_currency(inner, value):
            found.append(f"{where} is {inner!r}")
        elif isinstance(inner, msgspec.Struct):
            found += wrong_types(inner, f"{where}.")
        elif isinstance(inner, tuple):
            structs = [element for element in inner if isinstance(element, msgspec.Struct)]
            found += [wrong for element in structs for wrong in wrong_types(element, f"{where}.")]
    return found


def is_currency(code: str, record: object) -> bool:
    """Three capitals; only customers and ledger accounts may leave it open."""
    may_be_open = type(record).__name__ in ("Customer", "LedgerAccount")
    return (may_be_open and code == "") or (len(code) == 3 and code.isalpha() and code.isupper())


def moments_in(page: Page) -> dict[str, dt.datetime]:
    """The parts of a cursor that are moments."""
    moments: dict[str, dt.datetime] = {}
    for name, value in page.cursor.items():
        try:
            moment = dt.datetime.fromisoformat(str(value))
        except ValueError:
            continue
        moments[name] = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return moments


def garbling(id: str) -> Callable[[bytes], bytes]:
    """Makes the amounts of one row unreadable, in a JSON answer or in lines of JSON."""

    def garble(body: bytes) -> bytes:
        try:
            return dump_json(_garbled(parse_json(body), id))
        except ValueError:
            return b"\n".join(_garbled_line(line, id) for line in body.split(b"\n"))

    return garble


def _garbled_line(line: bytes, id: str) -> bytes:
    try:
        return dump_json(_garbled([parse_json(line)], id)[0])
    except ValueError:
        return line


def _garbled(value: Any, id: str) -> Any:
    if isinstance(value, list):
        return [_ruined(found) if _is_row(found, id) else _garbled(found, id) for found in value]
    if isinstance(value, dict):
        return {name: _garbled(inner, id) for name, inner in value.items()}
    return value


def _is_row(value: Any, id: str) -> bool:
    """Whether an element of a list is the row of this object, directly or one level down."""
    if not isinstance(value, dict):
        return False
    inner = [found for found in value.values() if isinstance(found, dict)]
    return any(id in [str(x) for x in found.values()] for found in (value, *inner))


def _ruined(value: Any) -> Any:
    """Every amount replaced; what could be an identifier is left."""
    if isinstance(value, list):
        return [_ruined(found) for found in value]
    if isinstance(value, dict):
        return {name: "unreadable" if _is_amount(name, inner) else _ruined(inner) for name, inner in value.items()}
    return value


def _is_amount(name: str, value: Any) -> bool:
    lowered = name.lower()
    if not any(word in lowered for word in ("amount", "total", "gross", "net", "fee")):
        return False
    if isinstance(value, str):
        return value.replace(".", "", 1).replace("-", "", 1).isdigit()
    return isinstance(value, int | Decimal) and not isinstance(value, bool)
