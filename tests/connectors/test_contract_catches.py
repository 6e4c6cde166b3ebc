"""The contract fails for connectors that are wrong: each planted fault is caught by the rule meant for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import httpx
import msgspec
import pytest

from connectors.sdk.client import Client
from connectors.sdk.errors import ConfigurationError, ConnectorError
from connectors.sdk.manifest import Scope
from connectors.sdk.streams import Cursor, Draft, Outcome, Page, Request, SourceRecord, Written
from connectors.testing.contract import Bench, ConnectorContract, Parts
from tests.connectors.sample.client import SampleClient, SampleOAuth
from tests.connectors.sample.streams import Customers, Invoices, outcome
from tests.connectors.sample.webhooks import SampleWebhooks

SAMPLE = Parts.of("tests.connectors.sample")


class FloatMoney(Invoices):
    def read(self, row: dict[str, Any]) -> SourceRecord:
        found = super().read(row)
        total = float(row["record"]["total"])
        return msgspec.structs.replace(found, record=msgspec.structs.replace(found.record, total=total))


class StopsAfterOnePage(Invoices):
    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        yield replace(next(iter(super().pages(client, cursor))), is_last=True)


class LeavesOutTheBoundary(Invoices):
    """Compares `>` where it should be `>=`."""

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        since = (cursor or {}).get("since")
        for page in super().pages(client, cursor):
            later = [found for found in page.records if found.raw["updated_at"] != since]
            yield replace(page, records=tuple(later))


class NumbersItsPages(Invoices):
    """Takes a moving list by position."""

    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        start = (cursor or {}).get("start", 0)
        while True:
            rows = self.rows(client, {"limit": 10_000})
            part = rows[start : start + self.page_size]
            start += len(part)
            is_last = start >= len(rows)
            yield self.page(part, {"start": start}, is_last)
            if is_last:
                return


class ForgetsTheCursor(Invoices):
    def pages(self, client: Client, cursor: Cursor | None) -> Iterator[Page]:
        for page in super().pages(client, cursor):
            yield replace(page, cursor={"since": "9999-01-01T00:00:00+00:00", "after": ""})


class DropsUnreadableRows(Invoices):
    def page(self, rows: Sequence[dict[str, Any]], cursor: Cursor, is_last: bool) -> Page:
        return replace(super().page(rows, cursor, is_last), rejected=())


class ChangesItsVersions(Invoices):
    counter: ClassVar[list[int]] = []

    def read(self, row: dict[str, Any]) -> SourceRecord:
        self.counter.append(1)
        return msgspec.structs.replace(super().read(row), version=str(len(self.counter)))


class FetchesFromMemory(Invoices):
    def fetch(self, client: Client, external_ids: Sequence[str]) -> Page:
        return Page(records=(), cursor={}, is_last=True)


class IgnoresTheKey(Invoices):
    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        headers = {"Content-Type": request.content_type}
        answer = client.request("POST", "api", request.path, is_write=True, content=request.content, headers=headers)
        return [outcome(result) for result in answer["results"]]


class RepeatsLostWrites(Invoices):
    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        headers = {"Content-Type": request.content_type}
        answer = client.request("POST", "api", request.path, content=request.content, headers=headers)
        return [outcome(result) for result in answer["results"]]


class WritesOneByOne(Invoices):
    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        send = super().send
        alone = [(draft, self.preview(client, [draft])) for draft in drafts]
        return [send(client, [draft], one, key=f"{key}-{draft.key}")[0] for draft, one in alone]


class ShufflesOutcomes(Invoices):
    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        return super().send(client, drafts, request, key=key)[::-1]


class FindsNothing(Invoices):
    def find(self, client: Client, drafts: Sequence[Draft]) -> dict[str, Written]:
        return {}


class PreviewsSomethingElse(Invoices):
    def preview(self, client: Client, drafts: Sequence[Draft]) -> Request:
        return replace(super().preview(client, drafts), content=b'{"drafts": []}')

    def request(self, client: Client, drafts: Sequence[Draft], *, key: str) -> Request:
        return Invoices().preview(client, drafts)


class SendsOtherBytes(Invoices):
    """The same values in other words."""

    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        return super().send(client, drafts, replace(request, content=request.content + b" "), key=key)


class WritesNetAmounts(Invoices):
    def preview(self, client: Client, drafts: Sequence[Draft]) -> Request:
        rounded = [
            replace(draft, document=msgspec.structs.replace(draft.document, total=round(draft.document.total, 1)))  # type: ignore[attr-defined]
            for draft in drafts
        ]
        return super().preview(client, rounded)


class VoidsNothing(Invoices):
    def void(
        self, client: Client, external_ids: Sequence[str], *, versions: Mapping[str, str] | None = None
    ) -> list[Outcome]:
        return [Written(external_id=id) for id in external_ids]


class BelievesClosedPeriods(Invoices):
    """Calls every refusal the same."""

    def send(self, client: Client, drafts: Sequence[Draft], request: Request, *, key: str) -> list[Outcome]:
        outcomes = super().send(client, drafts, request, key=key)
        for refused in outcomes:
            if isinstance(refused, ConnectorError):
                refused.code = "other"
        return outcomes


class WipesCustomers(Customers):
    def update(self, client: Client, external_id: str, draft: Draft, *, version: str) -> Outcome:
        return Written(external_id=external_id)


class BelievesAnyone(SampleWebhooks):
    def is_genuine(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> bool:
        return True


class MisreadsRefusals(SampleClient):
    def read_error(self, response: httpx.Response) -> ConnectorError | None:
        return ConfigurationError("Something is wrong.") if response.status_code >= 400 else None


class ForgetsPkce(SampleOAuth):
    def authorize_url(self, *, redirect_uri: str, state: str, verifier: str) -> str:
        return super().authorize_url(redirect_uri=redirect_uri, state=state, verifier="always-the-same")


def contract(**changes: Any) -> ConnectorContract:
    """The contract of the sample connector with parts exchanged."""

    class Broken(ConnectorContract):
        slug = "sample"

        @classmethod
        def parts(cls) -> Parts:
            return replace(SAMPLE, **changes)

    return Broken()


def with_stream(wrong: Any) -> ConnectorContract:
    kept = [stream for stream in SAMPLE.streams if stream.data_type != wrong.data_type]
    return contract(streams=(*kept, wrong()))


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    opened: list[Bench] = []
    yield opened
    for bench in opened:
        bench.close()


def fails(rules: ConnectorContract, rule: str, benches: list[Bench], *arguments: str) -> bool:
    """Whether the rule refuses this connector."""
    benches.append(rules.new_bench())
    try:
        getattr(rules, rule)(benches[-1], *arguments)
    except (AssertionError, pytest.fail.Exception, ConnectorError):
        return True
    return False


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (FloatMoney, "test_amounts_are_exact_and_moments_aware"),
        (StopsAfterOnePage, "test_every_record_arrives_exactly_once"),
        (LeavesOutTheBoundary, "test_records_of_the_same_moment_are_not_lost"),
        (NumbersItsPages, "test_changes_during_a_listing_lose_nothing"),
        (ForgetsTheCursor, "test_a_run_goes_on_from_any_page"),
        (DropsUnreadableRows, "test_an_unreadable_row_is_kept_aside"),
        (ChangesItsVersions, "test_nothing_changed_means_no_new_versions"),
        (FetchesFromMemory, "test_fetch_answers_the_current_state"),
        (IgnoresTheKey, "test_the_same_key_writes_once"),
        (RepeatsLostWrites, "test_a_lost_answer_is_looked_up"),
        (WritesOneByOne, "test_a_full_batch_is_one_call"),
        (ShufflesOutcomes, "test_outcomes_come_in_order_and_amounts_exactly"),
        (FindsNothing, "test_a_lost_answer_is_looked_up"),
        (PreviewsSomethingElse, "test_the_preview_is_what_is_sent"),
        (SendsOtherBytes, "test_the_preview_is_what_is_sent"),
        (WritesNetAmounts, "test_the_ledger_holds_what_was_sent"),
        (VoidsNothing, "test_taking_back_is_visible"),
        (BelievesClosedPeriods, "test_a_closed_period_is_respected"),
        (BelievesClosedPeriods, "test_an_archived_account_is_named"),
    ],
)
def test_a_wrong_stream_is_caught(wrong: Any, rule: str, benches: list[Bench]) -> None:
    assert not fails(contract(), rule, benches, "invoice")
    assert fails(with_stream(wrong), rule, benches, "invoice")


def test_an_update_that_does_nothing_is_caught(benches: list[Bench]) -> None:
    rule = "test_a_customer_is_updated_without_losing_the_rest"
    assert fails(with_stream(WipesCustomers), rule, benches)


def test_believing_any_webhook_is_caught(benches: list[Bench]) -> None:
    rules = contract(webhooks=BelievesAnyone())
    assert fails(rules, "test_forged_deliveries_are_refused", benches)


@pytest.mark.parametrize(
    "rule",
    [
        "test_an_expired_token_is_renewed_once",
        "test_a_token_refused_twice_asks_for_reconnecting",
        "test_slowing_down_is_obeyed",
        "test_slowing_down_for_ever_is_told",
        "test_one_failure_is_not_noticed",
    ],
)
def test_misread_refusals_are_caught(rule: str, benches: list[Bench]) -> None:
    assert fails(contract(client=MisreadsRefusals), rule, benches)


def test_a_fixed_verifier_is_caught(benches: list[Bench]) -> None:
    assert fails(contract(oauth=ForgetsPkce), "test_consent_leads_to_the_organisation", benches)


def test_an_unexplained_scope_is_caught() -> None:
    auth = replace(SAMPLE.manifest.auth, scopes=(Scope(name="all", words="", why=""),))
    rules = contract(manifest=replace(SAMPLE.manifest, auth=auth))
    with pytest.raises(AssertionError):
        rules.test_every_scope_is_explained()


def test_a_logo_with_a_script_is_caught(tmp_path: Any) -> None:
    logo = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1" onload="alert(1)"></svg>'
    (tmp_path / "logo.svg").write_text(logo)
    with pytest.raises(AssertionError):
        contract(folder=tmp_path).test_the_logo_is_a_drawing_without_script()
