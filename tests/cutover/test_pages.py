"""The staircase's pages: who sees what, what they say, and what their buttons do."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from marketplace.core.clock import now
from marketplace.core.models import WorkItem
from marketplace.core.progress import tell_progress
from marketplace.cutover.models import Pair, SandboxCase, StageMove
from marketplace.cutover.pairing import pair_flow
from marketplace.mapping.models import Flow, Stage
from marketplace.posting.models import Posting, RecordOutcome
from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.models import Membership, Tenant, User
from tests.cutover.world import entry, invoice, make_flow, shadow

PAGES = ("", "sandbox/", "pilot/", "parallel/", "parallel/pairs.csv")
FORMS = ("move/pilot/", "go-live/", "choices/")
POSTS = ("sandbox/run/", "parallel/compare/", "parallel/resolve/", "pause/", "resume/", "targets/")


@pytest.fixture
def flow(tenant: Tenant, alice: User) -> Flow:
    """Three sales: one agrees, one differs by 9.00, one was never entered."""
    with tenant_context(tenant):
        flow = make_flow(alice)
        for number, theirs in (("1001", "120.00"), ("1002", "129.00"), ("1003", "")):
            shadow(flow, invoice(number, reference=f"#{number}", number=number))
            if theirs:
                entry(flow, invoice(f"x{number}", theirs, reference=f"#{number}"))
        pair_flow(flow=flow)
    return flow


def url(flow: Flow, path: str = "") -> str:
    return f"/o/kestrel/flows/{flow.pk}/{path}"


def text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def stand(tenant: Tenant, flow: Flow, stage: str) -> None:
    with tenant_context(tenant):
        Flow.objects.filter(pk=flow.pk).update(stage=stage)


@pytest.mark.parametrize("path", [*PAGES, *FORMS])
def test_stranger_gets_404(flow: Flow, charlie_client: Client, path: str) -> None:
    assert charlie_client.get(url(flow, path)).status_code == 404


@pytest.mark.parametrize("path", [*POSTS, *FORMS])
def test_stranger_can_do_nothing(flow: Flow, charlie_client: Client, path: str) -> None:
    assert charlie_client.post(url(flow, path)).status_code == 404


@pytest.mark.parametrize("path", PAGES)
def test_viewer_sees_pages_without_buttons(flow: Flow, bob: User, bob_client: Client, path: str) -> None:
    Membership.objects.filter(user=bob).update(role=Role.VIEWER)
    page = text(bob_client, url(flow, path))
    assert f'method="post" action="/o/kestrel/flows/{flow.pk}' not in page


@pytest.mark.parametrize("path", [*POSTS, *FORMS])
def test_viewer_may_not_act(flow: Flow, bob: User, bob_client: Client, path: str) -> None:
    Membership.objects.filter(user=bob).update(role=Role.VIEWER)
    response = bob_client.post(url(flow, path), {"pair": "1"})
    assert response.status_code == 403
    assert "Alice" in response.content.decode()


@pytest.mark.parametrize("path", ["go-live/", "targets/"])
def test_bookkeeper_may_neither_approve_nor_agree_on_targets(flow: Flow, bob_client: Client, path: str) -> None:
    assert bob_client.post(url(flow, path)).status_code == 403


def test_flow_of_another_business_is_404(flow: Flow, other_tenant: Tenant, charlie_client: Client) -> None:
    assert charlie_client.get(f"/o/marlow/flows/{flow.pk}/").status_code == 404


def test_flow_page_says_where_it_stands_and_what_is_missing(flow: Flow, alice_client: Client) -> None:
    page = text(alice_client, url(flow))
    assert "You are here" in page
    assert "No critical difference is open" in page
    assert "Now: 2 open." in page
    assert f"/flows/{flow.pk}/parallel/" in page
    assert "Look at the approval" not in page


@pytest.mark.parametrize("stage", list(Stage))
def test_every_step_has_its_page(tenant: Tenant, flow: Flow, alice_client: Client, stage: str) -> None:
    stand(tenant, flow, stage)
    for path in PAGES:
        text(alice_client, url(flow, path))


@pytest.mark.parametrize(
    ("sales", "path"), [(1, "parallel/"), (3, "parallel/"), (1, ""), (3, ""), (1, "pilot/"), (3, "pilot/")]
)
def test_queries_do_not_grow_with_rows(
    tenant: Tenant,
    alice: User,
    client_of: Callable[[User], Client],
    sales: int,
    path: str,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with tenant_context(tenant):
        flow = make_flow(alice)
        for place in range(sales):
            shadow(flow, invoice(str(place), reference=f"#100{place}"))
            entry(flow, invoice(f"x{place}", "129.00", reference=f"#100{place}"))
            StageMove.objects.create(
                flow=flow, from_stage="pilot", to_stage="parallel", moved_by=alice, at=flow.created_at
            )
        pair_flow(flow=flow)
        if path == "pilot/":
            RecordOutcome.objects.update(stage=Stage.PILOT)
    client = client_of(alice)
    client.get(url(flow, path))
    expected = {"parallel/": 22, "": 16, "pilot/": 16}[path]
    with django_assert_num_queries(expected):
        client.get(url(flow, path))


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", {"#1001", "#1002", "#1003"}),
        ("verdict=amount", {"#1002"}),
        ("decision=open", {"#1002", "#1003"}),
        ("decision=accepted", set()),
        ("q=1003", {"#1003"}),
        ("data_type=invoice&since=2026-10-11", set()),
        ("until=2026-10-10&verdict=match", {"#1001"}),
        ("until=nonsense", {"#1001", "#1002", "#1003"}),
    ],
)
def test_filters_of_the_comparison(flow: Flow, alice_client: Client, query: str, shown: set[str]) -> None:
    page = text(alice_client, f"{url(flow, 'parallel/')}?{query}")
    assert {name for name in ("#1001", "#1002", "#1003") if f"Invoice {name}" in page} == shown


def test_what_is_to_decide_comes_first_unless_asked(flow: Flow, alice_client: Client) -> None:
    page = text(alice_client, url(flow, "parallel/"))
    assert page.index("Invoice #1003") < page.index("Invoice #1002") < page.index("Invoice #1001")
    page = text(alice_client, url(flow, "parallel/?decision=open&sort=money"))
    assert page.index("Invoice #1002") < page.index("Invoice #1003")


def test_comparison_tells_dates_that_differ_as_people_write_them(
    tenant: Tenant, flow: Flow, alice_client: Client
) -> None:
    with tenant_context(tenant):
        shadow(flow, invoice("1004", reference="#1004", number="1004"))
        entry(flow, invoice("x1004", reference="#1004", date=dt.date(2026, 11, 2), party="Ada Hart"))
        pair_flow(flow=flow)
    page = text(alice_client, url(flow, "parallel/?verdict=timing"))
    assert "Date: 10 Oct 2026 here, 2 Nov 2026 in Xero<br>Customer: Online shop customers here, Ada Hart" in page


def test_comparison_names_what_staff_forgot(flow: Flow, alice_client: Client) -> None:
    page = text(alice_client, url(flow, "parallel/"))
    assert "1 invoice of GBP 120.00" in page
    assert "33.3%" in page


def test_csv_holds_the_filtered_list(flow: Flow, alice_client: Client) -> None:
    response = alice_client.get(url(flow, "parallel/pairs.csv?verdict=amount"))
    rows = list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))
    assert [(row["Verdict"], row["Our amount"], row["Their amount"], row["At stake"]) for row in rows] == [
        ("Different amount", "120.00", "129.00", "9.00")
    ]


def test_pair_page_marks_what_differs(tenant: Tenant, flow: Flow, alice_client: Client) -> None:
    with tenant_context(tenant):
        pair = Pair.objects.get(verdict="amount")
    page = text(alice_client, url(flow, f"parallel/{pair.pk}/"))
    assert "<mark>GBP 129.00</mark>" in page
    assert "<mark>10 Oct 2026</mark>" not in page


def test_one_is_decided_with_a_reason(tenant: Tenant, flow: Flow, bob: User, bob_client: Client) -> None:
    with tenant_context(tenant):
        pair = Pair.objects.get(verdict="amount")
    answer = {"pair": pair.pk, "resolution": "ours_right", "reason": "Typing error"}
    response = bob_client.post(url(flow, "parallel/resolve/?decision=open"), answer)
    assert response["Location"] == url(flow, "parallel/?decision=open")
    with tenant_context(tenant):
        pair.refresh_from_db()
        assert (pair.resolution, pair.resolution_reason, pair.resolved_by) == ("ours_right", "Typing error", bob)
        assert Pair.objects.filter(resolution="open").count() == 2


def test_all_that_the_filter_shows_are_decided_at_once(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    answer = {"all": "1", "resolution": "accepted", "reason": "Agreed"}
    bob_client.post(url(flow, "parallel/resolve/?verdict=missing_in_theirs"), answer)
    with tenant_context(tenant):
        assert set(Pair.objects.values_list("verdict", "resolution")) == {
            ("match", "open"),
            ("amount", "open"),
            ("missing_in_theirs", "accepted"),
        }


def test_decision_without_a_reason_is_refused_and_kept(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    response = bob_client.post(url(flow, "parallel/resolve/"), {"pair": "1", "resolution": "accepted"})
    page = response.content.decode()
    assert "Nothing was decided yet" in page
    assert re.search(r'value="accepted"[^>]* checked', page)
    with tenant_context(tenant):
        assert not Pair.objects.exclude(resolution="open").exists()


def test_comparing_again_asks_for_the_ledger_and_the_comparison(flow: Flow, bob_client: Client) -> None:
    bob_client.post(url(flow, "parallel/compare/"))
    assert set(WorkItem.objects.values_list("kind", flat=True)) == {"sync", "pair"}
    assert 'hx-trigger="every 3s"' in text(bob_client, url(flow, "parallel/"))


def test_comparison_in_the_making_shows_how_much_is_compared(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    bob_client.post(url(flow, "parallel/compare/"))
    WorkItem.objects.filter(kind="pair").update(lease_until=now())
    told: list[tuple[int, int]] = []
    with tenant_context(tenant):
        pair_flow(flow=flow, tell=lambda *share: told.append(share))
    assert told == [(0, 3), (1, 3), (3, 3)]
    tell_progress(tenant_id=tenant.pk, kind="pair", key=str(flow.pk), done=1, total=3)
    assert 'value="1" max="3"' in text(bob_client, url(flow, "parallel/"))


def test_comparison_that_failed_says_so_in_words(flow: Flow, bob_client: Client) -> None:
    bob_client.post(url(flow, "parallel/compare/"))
    WorkItem.objects.filter(kind="pair").update(problem="KeyError('reference_key')")
    page = text(bob_client, url(flow, "parallel/"))
    assert "Something went wrong on our side" in page
    assert "KeyError" not in page


def test_running_the_cases_shows_progress_that_renews_itself(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    stand(tenant, flow, Stage.SANDBOX)
    assert 'http-equiv="refresh"' not in text(bob_client, url(flow, "sandbox/"))
    bob_client.post(url(flow, "sandbox/run/"))
    assert WorkItem.objects.get(kind="rehearse").key == str(flow.pk)
    page = text(bob_client, url(flow, "sandbox/"))
    assert 'http-equiv="refresh"' in page
    assert "Run the cases" not in page


def test_sandbox_tells_expected_and_found_in_words(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    with tenant_context(tenant):
        assert flow.mapping is not None
        SandboxCase.objects.create(
            flow=flow,
            mapping=flow.mapping,
            name="plain",
            has_passed=False,
            expected={"documents": 1, "currency": "GBP", "total": "48.00", "tax": "8.00", "paid": "48.00"},
            found={"not posted because": "unmapped"},
            run_at=flow.created_at,
        )
    page = text(bob_client, url(flow, "sandbox/"))
    assert "1 document of GBP 48.00 including GBP 8.00 tax, GBP 48.00 paid." in page
    assert "Not posted: it uses something the mapping does not know." in page


def test_stepping_to_parallel_asks_for_the_period(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    with tenant_context(tenant):
        Flow.objects.update(stage=Stage.PILOT, targets={"pilot_count": 1})
        Posting.objects.update(state=Posting.State.POSTED)
        RecordOutcome.objects.update(stage=Stage.PILOT, state=RecordOutcome.State.POSTED)
    address = url(flow, "move/parallel/")
    wrong = bob_client.post(address, {"first": "2026-10-31", "last": "2026-10-01"})
    assert "The last day is before the first." in wrong.content.decode()
    response = bob_client.post(address, {"first": "2026-10-01", "last": "2026-10-31", "note": "October"})
    assert response["Location"] == url(flow, "parallel/")
    with tenant_context(tenant):
        flow.refresh_from_db()
        assert (flow.stage, flow.parallel_from, flow.parallel_until) == (
            Stage.PARALLEL,
            dt.date(2026, 10, 1),
            dt.date(2026, 10, 31),
        )


def test_step_with_conditions_missing_shows_them_instead_of_a_button(
    tenant: Tenant, flow: Flow, bob_client: Client
) -> None:
    stand(tenant, flow, Stage.SANDBOX)
    page = text(bob_client, url(flow, "move/pilot/"))
    assert "Every edge case passes with this mapping" in page
    assert "<button" not in page.split('<main id="content"')[1]
    bob_client.post(url(flow, "move/pilot/"), {"note": ""})
    with tenant_context(tenant):
        flow.refresh_from_db()
        assert flow.stage == Stage.SANDBOX


def test_step_back_says_what_happens_and_what_stays(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    page = text(bob_client, url(flow, "move/pilot/"))
    assert "The comparison and its decisions are cleared" in page
    assert "3 entries that are worked out and not in Xero yet are withdrawn." in page
    assert bob_client.post(url(flow, "move/pilot/"), {"note": ""})["Location"] == url(flow, "pilot/")
    with tenant_context(tenant):
        assert not Pair.objects.exists()


def test_approval_needs_the_tick_and_shows_what_it_did(tenant: Tenant, flow: Flow, alice_client: Client) -> None:
    with tenant_context(tenant):
        Pair.objects.exclude(verdict="match").update(resolution=Pair.Resolution.OURS_RIGHT)
    page = text(alice_client, url(flow, "go-live/"))
    assert "2 invoices of GBP 240.00, entered by your staff" in page
    assert "1 invoice of GBP 120.00 your staff never entered" in page
    alice_client.post(url(flow, "go-live/"), {"note": "Yes"})
    with tenant_context(tenant):
        flow.refresh_from_db()
        assert flow.stage == Stage.PARALLEL
    response = alice_client.post(url(flow, "go-live/"), {"has_seen": "on", "note": "Yes"}, follow=True)
    shown = response.content.decode()
    assert "is live, approved by Alice" in shown
    assert "Offered as catch-up" in shown
    with tenant_context(tenant):
        assert StageMove.objects.get().approved_by is not None


def test_targets_are_agreed_in_percent_and_kept_as_shares(tenant: Tenant, flow: Flow, alice_client: Client) -> None:
    answer = {"pilot_count": "7", "parallel_days": "21", "count_rate": "99.5", "money_rate": "100"}
    alice_client.post(url(flow, "targets/"), answer)
    with tenant_context(tenant):
        flow.refresh_from_db()
    assert flow.targets == {"pilot_count": 7, "parallel_days": 21, "count_rate": "0.995", "money_rate": "1"}


def test_wrong_target_is_refused_beside_its_field(flow: Flow, alice_client: Client) -> None:
    answer = {"pilot_count": "0", "parallel_days": "21", "count_rate": "101", "money_rate": "100"}
    page = alice_client.post(url(flow, "targets/"), answer).content.decode()
    assert "greater than or equal to 1" in page
    assert 'value="101"' in page


def test_pause_and_resume(tenant: Tenant, flow: Flow, bob_client: Client) -> None:
    bob_client.post(url(flow, "pause/"))
    assert "Paused" in text(bob_client, url(flow))
    bob_client.post(url(flow, "resume/"))
    with tenant_context(tenant):
        flow.refresh_from_db()
        assert not flow.is_paused
