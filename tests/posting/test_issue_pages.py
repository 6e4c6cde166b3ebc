"""Clearing what waits: the list with its filters, one record with its evidence, and the decisions."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from marketplace.audit.models import AuditEntry
from marketplace.core.models import TenantSummary, WorkItem
from marketplace.mapping.models import Flow, Stage
from marketplace.posting.models import Posting, PostingBatch, RecordOutcome
from marketplace.posting.planning import plan_flow
from marketplace.posting.queries import element_of
from marketplace.posting.summaries import refresh_summary
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.cutover.world import make_flow, store_lists
from tests.posting.world import PLACED, arrive, order, read_as

LIST = "/o/kestrel/issues/"
TAGS = re.compile(r"<[^>]+>")


def text_of(response: Any) -> str:
    return " ".join(TAGS.sub(" ", response.content.decode()).split())


@pytest.fixture
def flow(tenant: Tenant, alice: User) -> Flow:
    """#1 was changed after posting (held), #2 and #3 have a payment method nobody mapped (held), #4 waits for nobody."""
    with tenant_context(tenant) as owner:
        made = make_flow(alice, stage=Stage.LIVE)
        store_lists(made)
        methods = {1: "shopify_payments", 2: "klarna", 3: "klarna", 4: "shopify_payments"}
        arrive(made.source, *(read_as(order(n, f"{n}00.00", method=method)) for n, method in methods.items()))
        plan_flow(owner=owner, flow=Flow.objects.select_related("source", "target", "mapping").get(pk=made.pk))
        for posting in Posting.objects.filter(record__number="#1"):
            Posting.objects.filter(pk=posting.pk).update(state="posted", external_id=f"x{posting.pk}")
        RecordOutcome.objects.filter(record__number="#1").update(
            state="held",
            reason_code="changed_after_posting",
            reason="It changed.",
            owner="bookkeeper",
            next_step="Compare.",
        )
        refresh_summary(owner)
        return made


def outcomes(tenant: Tenant) -> dict[str, tuple[str, str]]:
    with tenant_context(tenant):
        rows = RecordOutcome.objects.values_list("record__number", "state", "reason_code")
        return {number: (state, code) for number, state, code in rows}


def id_of(tenant: Tenant, number: str) -> int:
    with tenant_context(tenant):
        return RecordOutcome.objects.get(record__number=number).pk


def shown(client: Client, query: str = "") -> list[str]:
    """The records of the list, in its order."""
    return re.findall(r'href="/o/kestrel/issues/\d+/">(#\d+)<', client.get(f"{LIST}{query}").content.decode())


def decide(client: Client, *ids: int, decision: str = "post_again", **more: str) -> Any:
    given = {"decision": decision, "covers": "chosen", "outcome": [str(pk) for pk in ids], **more}
    return client.post(f"{LIST}decide/", given)


def seen_in(page: Any) -> str:
    """What the page of all that fit was about."""
    return str(re.findall(r'name="seen" value="(\w+)"', page.content.decode())[0])


def decide_all(client: Client, **more: str) -> Any:
    """Asks, and confirms what was shown."""
    return decide(client, covers="all", seen=seen_in(decide(client, covers="all", **more)), **more)


def test_list_has_what_waits_dearest_first(flow: Flow, alice_client: Client) -> None:
    assert shown(alice_client) == ["#3", "#2", "#1"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?sort=money", ["#1", "#2", "#3"]),
        ("?sort=-record", ["#3", "#2", "#1"]),
        ("?reason=unmapped", ["#3", "#2"]),
        ("?state=failed", []),
        ("?owner=bookkeeper", ["#3", "#2", "#1"]),
        ("?owner=owner", []),
        ("?q=%232", ["#2"]),
        ("?q=klarna", ["#3", "#2"]),
        ("?q=ada+changed", ["#1"]),
        ("?date_from=2026-10-11", []),
        ("?date_until=2026-10-10", ["#3", "#2", "#1"]),
        ("?reason=no_such_reason", ["#3", "#2", "#1"]),
        ("?date_from=nonsense&sort=nonsense", ["#3", "#2", "#1"]),
    ],
)
def test_filters_and_sorting_live_in_the_address(
    flow: Flow, alice_client: Client, query: str, expected: list[str]
) -> None:
    assert shown(alice_client, query) == expected


def test_filter_that_nothing_fits_does_not_say_that_nothing_waits(
    flow: Flow, tenant: Tenant, alice_client: Client
) -> None:
    page = text_of(alice_client.get(f"{LIST}?q=nobody"))
    assert "No record fits" in page and "Nothing waits" not in page
    with tenant_context(tenant):
        RecordOutcome.objects.update(state="posted")
    assert "Nothing waits" in text_of(alice_client.get(LIST))


def test_filter_by_flow(flow: Flow, alice_client: Client) -> None:
    assert len(shown(alice_client, f"?flow={flow.pk}")) == 3


def test_each_row_is_a_sentence_with_the_next_step(flow: Flow, alice_client: Client) -> None:
    page = text_of(alice_client.get(LIST))
    assert "nothing is chosen for “klarna” yet." in page
    assert "Bookkeeper: Choose what “klarna” becomes in the field mapping" in page


def test_export_holds_the_whole_filtered_list(flow: Flow, alice_client: Client) -> None:
    response = alice_client.get(f"{LIST}export.csv?reason=unmapped")
    rows = list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))
    assert [row[1] for row in rows[1:]] == ["#3", "#2"]
    assert rows[1][5] == "300.00"
    assert "attachment" in response["Content-Disposition"]


def test_export_runs_no_formula(flow: Flow, tenant: Tenant, alice_client: Client) -> None:
    with tenant_context(tenant):
        RecordOutcome.objects.update(reason='=HYPERLINK("http://evil")')
    rows = list(csv.reader(io.StringIO(alice_client.get(f"{LIST}export.csv").content.decode("utf-8-sig"))))
    assert rows[1][8].startswith("'=")


def test_list_costs_the_same_for_one_row_and_for_three(
    flow: Flow, tenant: Tenant, alice_client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    alice_client.get(LIST)
    for query in ("", "?q=%232"):
        with django_assert_num_queries(13):
            alice_client.get(f"{LIST}{query}")


def test_post_again_asks_for_a_new_plan(flow: Flow, tenant: Tenant, bob_client: Client) -> None:
    WorkItem.objects.all().delete()
    response = decide(bob_client, id_of(tenant, "#2"), query="reason=unmapped")
    assert response["Location"] == f"{LIST}?reason=unmapped"
    with tenant_context(tenant):
        assert list(RecordOutcome.objects.filter(is_replay_asked=True).values_list("record__number", flat=True)) == [
            "#2"
        ]
        assert AuditEntry.objects.get(action="posting.post_again").actor == "Bob"
    assert WorkItem.objects.get(kind="plan").key == str(flow.pk)


def test_all_that_fit_the_filter_are_decided_at_once(flow: Flow, tenant: Tenant, bob_client: Client) -> None:
    decide_all(bob_client, decision="exclude", query="reason=unmapped", reason="Paid on another till")
    found = outcomes(tenant)
    assert found["#2"] == found["#3"] == ("excluded", "excluded_by_person")
    assert found["#1"] == ("held", "changed_after_posting")


def test_all_that_fit_are_counted_and_shown_before_anything_is_decided(
    flow: Flow, tenant: Tenant, bob_client: Client
) -> None:
    asked = decide(bob_client, decision="exclude", covers="all", query="reason=unmapped", reason="Another till")
    page = text_of(asked)
    assert "Leave 2 records out of the books" in page and "Why: Another till" in page
    assert "A value has no choice in the field mapping yet 2 GBP 500.00" in page
    assert outcomes(tenant)["#2"][0] == "held"


def test_what_came_since_all_were_shown_is_not_decided_about(flow: Flow, tenant: Tenant, bob_client: Client) -> None:
    seen = seen_in(decide(bob_client, decision="exclude", covers="all", query="reason=unmapped", reason="Till"))
    with tenant_context(tenant):
        RecordOutcome.objects.filter(record__number="#1").update(reason_code="unmapped")
    again = decide(bob_client, decision="exclude", covers="all", query="reason=unmapped", reason="Till", seen=seen)
    assert "What fits the filter has changed since you looked" in text_of(again)
    assert "Leave 3 records out of the books" in text_of(again)
    assert {state for number, (state, _) in outcomes(tenant).items() if number != "#4"} == {"held"}


def test_list_shows_how_far_records_are_that_are_worked_out_again(
    flow: Flow, tenant: Tenant, bob_client: Client
) -> None:
    decide(bob_client, id_of(tenant, "#2"))
    page = bob_client.get(f"{LIST}?reason=unmapped").content.decode()
    assert "Being worked out again" in page and "3 of 4" in page
    assert f'hx-get="{LIST}?reason=unmapped&amp;watch=1"' in page
    with tenant_context(tenant):
        RecordOutcome.objects.update(is_replay_asked=False)
    assert "Worked out again" in text_of(bob_client.get(f"{LIST}?reason=unmapped&watch=1"))
    assert "orked out again" not in text_of(bob_client.get(f"{LIST}?reason=unmapped"))


def test_excluding_needs_a_reason_and_keeps_what_was_chosen(flow: Flow, tenant: Tenant, bob_client: Client) -> None:
    pk = id_of(tenant, "#2")
    response = decide(bob_client, pk, decision="exclude", reason=" ")
    assert response.status_code == 422
    assert "Say why" in text_of(response)
    assert f'value="{pk}" aria-label="Choose #2" checked' in response.content.decode()
    assert outcomes(tenant)["#2"][0] == "held"


def test_nothing_chosen_is_said(flow: Flow, bob_client: Client) -> None:
    assert "Choose at least one record." in text_of(decide(bob_client))


def test_what_is_in_the_ledger_cannot_be_left_out(flow: Flow, tenant: Tenant, bob_client: Client) -> None:
    response = decide(bob_client, id_of(tenant, "#1"), id_of(tenant, "#2"), decision="exclude", reason="Mistake")
    assert response.status_code == 422
    assert "in the ledger already" in text_of(response)
    assert outcomes(tenant)["#2"][0] == "held"


def test_entry_in_the_ledger_can_be_accepted(flow: Flow, tenant: Tenant, bob_client: Client) -> None:
    pk = id_of(tenant, "#1")
    response = bob_client.post(f"{LIST}{pk}/", {"decision": "accept", "reason": "Corrected in Xero"})
    assert response.status_code == 302
    assert outcomes(tenant)["#1"] == ("posted", "accepted_by_person")
    assert "Nothing waits here any more" in text_of(bob_client.get(f"{LIST}{pk}/"))


def test_what_was_never_confirmed_is_not_decided_in_passing(flow: Flow, tenant: Tenant, bob_client: Client) -> None:
    ids = [id_of(tenant, number) for number in ("#2", "#3")]
    with tenant_context(tenant):
        RecordOutcome.objects.filter(pk=ids[0]).update(reason_code="unconfirmed")
    response = decide(bob_client, *ids)
    assert response.status_code == 422
    assert "1 of these was never confirmed by the ledger. Look there first" in text_of(response)
    page = text_of(bob_client.get(f"{LIST}{ids[0]}/"))
    assert "Look in the ledger first It is in the ledger: accept the entry It is not in the ledger: post it" in page
    assert decide(bob_client, ids[0]).status_code == 302
    assert decide(bob_client, ids[1], decision="").status_code == 422


def test_page_offers_only_what_can_be_done(flow: Flow, tenant: Tenant, bob_client: Client) -> None:
    changed = text_of(bob_client.get(f"{LIST}{id_of(tenant, '#1')}/"))
    unmapped = text_of(bob_client.get(f"{LIST}{id_of(tenant, '#2')}/"))
    assert "Accept the entry in the ledger" in changed and "Leave out of the books" not in changed
    assert "Leave out of the books" in unmapped and "Accept the entry in the ledger" not in unmapped


def test_page_folds_the_evidence_below(flow: Flow, tenant: Tenant, bob_client: Client) -> None:
    page = text_of(bob_client.get(f"{LIST}{id_of(tenant, '#1')}/"))
    assert "Order #1 of 10 Oct 2026, GBP 100.00" in page
    assert "The record, as Shopify sent it" in page
    assert ", as mapped" in page


def test_viewer_sees_but_does_not_decide(flow: Flow, tenant: Tenant, bob: User, bob_client: Client) -> None:
    tenant.memberships.filter(user=bob).update(role="viewer")
    pk = id_of(tenant, "#2")
    assert "A bookkeeper, admin or owner decides" in text_of(bob_client.get(LIST))
    assert decide(bob_client, pk).status_code == 403
    bob_client.post(f"{LIST}{pk}/", {"decision": "exclude", "reason": "I may not"})
    assert outcomes(tenant)["#2"][0] == "held"


def test_stranger_finds_nothing(flow: Flow, tenant: Tenant, other_tenant: Tenant, charlie_client: Client) -> None:
    pk = id_of(tenant, "#2")
    for path in ("", "export.csv", f"{pk}/"):
        assert charlie_client.get(f"{LIST}{path}").status_code == 404
    assert charlie_client.get(f"/o/marlow/issues/{pk}/").status_code == 404
    assert decide(charlie_client, pk).status_code == 404
    charlie_client.post("/o/marlow/issues/decide/", {"decision": "post_again", "covers": "chosen", "outcome": str(pk)})
    with tenant_context(tenant):
        assert not RecordOutcome.objects.filter(is_replay_asked=True).exists()


def test_counts_beside_the_business_follow_the_decisions(flow: Flow, tenant: Tenant, bob_client: Client) -> None:
    summary = TenantSummary.objects.get(tenant=tenant)
    assert (summary.waiting_count, summary.waiting_amount, summary.furthest_stage) == (3, Decimal(600), "live")
    assert '<span class="count">3<span' in bob_client.get(LIST).content.decode()
    decide_all(bob_client, decision="exclude", query="reason=unmapped", reason="Another till")
    summary.refresh_from_db()
    assert (summary.waiting_count, summary.waiting_amount) == (1, Decimal(100))


def test_element_of_a_request_is_found_by_its_mark_else_by_its_place(flow: Flow, tenant: Tenant) -> None:
    with tenant_context(tenant):
        first, second = Posting.objects.filter(data_type="invoice").order_by("id")[:2]
        elements = [{"Reference": f"x T-{second.key[:8]}"}, {"Reference": "unmarked"}]
        batch = PostingBatch.objects.create(
            connection=flow.target, data_type="invoice", key="k", request={"body": {"List": {"Items": elements}}},
            request_digest="d", size=2, sent_at=PLACED,
        )  # fmt: skip
        Posting.objects.filter(pk__in=[first.pk, second.pk]).update(batch=batch)
        for posting, expected in ((first, elements[0]), (second, elements[0])):
            posting.batch = batch
            assert element_of(posting) == expected
