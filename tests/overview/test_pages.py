"""Home, a day, a record, a trace and the runs, as members and strangers see them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from connectors.sdk.records import Payout
from marketplace.core.clock import now
from marketplace.core.formatting import problem_words
from marketplace.core.models import WorkItem
from marketplace.cutover.models import Pair
from marketplace.installations.models import Connection
from marketplace.mapping.models import Flow, Stage
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.sync.models import Record, RejectedRow, SyncRun
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.cutover.world import make_connection, make_flow
from tests.posting.world import arrive, order, read_as

HOME = "/o/kestrel/?month=2026-10"
TAGS = re.compile(r"<[^>]+>")


def text_of(response: Any) -> str:
    return " ".join(TAGS.sub(" ", response.content.decode()).split())


def first(model: Any, **wanted: Any) -> Any:
    return model.objects.filter(**wanted).order_by("pk")[0]


@pytest.fixture
def ids(flow: Flow, tenant: Tenant) -> dict[str, Any]:
    with tenant_context(tenant):
        posting = first(Posting, data_type="invoice")
        return {"record": posting.record_id, "posting": posting.pk}


def test_home_answers_first(flow: Flow, alice_client: Client) -> None:
    page = text_of(alice_client.get(HOME))
    assert "2 of 3 orders of October 2026 are in Xero. 1 waits for you: GBP 412.00." in page
    assert "4 at the source = 2 posted + 1 held + 1 excluded" in page
    assert "Proved, some wait for you" in page


def test_home_opens_on_the_month_in_which_something_happened_last(flow: Flow, alice_client: Client) -> None:
    assert "October 2026" in text_of(alice_client.get("/o/kestrel/"))


def test_home_links_each_day_with_records_to_its_proof(flow: Flow, alice_client: Client) -> None:
    content = alice_client.get(HOME).content.decode()
    assert re.findall(r'href="(/o/kestrel/days/[^"]+)"', content) == ["/o/kestrel/days/2026-10-10/"]


def test_home_ranks_what_needs_attention_by_money(flow: Flow, tenant: Tenant, alice_client: Client) -> None:
    with tenant_context(tenant):
        RecordOutcome.objects.filter(record__number="#2").update(state="failed", reason_code="closed_period")
        RejectedRow.objects.create(
            connection=flow.source, data_type="order", external_id="9", reason="?", raw={}, at=now()
        )
        Connection.objects.filter(pk=flow.target_id).update(state="needs_reconnect", problem="Xero ended it.")
    page = text_of(alice_client.get(HOME))
    places = [
        page.index("Xero (Kestrel books) needs reconnecting"),
        page.index("1 order could not be read From Shopify (Kestrel shop)."),
        page.index("1 order: a value has no choice in the field mapping yet"),
        page.index("1 order: dated in a closed period"),
    ]
    assert places[:2] == sorted(places[:2]) and places[2:] == sorted(places[2:]) and max(places[:2]) < places[2]


def test_home_says_when_records_were_not_looked_at(flow: Flow, tenant: Tenant, alice_client: Client) -> None:
    with tenant_context(tenant):
        arrive(flow.source, read_as(order(5)))
        Flow.objects.update(is_paused=True)
    page = text_of(alice_client.get(HOME))
    assert "Not proved" in page
    assert "1 order not looked at yet" in page and "is paused" in page


def test_home_shows_open_differences_of_a_parallel_run(flow: Flow, tenant: Tenant, alice_client: Client) -> None:
    with tenant_context(tenant):
        Pair.objects.create(
            flow=flow, posting=first(Posting, data_type="invoice"), data_type="invoice", verdict="missing_in_theirs",
            occurred_on=dt.date(2026, 10, 10), money=Decimal("120"), currency="GBP", paired_at=now(),
        )  # fmt: skip
    assert "1 difference from staff's entries to decide" in text_of(alice_client.get(HOME)).replace("&#x27;", "'")


def test_home_proves_payouts_from_gross_to_deposit(flow: Flow, tenant: Tenant, alice_client: Client) -> None:
    good: dict[str, Any] = {
        "gross": Decimal("100"),
        "fees": Decimal("3"),
        "refunds": Decimal("7"),
        "net": Decimal("90"),
    }
    with tenant_context(tenant):
        for id, figures in (("1", good), ("2", {**good, "net": Decimal("80")})):
            payout = Payout(
                id=id, paid_date=dt.date(2026, 10, 12), updated_at=now(), currency="GBP", **figures
            )  # fmt: skip
            arrive(flow.source, read_as(payout))
    page = text_of(alice_client.get(HOME))
    assert page.count("Adds up") == 1 and page.count("Does not add up") == 1


def test_home_costs_the_same_however_much_there_is(
    flow: Flow, tenant: Tenant, alice: User, alice_client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    with tenant_context(tenant):
        make_flow(alice, template="payouts", stage=Stage.PARALLEL, name="Payouts")
    WorkItem.objects.all().delete()
    alice_client.get(HOME)
    with django_assert_num_queries(22):
        alice_client.get(HOME)
    with tenant_context(tenant):
        refunds = make_flow(alice, template="refunds", stage=Stage.LIVE, name="Refunds")
        arrive(flow.source, *(read_as(order(100 + number)) for number in range(30)))
    WorkItem.objects.all().delete()
    with django_assert_num_queries(22):
        alice_client.get(HOME)
    for planned in (flow, refunds):
        WorkItem.objects.create(tenant=tenant, kind="plan", key=str(planned.pk), due_at=now(), requested_at=now())
        with django_assert_num_queries(24):  # what is being worked out, and how far
            alice_client.get(HOME)


def test_new_business_is_told_what_comes_first(tenant: Tenant, alice_client: Client) -> None:
    page = text_of(alice_client.get("/o/kestrel/"))
    assert "Connect where you sell" in page
    assert "Open the catalogue" in page


def test_business_with_systems_but_no_flow_is_sent_to_the_flows(
    tenant: Tenant, alice: User, alice_client: Client
) -> None:
    with tenant_context(tenant):
        make_connection(alice, "shopify", "Shop")
        make_connection(alice, "xero", "Books")
    assert "Add a flow" in text_of(alice_client.get("/o/kestrel/"))


def test_flow_below_the_pilot_is_shown_on_its_stair(tenant: Tenant, alice: User, alice_client: Client) -> None:
    with tenant_context(tenant):
        make_flow(alice, stage=Stage.SANDBOX)
    assert "Nothing is posted yet" in text_of(alice_client.get("/o/kestrel/"))


def test_bookkeeper_of_a_new_business_is_told_who_connects(tenant: Tenant, bob_client: Client) -> None:
    assert "An owner or admin of Kestrel &amp; Co connects the systems." in text_of(bob_client.get("/o/kestrel/"))


# --- under way --------------------------------------------------------------------------------------------------------


def test_activity_shows_a_run_with_its_progress_and_asks_again(
    flow: Flow, tenant: Tenant, alice_client: Client
) -> None:
    with tenant_context(tenant):
        SyncRun.objects.create(
            connection=flow.source, data_type="order", trigger="backfill", started_at=now(), read_count=250, expected_count=1000
        )  # fmt: skip
    response = alice_client.get("/o/kestrel/activity/")
    assert "250 of 1,000 orders read (25%)" in text_of(response)
    assert 'hx-trigger="every 3s"' in response.content.decode()
    assert '<noscript><meta http-equiv="refresh"' in alice_client.get(HOME).content.decode()


def test_activity_shows_how_many_records_are_worked_out(
    flow: Flow, tenant: Tenant, other_tenant: Tenant, alice_client: Client
) -> None:
    WorkItem.objects.all().delete()
    for owner in (tenant, other_tenant):
        WorkItem.objects.create(tenant=owner, kind="plan", key=str(flow.pk), due_at=now(), requested_at=now())
    with tenant_context(tenant):
        total = Record.objects.filter(connection=flow.source, data_type="order").count()
        RecordOutcome.objects.filter(pk=RecordOutcome.objects.filter(flow=flow).values("pk")[:1]).update(
            is_replay_asked=True
        )
    page = alice_client.get("/o/kestrel/activity/").content.decode()
    assert f"<strong>{total - 1} of {total}</strong>" in page and "orders worked out" in page
    assert f'value="{total - 1}" max="{total}"' in page


def test_activity_counts_nothing_that_waits_for_a_person(flow: Flow, tenant: Tenant, alice_client: Client) -> None:
    WorkItem.objects.all().delete()
    with tenant_context(tenant):
        held = Posting.objects.filter(flow=flow)[0]
        Posting.objects.filter(pk=held.pk).update(state="uncertain")
        RecordOutcome.objects.filter(flow=flow, record=held.record).update(state="pending")
    assert "1 document on the way to Xero" in text_of(alice_client.get("/o/kestrel/activity/"))
    with tenant_context(tenant):
        RecordOutcome.objects.filter(flow=flow, record=held.record).update(state="held", reason_code="unconfirmed")
    assert alice_client.get("/o/kestrel/activity/").content.strip() == b""


def test_activity_is_silent_when_nothing_runs(flow: Flow, alice_client: Client) -> None:
    WorkItem.objects.all().delete()
    assert alice_client.get("/o/kestrel/activity/").content.strip() == b""
    assert "http-equiv" not in alice_client.get(HOME).content.decode()


def test_activity_names_trouble_of_this_business_only(
    flow: Flow, tenant: Tenant, other_tenant: Tenant, alice_client: Client
) -> None:
    WorkItem.objects.all().delete()
    for owner, words in ((tenant, "Xero asks to slow down"), (other_tenant, "something of Marlow")):
        WorkItem.objects.create(
            tenant=owner, kind="post", key="k", due_at=now(), attempts=3, problem=f"UnableToPost('{words}')", requested_at=now()
        )  # fmt: skip
    page = text_of(alice_client.get("/o/kestrel/activity/"))
    assert "Xero asks to slow down." in page and "Tried 3 times" in page
    assert "Marlow" not in page


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ("UnableToPost('the connection needs reconnecting')", "The connection needs reconnecting."),
        ('UnableToRead("Shopify\'s answer was cut off.")', "Shopify's answer was cut off."),
        ("KeyError('secret_field')", "Something went wrong on our side. It is tried again by itself; nothing is lost."),
        ("unknown kind of work: x", "Something went wrong on our side. It is tried again by itself; nothing is lost."),
    ],
)
def test_only_sentences_meant_for_people_are_shown(problem: str, words: str) -> None:
    assert problem_words(problem) == words


# --- the pages behind the figures -------------------------------------------------------------------------------------


def test_day_shows_every_record_with_its_outcome(flow: Flow, alice_client: Client) -> None:
    page = text_of(alice_client.get("/o/kestrel/days/2026-10-10/"))
    for number, outcome in (("#1", "Posted"), ("#2", "Posted"), ("#3", "Held"), ("#4", "Excluded")):
        assert re.search(rf"{number} Ada Hart GBP [\d.]+ {outcome}", page), number
    assert "GBP 712.00" in page  # the source's total of the day


def test_day_without_records_says_so(flow: Flow, alice_client: Client) -> None:
    assert "Nothing happened on this day" in text_of(alice_client.get("/o/kestrel/days/2026-10-11/"))


def test_day_that_does_not_exist_is_not_found(flow: Flow, alice_client: Client) -> None:
    assert alice_client.get("/o/kestrel/days/2026-02-30/").status_code == 404


def test_record_is_told_in_the_providers_words(ids: dict[str, Any], alice_client: Client) -> None:
    page = text_of(alice_client.get(f"/o/kestrel/records/{ids['record']}/"))
    assert "In the words of Shopify" in page
    assert "Lamp" in page and "Ada Hart" in page
    assert "Posted" in page and "Invoice" in page
    assert "A webhook" in page
    assert "&quot;channel&quot;: &quot;web&quot;" in page


def test_trace_leads_from_the_ledgers_line_to_the_source(ids: dict[str, Any], alice_client: Client) -> None:
    response = alice_client.get(f"/o/kestrel/postings/{ids['posting']}/")
    page = text_of(response)
    for part in ("order #1", "version 1", "The journal it makes", "with 1 other in one request", "In the ledger"):
        assert part in page, part
    assert re.search(r"In balance GBP ([\d.]+) GBP \1", page)
    assert f'href="/o/kestrel/records/{ids["record"]}/"' in response.content.decode()
    assert "&quot;Nr&quot;: &quot;1&quot;" in page and "&quot;Nr&quot;: &quot;2&quot;" not in page


def test_trace_of_a_held_record_offers_nothing_that_was_sent(flow: Flow, tenant: Tenant, alice_client: Client) -> None:
    with tenant_context(tenant):
        posting = first(Posting, data_type="invoice")
        Posting.objects.filter(pk=posting.pk).update(state="planned", batch=None, external_id="")
    page = text_of(alice_client.get(f"/o/kestrel/postings/{posting.pk}/"))
    assert "Not sent yet." in page and "Nothing yet." in page


def test_runs_list_reads_and_writes(flow: Flow, tenant: Tenant, alice_client: Client) -> None:
    with tenant_context(tenant):
        SyncRun.objects.create(
            connection=flow.source, data_type="order", trigger="poll", state="stopped", started_at=now(), read_count=7,
            finished_at=now(), problem="Shopify cannot be reached at the moment.", drift_count=2,
        )  # fmt: skip
    page = text_of(alice_client.get("/o/kestrel/runs/"))
    assert "Stopped" in page and "Shopify cannot be reached at the moment." in page
    assert "Nothing ran" in text_of(alice_client.get("/o/kestrel/runs/?state=done"))
    assert "Settled" in text_of(alice_client.get("/o/kestrel/runs/?show=writes"))


def test_viewer_is_not_offered_to_read(flow: Flow, tenant: Tenant, bob: User, bob_client: Client) -> None:
    assert "Read now" in text_of(bob_client.get("/o/kestrel/runs/"))
    tenant.memberships.filter(user=bob).update(role="viewer")
    assert "Read now" not in text_of(bob_client.get("/o/kestrel/runs/"))


@pytest.mark.parametrize("role", ["viewer", "bookkeeper", "admin"])
def test_navigation_leads_to_no_refusal(flow: Flow, tenant: Tenant, bob: User, bob_client: Client, role: str) -> None:
    tenant.memberships.filter(user=bob).update(role=role)
    page = bob_client.get("/o/kestrel/runs/").content.decode()
    links = re.findall(r'href="(/o/kestrel/[^"]*)"', page.partition('id="side"')[2].partition("</nav>")[0])
    assert len(links) == 9 + (role == "admin")
    assert {link: bob_client.get(link).status_code for link in links} == dict.fromkeys(links, 200)


def test_trace_of_what_was_never_confirmed_says_whose_move_it_is(
    flow: Flow, tenant: Tenant, alice_client: Client
) -> None:
    words = "Xero did not confirm a write; it is looked up before anything is repeated."
    with tenant_context(tenant):
        posting = first(Posting, data_type="invoice")
        Posting.objects.filter(pk=posting.pk).update(state="uncertain", external_id="", problem=words)
    trace = f"/o/kestrel/postings/{posting.pk}/"
    assert "It is being looked up by its reference" in text_of(alice_client.get(trace))
    with tenant_context(tenant):
        RecordOutcome.objects.filter(record=posting.record_id).update(state="held", reason_code="unconfirmed")
    page = text_of(alice_client.get(trace))
    assert "A person says whether it is there" in page
    assert "being looked up" not in page and "In its words" not in page


def test_stranger_finds_nothing(ids: dict[str, Any], other_tenant: Tenant, charlie_client: Client) -> None:
    paths = ["", "activity/", "days/2026-10-10/", "runs/", f"records/{ids['record']}/", f"postings/{ids['posting']}/"]
    assert {charlie_client.get(f"/o/kestrel/{path}").status_code for path in paths} == {404}
    # the same identities, asked for in Charlie's own business
    for path in (f"records/{ids['record']}/", f"postings/{ids['posting']}/"):
        assert charlie_client.get(f"/o/marlow/{path}").status_code == 404


def test_records_of_the_day_are_paged(flow: Flow, tenant: Tenant, alice_client: Client) -> None:
    with tenant_context(tenant):
        arrive(flow.source, *(read_as(order(100 + number)) for number in range(60)))
        assert Record.objects.filter(data_type="order").count() == 64
    page = text_of(alice_client.get("/o/kestrel/days/2026-10-10/?page=2"))
    assert "51 to 64 of 64" in page and "Not looked at" in page
