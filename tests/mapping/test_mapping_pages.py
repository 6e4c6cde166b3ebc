"""The mapping page: suggestions, saving, keeping what was typed, preview and versions."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.db import connection as database
from django.dispatch import Signal
from django.test import Client
from django.test.utils import CaptureQueriesContext

from connectors.registry import connector
from connectors.sdk.client import dump_json, parse_json
from marketplace.audit.models import AuditEntry
from marketplace.core.models import WorkItem
from marketplace.installations.clients import client_for
from marketplace.mapping.mapping_form import MappingForm
from marketplace.mapping.mapping_views import load_flow
from marketplace.mapping.models import Flow, MappingVersion, Stage
from marketplace.mapping.operations import create_flow, restore_version, save_mapping
from marketplace.mapping.preview import plan_preview, with_requests
from marketplace.mapping.signals import mapping_saved
from marketplace.posting.models import Posting
from marketplace.posting.planning import plan_flow
from marketplace.posting.ready import drafts_of, postings_as_sent
from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.models import Membership, Tenant, User
from tests.mapping.world import connect, customer, ledger_lists, order, orders_flow, read


@pytest.fixture
def flow(tenant: Tenant, alice: User) -> Flow:
    with tenant_context(tenant):
        return orders_flow(alice, [order(1), order(2, method="PayPal")])


@pytest.fixture
def saved_signals() -> Iterator[list[dict[str, Any]]]:
    received: list[dict[str, Any]] = []

    def receive(sender: Any, signal: Signal, **kwargs: Any) -> None:
        received.append(kwargs)

    mapping_saved.connect(receive)
    yield received
    mapping_saved.disconnect(receive)


def url(flow: Flow, rest: str = "") -> str:
    return f"/o/kestrel/flows/{flow.pk}/mapping/{rest}"


def typed(client: Client, flow: Flow, **changes: str) -> dict[str, str]:
    """The page's form as a browser would send it back, with changes."""
    form: MappingForm = client.get(url(flow)).context["form"]
    values = {name: form[name].value() or "" for name in form.fields}
    return values | {name.replace("__", "-"): value for name, value in changes.items()}


def latest(tenant: Tenant, flow: Flow) -> MappingVersion:
    with tenant_context(tenant):
        found = MappingVersion.objects.filter(flow=flow).first()
    assert found is not None
    return found


def test_new_flow_is_mapped_by_suggestions(flow: Flow) -> None:
    assert flow.mapping is not None
    fields = flow.mapping.spec["fields"]
    assert fields["sales_ledger_account"]["value"] == "200"
    assert fields["shipping_ledger_account"]["value"] == "205"
    assert fields["gift_card_ledger_account"]["value"] == "260"
    assert fields["rounding_ledger_account"]["value"] == "497"
    assert fields["tax_rates"]["pairs"] == {"VAT 20%": "OUTPUT2"}
    assert fields["payment_ledger_accounts"]["pairs"] == {"Shopify Payments": "092", "PayPal": "092"}


def test_page_speaks_both_providers_words(flow: Flow, bob_client: Client) -> None:
    page = bob_client.get(url(flow)).content.decode()
    for words in ("Account: Sales", "Issue date", "Invoice number", "Paid to", "Payment gateway", "Prices include tax"):
        assert words in page
    assert "200 Sales" in page
    assert "120 Accounts Receivable</option>" not in page  # nothing of a sale is booked there by choice


def test_saving_makes_a_version_an_audit_entry_and_a_signal(
    tenant: Tenant, flow: Flow, bob_client: Client, saved_signals: list[dict[str, Any]]
) -> None:
    data = typed(bob_client, flow, memo__from="constant", memo__value="Thank you", comment="A memo")
    response = bob_client.post(url(flow, "save/"), data)
    assert response["Location"] == url(flow)
    version = latest(tenant, flow)
    assert (version.number, version.comment, version.created_by.email) == (2, "A memo", "bob@example.com")
    assert version.spec["fields"]["memo"] == {"from": "constant", "value": "Thank you"}
    with tenant_context(tenant):
        assert AuditEntry.objects.first().action == "mapping.saved"  # type: ignore[union-attr]
        assert Flow.objects.get().mapping_id == version.pk
    assert [news["flow_id"] for news in saved_signals] == [flow.pk]
    assert "unmapped" in saved_signals[0]["reason_codes"]


def test_unchanged_mapping_is_no_new_version(
    tenant: Tenant, flow: Flow, bob_client: Client, saved_signals: list[dict[str, Any]]
) -> None:
    bob_client.post(url(flow, "save/"), typed(bob_client, flow))
    assert latest(tenant, flow).number == 1
    assert saved_signals == []


def test_transforms_and_new_options_are_saved(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    changes = {
        "reference__from": "field",
        "reference__path": "customer.name",
        "reference__step0": "first",
        "reference__first0": "3",
        "payment_ledger_accounts__new": "Klarna",
        "payment_ledger_accounts__newpair": "093",
    }
    bob_client.post(url(flow, "save/"), typed(bob_client, flow, **changes))
    fields = latest(tenant, flow).spec["fields"]
    assert fields["reference"] == {"from": "field", "path": "customer.name", "steps": [["first", "3"]]}
    assert fields["payment_ledger_accounts"]["pairs"]["Klarna"] == "093"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sales_ledger_account__value": ""}, "Choose where “Sales” comes from."),
        ({"number__from": "expression", "number__text": "number.__class__"}, "there is no field"),
        ({"memo__from": "field", "memo__path": "number", "memo__step0": "first", "memo__first0": "x"}, "whole number"),
        ({"date__from": "field", "date__path": ""}, "there is no field"),
    ],
)
def test_errors_stand_beside_the_field_and_keep_what_was_typed(
    tenant: Tenant, flow: Flow, bob_client: Client, changes: dict[str, str], message: str
) -> None:
    data = typed(bob_client, flow, **changes, memo__value="Kept words", comment="Kept comment")
    response = bob_client.post(url(flow, "save/"), data)
    page = response.content.decode()
    assert response.status_code == 200
    assert message in page
    assert "Kept words" in page and "Kept comment" in page
    row = next(row for row in response.context["form"].rows if row.problems)
    assert message in " ".join(row.problems)
    assert latest(tenant, flow).number == 1


def test_archived_account_must_be_replaced(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    archived = [
        msgspec.structs.replace(account, is_archived=account.id == "id-200")
        for account in ledger_lists()
        if account.data_type == "ledger_account"
    ]
    with tenant_context(tenant):
        read(flow.target, archived)
    response = bob_client.post(url(flow, "save/"), typed(bob_client, flow))
    assert "“200 Sales” is no longer active in the ledger" in response.content.decode()
    assert "The ledger account 200 Sales is no longer active" in response.content.decode()  # the preview's reason


def test_preview_shows_what_is_typed_and_saves_nothing(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    data = typed(bob_client, flow, memo__from="constant", memo__value="Preview me")
    page = bob_client.post(url(flow, "preview/"), data).content.decode()
    part = bob_client.post(url(flow, "preview/"), data, headers={"HX-Request": "true"}).content.decode()
    for content in (page, part):
        assert "Preview me" in content
        assert "POST /api.xro/2.0/Invoices" in content or "PUT /api.xro/2.0/Invoices" in content
        assert "Accounts Receivable" in content and "Totals equal" in content
    assert "<html" not in part
    assert latest(tenant, flow).number == 1


def test_preview_says_why_a_record_waits(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    with tenant_context(tenant):
        read(flow.source, [order(3, method="Barter"), order(4, is_test=True)])
    data = typed(bob_client, flow)
    barter = next(name for name, value in data.items() if value == "Barter").replace("option", "pair")
    page = bob_client.post(url(flow, "preview/"), data | {barter: ""}).content.decode()
    assert "nothing is chosen for “Barter” yet" in page
    assert "It is a test order." in page


def test_preview_equals_what_posting_sends(tenant: Tenant, flow: Flow) -> None:
    with tenant_context(tenant):
        Flow.objects.filter(pk=flow.pk).update(stage=Stage.LIVE)
        loaded = load_flow(flow.pk)
        assert loaded.mapping is not None
        shown = plan_preview(flow=loaded, spec=loaded.mapping.spec, owner=tenant)
        plan_flow(owner=tenant, flow=loaded)
        ids = Posting.objects.filter(record_id=shown.opened).values_list("pk", flat=True)
        drafts = drafts_of(postings_as_sent(list(ids)), loaded.target)
    shown = with_requests(shown, tenant_id=tenant.pk, flow=loaded)
    opened = next(result for result in shown.results if result.before.id == shown.opened)
    client = client_for(tenant.pk, loaded.target)
    types = [draft.document.data_type for draft in drafts]
    requests = [
        connector("xero").writable(data_type).preview(client, [draft])
        for data_type, draft in zip(types, drafts, strict=True)
    ]
    assert types == ["invoice", "customer_payment"]
    assert [sent.title for sent in opened.sent] == [f"{request.method} {request.path}" for request in requests]
    assert [parse_json(sent.text) for sent in opened.sent] == [
        parse_json(dump_json(request.body)) for request in requests
    ]
    assert '"LineAmount": 40.00' in opened.sent[0].text


def test_ledger_that_cannot_be_asked_shows_the_document(tenant: Tenant, alice: User, bob_client: Client) -> None:
    """QuickBooks looks names up at the provider; without an authorisation the document is shown instead."""
    with tenant_context(tenant):
        shop, ledger = connect(alice, "shopify", "Kestrel Shop"), connect(alice, "quickbooks", "New Books")
        read(ledger, ledger_lists())
        read(shop, [order(1)])
        flow = create_flow(slug="orders", source=shop, target=ledger, start_date=dt.date(2026, 11, 1), user=alice)
    page = bob_client.get(url(flow)).content.decode()
    assert "This connection has no authorisation. Reconnect to go on. This is the document" in page
    assert "Income account: Sales" in page


def test_contacts_have_write_modes(tenant: Tenant, alice: User, bob_client: Client) -> None:
    with tenant_context(tenant):
        source, target = connect(alice, "xero", "Old Books"), connect(alice, "quickbooks", "New Books")
        read(source, [customer()])
        flow = create_flow(slug="customers", source=source, target=target, start_date=dt.date(2026, 1, 1), user=alice)
    bob_client.post(url(flow, "save/"), typed(bob_client, flow, phone__mode="if_empty"))
    version = latest(tenant, flow)
    assert version.number == 2
    assert version.spec["fields"]["phone"] == {"from": "field", "path": "phone", "write_mode": "if_empty"}
    page = bob_client.get(url(flow, "versions/")).content.decode()
    assert "Phone number (written)" in page and "Only where it is empty" in page


def test_versions_are_compared_in_words_and_restored(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    bob_client.post(
        url(flow, "save/"),
        typed(bob_client, flow, sales_ledger_account__value="205", payment_ledger_accounts__otherwise="093"),
    )
    page = bob_client.get(url(flow, "versions/")).content.decode()
    cells = [re.sub(r"\s+", " ", cell) for cell in re.findall(r"<t[hd][^>]*>([^<]+)</t[hd]>", page)]
    at = cells.index("Account: Sales")
    assert cells[at : at + 3] == ["Account: Sales", "200 Sales", "205 Shipping Income"]
    at = cells.index("Paid to for everything else")
    assert cells[at + 1 : at + 3] == ["nothing", "093 Card Payments Clearing"]
    response = bob_client.post(url(flow, "versions/1/restore/"))
    assert response["Location"] == url(flow, "versions/")
    version = latest(tenant, flow)
    assert version.number == 3
    assert version.spec["fields"]["sales_ledger_account"]["value"] == "200"


def test_versions_page_takes_the_same_queries_for_one_and_three(
    tenant: Tenant, flow: Flow, alice: User, bob_client: Client
) -> None:
    bob_client.get(url(flow, "versions/"))
    for count in (1, 3):
        with tenant_context(tenant):
            loaded = load_flow(flow.pk)
            assert loaded.mapping is not None
            for number in range(MappingVersion.objects.count(), count):
                spec = {"fields": {**loaded.mapping.spec["fields"], "memo": {"from": "constant", "value": str(number)}}}
                save_mapping(flow=loaded, spec=spec, comment="", user=alice)
        with CaptureQueriesContext(
            database,
        ) as queries:
            response = bob_client.get(url(flow, "versions/"))
        assert len(response.context["versions"]) == count
        assert len(queries) == 13


def test_restoring_what_is_in_use_changes_nothing(tenant: Tenant, flow: Flow, alice: User) -> None:
    with tenant_context(tenant):
        assert flow.mapping is not None
        assert restore_version(flow=flow, version=flow.mapping, user=alice).pk == flow.mapping.pk


def test_lists_are_read_again_on_request(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    bob_client.post(url(flow, "read-lists/"))
    keys = set(WorkItem.objects.filter(tenant_id=tenant.pk, kind="sync").values_list("key", flat=True))
    assert keys == {f"{flow.target_id}:{name}" for name in ("company", "ledger_account", "tax_rate")}


def test_strangers_see_nothing_and_viewers_only_look(
    tenant: Tenant, flow: Flow, bob: User, bob_client: Client, charlie_client: Client
) -> None:
    pages = ["", "versions/"]
    changes = ["save/", "preview/", "read-lists/", "versions/1/restore/"]
    for rest in pages:
        assert charlie_client.get(url(flow, rest)).status_code == 404
    for rest in changes:
        assert charlie_client.post(url(flow, rest)).status_code == 404
    Membership.objects.filter(user=bob).update(role=Role.VIEWER)
    assert "You may look only" in bob_client.get(url(flow)).content.decode()
    for rest in changes:
        response = bob_client.post(url(flow, rest))
        assert response.status_code == 403
        assert "This needs the role Bookkeeper" in response.content.decode()


def test_flow_of_another_business_is_not_found(
    tenant: Tenant, flow: Flow, other_tenant: Tenant, charlie_client: Client
) -> None:
    assert charlie_client.get(f"/o/marlow/flows/{flow.pk}/mapping/").status_code == 404


def test_money_in_the_preview_is_exact(tenant: Tenant, flow: Flow) -> None:
    with tenant_context(tenant):
        loaded = load_flow(flow.pk)
        assert loaded.mapping is not None
        shown = plan_preview(flow=loaded, spec=loaded.mapping.spec, owner=tenant)
    result = shown.results[0]
    assert result.booked == result.before.total == Decimal("54.00")
    assert result.journal is not None
    assert [(line.name, line.debit - line.credit) for line in result.journal.lines] == [
        ("120 Accounts Receivable", Decimal("54.00")),
        ("200 Sales", Decimal("-40.00")),
        ("Sales tax (20% (VAT on Income))", Decimal("-9.00")),
        ("205 Shipping Income", Decimal("-5.00")),
        ("092 Shop Payments Clearing", Decimal("54.00")),
        ("120 Accounts Receivable", Decimal("-54.00")),
    ]


def test_mapping_page_takes_the_same_queries_for_one_record_and_three(
    tenant: Tenant, alice: User, bob_client: Client
) -> None:
    with tenant_context(tenant):
        flow = orders_flow(alice, [order(1)])
    bob_client.get(url(flow))
    for count in (1, 3):
        with tenant_context(tenant):
            read(flow.source, [order(number) for number in range(1, count + 1)])
        with CaptureQueriesContext(database) as queries:
            response = bob_client.get(url(flow))
        assert len(response.context["preview"].results) == count
        assert len(queries) == 20


def test_requests_of_another_record_are_shown_when_asked_for(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    first = bob_client.get(url(flow)).context["preview"]
    other = next(result.before.id for result in first.results if result.before.id != first.opened)
    shown = bob_client.post(url(flow, "preview/"), typed(bob_client, flow) | {"open": str(other)}).context["preview"]
    assert [result.before.id for result in shown.results if result.sent] == [other]
    assert bob_client.get(f"{url(flow)}?open=nonsense").context["preview"].opened == first.opened
