"""What a mapping needs to know about the target, and what its form may offer."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from django.db import connection as database

from connectors.registry import connector
from connectors.sdk.records import Company, Customer, LedgerAccount, TaxRate
from connectors.sdk.streams import WritableStream
from marketplace.installations.models import Connection
from marketplace.mapping.lists import settings_of, standard_records
from marketplace.mapping.models import Flow, SourceOfTruth, Stage
from marketplace.mapping.pairs import can_run
from marketplace.mapping.plan import Circumstances, Ledger
from marketplace.mapping.templates import template
from tenants.models import Tenant


def circumstances_of(flow: Flow, owner: Tenant, about: Sequence[str] | None = None) -> Circumstances:
    """Everything a plan depends on besides the record, read in a handful of statements. `about`: the ids of the only source
    records that will be planned, so that not every contact has to be read for a few."""
    source_type = template(flow.template).source_type
    truth = SourceOfTruth.objects.filter(pk=source_type).first()
    return Circumstances(
        time_zone=ZoneInfo(owner.time_zone),
        ledger=ledger_of(flow, owner, about),
        start_date=flow.start_date,
        source_name=connector(flow.source.connector).manifest.name,
        settings=flow.settings,
        is_source_of_truth=truth is None or truth.owner_id == flow.source_id,
        rule=truth.rule if truth else SourceOfTruth.Rule.OWNER,
        field_winners=_winners(truth, flow) if truth else {},
    )


def _winners(truth: SourceOfTruth, flow: Flow) -> dict[str, str]:
    sides = {str(flow.source_id): "source", str(flow.target_id): "target"}
    return {field: sides[owner] for field, owner in truth.field_owners.items() if owner in sides}


def base_currency_of(flow: Flow, owner: Tenant) -> str:
    """Of the target's books. Not every provider tells it when it is connected; its company details do."""
    if flow.target.base_currency:
        return flow.target.base_currency
    return _base_currency(flow, owner, next(iter(standard_records(flow.target, Company)), None))


def _base_currency(flow: Flow, owner: Tenant, company: Company | None) -> str:
    return (company.base_currency if company else "") or flow.target.base_currency or owner.base_currency


def ledger_of(flow: Flow, owner: Tenant, about: Sequence[str] | None = None) -> Ledger:
    """The target as last read; contacts only for flows that need them."""
    known = settings_of(flow.target, Company, LedgerAccount, TaxRate)
    company = next((found for found in known if isinstance(found, Company)), None)
    contacts = _contact_links(flow, about)
    return Ledger(
        base_currency=_base_currency(flow, owner, company),
        closed_until=company.books_closed_until if company else None,
        ledger_accounts={found.code: found for found in known if isinstance(found, LedgerAccount)},
        tax_rates={found.code: found for found in known if isinstance(found, TaxRate)},
        contacts=contacts,
        contact_bodies=_contacts(flow, contacts, about) if template(flow.template).main_type == "customer" else {},
        repays_on_credit_note=any(
            stream.settles_on_document
            for stream in connector(flow.target.connector).streams
            if isinstance(stream, WritableStream) and stream.data_type == "credit_note"
        ),
    )


@dataclass(frozen=True)
class FlowRow:
    """A flow of the list; `counts` are its outcomes by state."""

    flow: Flow
    counts: Mapping[str, int]


def flow_rows() -> list[FlowRow]:
    """All flows with the outcomes of their records, in two statements."""
    counts: dict[uuid.UUID, dict[str, int]] = {}
    with database.cursor() as cursor:
        cursor.execute(_OUTCOMES)
        for flow_id, state, count in cursor.fetchall():
            counts.setdefault(flow_id, {})[state] = count
    flows = Flow.objects.select_related("source", "target").order_by("created_at")
    return [FlowRow(flow, counts.get(flow.pk, {})) for flow in flows]


def connected() -> list[Connection]:
    """The organisations this business is connected to, reconnecting included."""
    return list(
        Connection.objects.exclude(state=Connection.State.DISCONNECTED).order_by("organisation_name", "connected_at")
    )


def _contact_links(flow: Flow, about: Sequence[str] | None) -> dict[str, str]:
    """Which contact each customer of the source is, by what was posted or linked before, in either direction."""
    wanted = None if about is None else list(about)
    with database.cursor() as cursor:
        cursor.execute(_LINKS, {"source": flow.source_id, "target": flow.target_id, "about": wanted})
        return dict(cursor.fetchall())


def _contacts(flow: Flow, links: Mapping[str, str], about: Sequence[str] | None) -> dict[str, Customer]:
    """All contacts of the target, as long as one of these customers may turn out to be any of them."""
    are_all_known = about is not None and all(external_id in links for external_id in about)
    chosen = [links[external_id] for external_id in about or ()] if are_all_known else None
    return {found.id: found for found in standard_records(flow.target, Customer, chosen)}


@dataclass(frozen=True)
class OtherWay:
    """What carries changes back from a two-way flow's target: a flow, or nothing, said in words."""

    words: str
    flow: Flow | None = None
    may_add: bool = False


def other_way(flow: Flow) -> OtherWay | None:
    """None for flows that have one direction only."""
    chosen = template(flow.template)
    if not chosen.is_two_way:
        return None
    source, target = (connector(side.connector).manifest.name for side in (flow.source, flow.target))
    mirror = Flow.objects.filter(template=flow.template, source=flow.target_id, target=flow.source_id).first()
    stays = f"What is changed in {target} stays there; where {target} wins a conflict, each side keeps its own value."
    if mirror is not None and mirror.stage in (Stage.PILOT, Stage.LIVE) and not mirror.is_paused:
        return OtherWay(f"Changes in {target} go to {source}.", mirror)
    if mirror is not None:
        return OtherWay(f"The flow from {target} to {source} does not write yet. {stays}", mirror)
    if can_run(chosen, flow.target, flow.source):
        return OtherWay(f"No flow goes from {target} to {source}. {stays}", may_add=True)
    return OtherWay(f"{source} cannot be written to. {stays}")


_OUTCOMES = "SELECT flow_id, state, count(*) FROM posting_recordoutcome GROUP BY flow_id, state"
# The postings' own tables are read by name: this slice lies below the one that owns them.
_LINKS = """
    SELECT customer, contact FROM (
        SELECT record.external_id AS customer, posting.external_id AS contact, posting.id
        FROM posting_posting posting JOIN sync_record record ON record.id = posting.record_id
        JOIN mapping_flow flow ON flow.id = posting.flow_id
        WHERE posting.data_type = 'customer' AND posting.state IN ('posted', 'linked') AND posting.external_id <> ''
            AND flow.source_id = %(source)s AND flow.target_id = %(target)s
            AND (%(about)s::text[] IS NULL OR record.external_id = ANY(%(about)s))
        UNION ALL
        SELECT posting.external_id, record.external_id, posting.id
        FROM posting_posting posting JOIN sync_record record ON record.id = posting.record_id
        JOIN mapping_flow flow ON flow.id = posting.flow_id
        WHERE posting.data_type = 'customer' AND posting.state IN ('posted', 'linked') AND posting.external_id <> ''
            AND flow.source_id = %(target)s AND flow.target_id = %(source)s
            AND (%(about)s::text[] IS NULL OR posting.external_id = ANY(%(about)s))
    ) link ORDER BY id
"""
