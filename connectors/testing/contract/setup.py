"""What may differ between providers: attributes and methods a connector's own test class overrides."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import pytest

from connectors.sdk.records import Record
from connectors.sdk.streams import Draft, WritableStream
from connectors.testing.contract.bench import Bench, Parts
from connectors.testing.contract.samples import COMPARED, Books, sample
from connectors.testing.outbox import Delivery


@functools.cache
def _parts(package: str) -> Parts:
    return Parts.of(package)


class Setup:
    """`slug` is enough for a provider without peculiarities.

    `organisation`: the simulator's organisation to work in (default: its first).
    `settings`: what the tenant types before the consent (default: the manifest's examples).
    `small_page_size`: put on the streams, so that few records make several pages; None keeps the real size.
    `unpaged`: data types whose listing comes in one piece (short lists, bulk downloads).
    `not_seeded`: data types that cannot be put into the simulator by themselves; only what is there is read.
    `not_kept`: fields of the standard record that this provider cannot hold, per data type.
    `cannot_void`: data types whose documents cannot be taken back through the API.
    `not_touched`: data types whose objects never change once they exist.
    `no_bad_draft`: writable data types of which no draft can be bad in the way `bad_draft` makes it.
    `calls_per_batch`: how many calls one full batch takes where it cannot be one.
    `fixture_prefixes`: how the fixture files of a data type begin, where not with its name.
    `sales_tax`: the code of a tax on sales, where the first taxing code is not one.
    """

    slug: ClassVar[str]
    organisation: ClassVar[str] = ""
    settings: ClassVar[dict[str, str] | None] = None
    small_page_size: ClassVar[int | None] = 3
    unpaged: ClassVar[frozenset[str]] = frozenset()
    not_seeded: ClassVar[frozenset[str]] = frozenset({"company", "tax_rate", "balance_transaction"})
    not_kept: ClassVar[Mapping[str, frozenset[str]]] = {}
    cannot_void: ClassVar[frozenset[str]] = frozenset()
    not_touched: ClassVar[frozenset[str]] = frozenset()
    no_bad_draft: ClassVar[frozenset[str]] = frozenset({"customer"})
    calls_per_batch: ClassVar[Mapping[str, int]] = {}
    fixture_prefixes: ClassVar[Mapping[str, str]] = {}
    sales_tax: ClassVar[str] = ""

    @classmethod
    def parts(cls) -> Parts:
        return _parts(f"connectors.providers.{cls.slug}")

    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        bench = self.new_bench()
        yield bench
        bench.close()

    def new_bench(self) -> Bench:
        parts = self.parts()
        examples = {setting.name: setting.example for setting in parts.manifest.settings}
        return Bench(
            parts,
            organisation=self.organisation,
            settings=examples if self.settings is None else self.settings,
            page_size=self.small_page_size,
        )

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """`reads`: every data type that is read; `writes`: every one that is written; `documents`: dated ones."""
        streams = self.parts().streams
        writes = [stream.data_type for stream in streams if isinstance(stream, WritableStream)]
        values = {
            "reads": [stream.data_type for stream in streams],
            "seeded": [found.data_type for found in streams if found.data_type not in self.not_seeded],
            "writes": writes,
            "documents": [data_type for data_type in writes if data_type != "customer"],
        }
        for name, data_types in values.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, data_types)

    # ------------------------------------------------------------------ hooks

    def books(self, bench: Bench) -> Books:
        """The ledger accounts and tax code that sample documents use, chosen from the organisation's own."""
        return Books.of(bench, sales_tax=self.sales_tax)

    def sample(self, bench: Bench, data_type: str, position: int) -> Record:
        """The `position`-th distinct record to seed or to write."""
        return sample(bench, self.books(bench), data_type, position)

    def samples(self, bench: Bench, data_type: str, count: int, *, first: int = 0) -> list[Record]:
        return [self.sample(bench, data_type, position) for position in range(first, first + count)]

    def seed(self, bench: Bench, data_type: str, count: int, *, first: int = 0) -> list[str]:
        """Put samples into the simulator as staff; returns the native ids."""
        return bench.simulator.plant(bench.organisation, self.samples(bench, data_type, count, first=first))

    def drafts(self, bench: Bench, data_type: str, count: int, *, first: int = 0) -> list[Draft]:
        records = self.samples(bench, data_type, count, first=first)
        return [self.draft(record, position) for position, record in enumerate(records, first)]

    def draft(self, record: Record, position: int) -> Draft:
        reference = getattr(record, "reference", "") or f"C-{position}"
        return Draft(key=f"contract-{record.data_type}-{position}", reference=reference, document=record)

    def bad_draft(self, draft: Draft) -> Draft:
        """The same draft with a ledger account that does not exist."""
        return on_account(draft, "NO-SUCH-ACCOUNT")

    def unknown_id(self, known: str) -> str:
        """An id of the right shape that nothing has."""
        return known[:-1] + ("0" if known[-1] != "0" else "1") if len(known) > 3 else known + "987654"

    def kept(self, data_type: str) -> list[str]:
        """The fields of a standard record that come back as they went in."""
        lost = self.not_kept.get(data_type, frozenset())
        return [name for name in COMPARED[data_type] if name not in lost]

    def webhook_secrets(self, bench: Bench) -> Sequence[str]:
        scheme = bench.parts.manifest.webhooks
        if scheme is not None and scheme.signed_with == "client_secret":
            return (bench.simulator.keys.client_secret,)
        return bench.simulator.keys.webhook_secrets

    def webhook_headers(self, bench: Bench, delivery: Delivery) -> dict[str, str]:
        headers = bench.simulator.webhook_headers(delivery)
        return {name.lower(): value for name, value in headers.items()}


def on_account(draft: Draft, account: str) -> Draft:
    """The draft's document with its deciding ledger account replaced."""
    document: Any = draft.document
    if hasattr(document, "lines"):
        lines = tuple(msgspec.structs.replace(line, ledger_account=account) for line in document.lines)
        changes: dict[str, Any] = {"lines": lines}
    else:
        name = "to_ledger_account" if hasattr(document, "to_ledger_account") else "ledger_account"
        changes = {name: account}
    return redraft(draft, **changes)


def redraft(draft: Draft, **changes: Any) -> Draft:
    document = msgspec.structs.replace(draft.document, **changes)
    return Draft(key=draft.key, reference=draft.reference, document=document, as_draft=draft.as_draft)


def long_ago(bench: Bench) -> dt.date:
    """A day well before today, inside a year that organisations may have closed."""
    return bench.simulator.now().date() - dt.timedelta(days=400)
