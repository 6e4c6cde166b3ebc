"""A shop, a ledger and a flow between them, with postings and staff's entries put in by hand."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from connectors.sdk.records import (
    CustomerPayment,
    DocumentLine,
    Invoice,
    LedgerAccount,
    Party,
    TaxRate,
    encode,
)
from connectors.sdk.records import Record as StandardRecord
from marketplace.core.clock import now
from marketplace.installations.models import Connection, Installation
from marketplace.mapping.models import Flow, MappingVersion, SourceOfTruth, Stage
from marketplace.mapping.operations import digest_of
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.sync.columns import columns_of
from marketplace.sync.models import Record, StreamState
from tenants.models import User

LONDON = ZoneInfo("Europe/London")
FIRST, LAST = dt.date(2026, 10, 1), dt.date(2026, 10, 31)
TODAY = dt.date(2026, 11, 21)
XERO_FIELDS: dict[str, Any] = {
    "sales_ledger_account": {"from": "constant", "value": "200"},
    "shipping_ledger_account": {"from": "constant", "value": "205"},
    "rounding_ledger_account": {"from": "constant", "value": "860"},
    "contact": {"from": "constant", "value": "Online shop customers"},
    "tax_rates": {"from": "map", "pairs": {"VAT 20%": "OUTPUT2", "No tax": "ZERORATEDOUTPUT"}, "otherwise": ""},
    "payment_ledger_accounts": {"from": "map", "pairs": {"shopify_payments": "092"}, "otherwise": ""},
}


def make_connection(user: User, slug: str, organisation: str, **kwargs: Any) -> Connection:
    installation = Installation.objects.create(
        connector=slug, connector_version="1.0.0", installed_by=user, installed_at=now()
    )
    return Connection.objects.create(
        installation=installation,
        connector=slug,
        environment="simulator",
        organisation_id=organisation.lower().replace(" ", "-"),
        organisation_name=organisation,
        base_currency=kwargs.pop("base_currency", "GBP"),
        country=kwargs.pop("country", "GB"),
        connected_at=now(),
        **kwargs,
    )


def make_flow(
    user: User,
    *,
    template: str = "orders",
    ledger: str = "xero",
    stage: str = Stage.PARALLEL,
    fields: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Flow:
    """A flow that stands on `stage`, with its mapping, the lists it needs and the source of truth decided."""
    source = Connection.objects.filter(connector="shopify").first() or make_connection(user, "shopify", "Kestrel shop")
    target = Connection.objects.filter(connector=ledger).first() or make_connection(user, ledger, "Kestrel books")
    flow = Flow.objects.create(
        template=template,
        name=kwargs.pop("name", "Orders to invoices"),
        source=source,
        target=target,
        stage=stage,
        start_date=dt.date(2026, 9, 1),
        parallel_from=FIRST,
        parallel_until=LAST,
        created_by=user,
        created_at=now(),
        **kwargs,
    )
    remap(flow, user, XERO_FIELDS if fields is None else fields)
    data_type = {"orders": "order", "refunds": "refund", "payouts": "payout", "customers": "customer"}[template]
    SourceOfTruth.objects.get_or_create(
        data_type=data_type, defaults={"owner": source, "decided_by": user, "decided_at": now()}
    )
    StreamState.objects.get_or_create(
        connection=source, data_type=data_type, defaults={"backfilled_at": now(), "read_at": now()}
    )
    return flow


def remap(flow: Flow, user: User, fields: dict[str, Any]) -> None:
    """A new version of the mapping."""
    number, spec = flow.mapping_versions.count() + 1, {"fields": fields}
    flow.mapping = MappingVersion.objects.create(
        flow=flow, number=number, spec=spec, digest=digest_of(spec), created_by=user, created_at=now()
    )
    flow.save()


def store(connection: Connection, record: StandardRecord, **kwargs: Any) -> Record:
    """A record as if it had been read."""
    columns = columns_of(record, LONDON)
    return Record.objects.create(
        connection=connection,
        data_type=record.data_type,
        external_id=record.id,
        version="1",
        digest=uuid.uuid4().hex,
        body=msgspec.json.decode(encode(record)),
        raw={},
        seen_at=now(),
        occurred_on=columns.occurred_on,
        number=columns.number,
        reference=columns.reference,
        amount=columns.amount,
        tax_amount=columns.tax_amount,
        currency=columns.currency,
        party=columns.party,
        ledger_account=columns.ledger_account,
        **kwargs,
    )


def store_lists(flow: Flow) -> None:
    """A few lines of the ledger's chart of accounts and its tax rates."""
    for code, name, kind in (("200", "Sales", "income"), ("205", "Shipping", "income"), ("092", "Clearing", "bank")):
        store(flow.target, LedgerAccount(id=code, code=code, name=name, kind=kind))  # type: ignore[arg-type]
    store(flow.target, TaxRate(id="OUTPUT2", code="OUTPUT2", name="20%", rate=Decimal("0.2")))


def invoice(id: str, amount: str = "120.00", **kwargs: Any) -> Invoice:
    """An invoice as both sides would enter it; what differs is given."""
    total = Decimal(amount)
    tax = Decimal(kwargs.pop("tax", "20.00"))
    line = DocumentLine(
        description="Lamp", amount=total, ledger_account=kwargs.pop("ledger_account", "200"), tax_amount=tax
    )
    return Invoice(
        id=id,
        number=kwargs.pop("number", ""),
        reference=kwargs.pop("reference", ""),
        date=kwargs.pop("date", dt.date(2026, 10, 10)),
        currency=kwargs.pop("currency", "GBP"),
        customer=Party(name=kwargs.pop("party", "Online shop customers")),
        tax_mode="inclusive",
        lines=(line,),
        total=total,
        tax_total=tax,
        **kwargs,
    )


def payment(id: str, amount: str = "60.00", **kwargs: Any) -> CustomerPayment:
    settles: Literal["invoice", "credit_note"] = kwargs.pop("settles", "invoice")
    return CustomerPayment(
        id=id,
        date=kwargs.pop("date", dt.date(2026, 10, 10)),
        currency=kwargs.pop("currency", "GBP"),
        amount=Decimal(amount),
        ledger_account=kwargs.pop("ledger_account", "092"),
        settles=settles,
        document_number=kwargs.pop("number", ""),
        reference=kwargs.pop("reference", ""),
        customer=Party(name="Online shop customers"),
    )


def source_record(flow: Flow, id: str, *, date: dt.date = dt.date(2026, 10, 10), amount: str = "120.00") -> Record:
    """An order by its columns; nothing in these tests reads its body."""
    known = Record.objects.filter(connection=flow.source, data_type="order", external_id=id).first()
    return known or Record.objects.create(
        connection=flow.source,
        data_type="order",
        external_id=id,
        version="1",
        digest=uuid.uuid4().hex,
        body={},
        raw={},
        seen_at=now(),
        occurred_on=date,
        number=f"#{id}",
        reference=f"#{id}",
        amount=Decimal(amount),
        currency="GBP",
    )


def shadow(flow: Flow, document: StandardRecord, *, of: str = "", state: str = Posting.State.SHADOW) -> Posting:
    """What we would post for the order `of`, and the order's outcome."""
    columns = columns_of(document, LONDON)
    day, amount = columns.occurred_on or FIRST, columns.amount or Decimal(0)
    assert flow.mapping is not None
    record = source_record(flow, of or document.id, date=day, amount=str(amount))
    RecordOutcome.objects.get_or_create(
        flow=flow,
        record=record,
        defaults={
            "digest": record.digest,
            "mapping": flow.mapping,
            "stage": flow.stage,
            "state": RecordOutcome.State.POSTED if state == Posting.State.POSTED else RecordOutcome.State.SHADOW,
            "occurred_on": day,
            "amount": amount,
            "currency": columns.currency,
            "updated_at": now(),
        },
    )
    return Posting.objects.create(
        key=uuid.uuid4().hex,
        flow=flow,
        record=record,
        mapping=flow.mapping,
        purpose=f"{document.data_type}:{document.id}",
        data_type=document.data_type,
        document=msgspec.json.decode(encode(document)),
        digest=uuid.uuid4().hex,
        state=state,
        number=columns.number,
        reference=columns.reference,
        occurred_on=day,
        amount=amount,
        tax_amount=columns.tax_amount or 0,
        currency=columns.currency,
        party=columns.party,
        ledger_account=columns.ledger_account,
        external_id=document.id if state == Posting.State.POSTED else "",
        created_at=now(),
    )


def entry(flow: Flow, document: StandardRecord) -> Record:
    """What staff entered in the ledger."""
    return store(flow.target, document)
