"""The sandbox: a flow's mapping and the target's own connector, rehearsed on edge cases against a simulator of the target.

The simulator runs inside this process with the tenant's chart of accounts and tax rates, so every tenant has a sandbox whether
its provider offers one or not, and nothing of the tenant's is written anywhere.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import httpx
import msgspec
from django.db.models import Count

from connectors.registry import connector, simulator
from connectors.sdk import records
from connectors.sdk.client import Access, Client, FixedToken
from connectors.sdk.errors import ConnectorError, RecordRejected
from connectors.sdk.streams import Draft, Written
from marketplace.core.clock import now
from marketplace.cutover.cases import CASES, Case, Setting, setting_of
from marketplace.cutover.models import SandboxCase
from marketplace.mapping.compiling import planner_for
from marketplace.mapping.models import Flow
from marketplace.mapping.plan import Circumstances, NotPlanned, PlannedDocument, Planner
from marketplace.mapping.queries import base_currency_of, circumstances_of
from marketplace.mapping.templates import template
from marketplace.posting.keys import batch_key, mark_of, posting_key
from marketplace.sync.columns import columns_of
from marketplace.sync.models import Record
from tenants.context import current_tenant, tenant

ORGANISATION = "rehearsal"
BASE_URL = "http://simulator.invalid"
CENT = Decimal("0.01")
WITHOUT_LIMITS = 1_000_000.0  # a rehearsal is about figures, not about pace


class UnableToRehearse(Exception):
    """There is nothing to rehearse yet; the message says what is missing."""


@dataclass(frozen=True)
class Stage:
    """What all cases of one rehearsal share."""

    flow: Flow
    planner: Planner
    circumstances: Circumstances
    client: Client
    tenant_id: uuid.UUID


def cases_for(flow: Flow) -> list[Case]:
    """The cases this flow has to pass, in order."""
    return CASES[template(flow.template).source_type](_setting(flow))


def _setting(flow: Flow) -> Setting:
    currency = base_currency_of(flow, current_tenant())
    return setting_of(
        day=now().date(),
        currency=currency,
        foreign_currency=_foreign_currency(flow, currency),
        spec=flow.mapping.spec if flow.mapping else {},
        closed_period=flow.settings.get("closed_period", "hold"),
    )


def _foreign_currency(flow: Flow, base_currency: str) -> str:
    """The other currency this source sells in most, if it does."""
    sold = Record.objects.filter(connection=flow.source, data_type=template(flow.template).source_type)
    others = sold.exclude(currency__in=["", base_currency]).values("currency").annotate(times=Count("pk"))
    return next((row["currency"] for row in others.order_by("-times")[:1]), "")


def rehearse(
    *, tenant_id: uuid.UUID, flow_id: uuid.UUID, tell: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Run every case and keep its result with the mapping version it was run with. `tell` hears how many were run, of how many."""
    with tenant(tenant_id) as owner:
        flow = Flow.objects.select_related("source", "target", "mapping").get(pk=flow_id)
        circumstances = circumstances_of(flow, owner)
        cases = cases_for(flow)
        currencies = sorted({case.currency for case in cases if case.currency})
    if flow.mapping is None:
        raise UnableToRehearse("The flow has no field mapping yet.")
    planner = planner_for(flow.template, flow.mapping)
    circumstances = replace(
        circumstances,
        is_source_of_truth=True,
        start_date=dt.date.min,
        ledger=replace(circumstances.ledger, closed_until=None, contacts={}, contact_bodies={}),
    )
    with _simulated(flow, circumstances, currencies) as client:
        stage = Stage(flow, planner, circumstances, client, tenant_id)
        results: list[SandboxCase] = []
        for case in cases:
            tell(len(results), len(cases))
            results.append(_result(stage, case))
    with tenant(tenant_id):
        SandboxCase.objects.filter(flow=flow).delete()
        SandboxCase.objects.bulk_create(results)


@contextmanager
def _simulated(flow: Flow, circumstances: Circumstances, currencies: list[str]) -> Iterator[Client]:
    """A client of a simulator that holds the tenant's own chart of accounts and tax rates."""
    found = connector(flow.target.connector)
    stand_in = simulator(flow.target.connector)(speed=WITHOUT_LIMITS)
    try:
        stand_in.open_organisation(
            {
                "id": ORGANISATION,
                "name": flow.target.organisation_name,
                "base_currency": circumstances.ledger.base_currency,
                "country": flow.target.country or "GB",
                "time_zone": str(circumstances.time_zone),
                "currencies": currencies,
            }
        )
        lists = [*circumstances.ledger.ledger_accounts.values(), *circumstances.ledger.tax_rates.values()]
        stand_in.seed(ORGANISATION, lists, by="provider", emit=False)
        scopes = tuple(scope.name for scope in found.manifest.auth.scopes)
        _, answer = stand_in.oauth.grant_for(ORGANISATION, scopes, "rehearsal")
        with httpx.Client(transport=httpx.WSGITransport(app=stand_in), timeout=30) as http:
            access = Access(
                token=FixedToken(answer["access_token"]),
                organisation_id=ORGANISATION,
                environment="simulator",
                simulator=BASE_URL,
                sleep=lambda seconds: stand_in.advance(seconds),
            )
            yield found.client(access, http)
    finally:
        stand_in.close()


def _result(stage: Stage, case: Case) -> SandboxCase:
    expected = _expected(stage, case)
    try:
        found = _found(stage, case)
    except ConnectorError as error:
        found = {"problem": error.user_message}
    return SandboxCase(
        flow=stage.flow,
        mapping=stage.flow.mapping,
        name=case.name,
        has_passed=found == expected,
        expected=expected,
        found=found,
        explanation=case.explanation,
        run_at=now(),
    )


def _expected(stage: Stage, case: Case) -> dict[str, Any]:
    if case.refusal:
        return {"not posted because": case.refusal}
    expected: dict[str, Any] = {"documents": 1}
    if case.currency:
        expected |= {"currency": case.currency, "total": _money(case.total), "tax": _money(case.tax)}
    if _source_rates(stage, case):
        expected["tax rate"] = _percents(_source_rates(stage, case))
    if case.paid is not None:
        expected["paid"] = _money(case.paid)
    return expected


def _source_rates(stage: Stage, case: Case) -> set[Decimal]:
    """The rates the sale was taxed with; none where the ledger works taxes out by itself and its codes carry no rate."""
    if not any(code.rate for code in stage.circumstances.ledger.tax_rates.values()):
        return set()
    lines: tuple[records.SaleLine, ...] = getattr(case.record, "lines", ())
    return {sum((tax.rate for tax in line.taxes), Decimal(0)) for line in lines if line.taxes}


def _ledger_rates(stage: Stage, document: records.Record) -> set[Decimal]:
    """The rates of the tax codes on the document: the right amount on a wrong code would be reported wrongly."""
    known = stage.circumstances.ledger.tax_rates
    codes = {line.tax_rate for line in document.lines} if isinstance(document, records.Document) else set()
    return {known[code].rate for code in codes if code in known}


def _percents(rates: set[Decimal]) -> str:
    return ", ".join(f"{(rate * 100).normalize():f}%" for rate in sorted(rates)) or "none"


def _found(stage: Stage, case: Case) -> dict[str, Any]:
    """What the ledger holds after the case, read back from it."""
    circumstances = stage.circumstances
    if case.is_closed:
        closed = replace(circumstances.ledger, closed_until=now().date())
        circumstances = replace(circumstances, ledger=closed)
    try:
        planned = stage.planner(case.record, circumstances)
    except NotPlanned as refusal:
        return {"not posted because": refusal.code}
    written = _write(stage, case, planned)
    if case.is_sent_twice:
        again = _write(stage, case, planned)
        written = {purpose: sorted({*ids, *again[purpose]}) for purpose, ids in written.items()}
    return _read_back(stage, case, planned, written)


def _write(stage: Stage, case: Case, planned: list[PlannedDocument]) -> dict[str, list[str]]:
    """Write the documents in order, each under its permanent key, as the engine would."""
    written: dict[str, list[str]] = {}
    numbers: dict[str, str] = {}
    for part in planned:
        key = posting_key(
            tenant_id=stage.tenant_id,
            flow_id=stage.flow.pk,
            external_id=f"{case.name}:{case.record.id}",
            purpose=part.purpose,
            version=1,
        )
        document = _pointing_at(part, written, numbers)
        reference = f"{columns_of(document, stage.circumstances.time_zone).reference} {mark_of(key)}".strip()
        stream = connector(stage.flow.target.connector).writable(document.data_type)
        draft = Draft(key=key, reference=reference, document=document)
        outcome = stream.create(stage.client, [draft], key=batch_key([key]))[0]
        if isinstance(outcome, RecordRejected):
            raise outcome
        written[part.purpose], numbers[part.purpose] = [outcome.external_id], _number(outcome, document)
    return written


def _number(outcome: Written, document: records.Record) -> str:
    return outcome.number or getattr(document, "number", "")


def _pointing_at(part: PlannedDocument, written: dict[str, list[str]], numbers: dict[str, str]) -> records.Record:
    if isinstance(part.document, records.CustomerPayment) and part.needs in written:
        return msgspec.structs.replace(
            part.document, document_id=written[part.needs][0], document_number=numbers[part.needs]
        )
    return part.document


def _read_back(
    stage: Stage, case: Case, planned: list[PlannedDocument], written: dict[str, list[str]]
) -> dict[str, Any]:
    main, *others = planned
    held = _fetch(stage, main, written[main.purpose])
    found: dict[str, Any] = {"documents": len(held)}
    if case.currency and held:
        columns = columns_of(held[0], stage.circumstances.time_zone)
        found |= {
            "currency": columns.currency,
            "total": _money(columns.amount or Decimal(0)),
            "tax": _money(columns.tax_amount or Decimal(0)),
        }
    wanted = _source_rates(stage, case)
    if wanted and held:
        rates = _ledger_rates(stage, held[0])
        found["tax rate"] = _percents(wanted if wanted <= rates else rates)
    if case.paid is not None:
        parts = [record for other in others for record in _fetch(stage, other, written[other.purpose])]
        amounts = [columns_of(record, stage.circumstances.time_zone).amount or Decimal(0) for record in parts]
        if isinstance(held[0], records.CreditNote) and held[0].refund_ledger_account:
            amounts.append(held[0].total)
        found["paid"] = _money(sum(amounts, Decimal(0)))
    return found


def _fetch(stage: Stage, part: PlannedDocument, external_ids: list[str]) -> list[records.Record]:
    stream = connector(stage.flow.target.connector).stream(part.document.data_type)
    return [source.record for source in stream.fetch(stage.client, external_ids).records]


def _money(amount: Decimal) -> str:
    return str(amount.quantize(CENT))
