"""Taking back in the browser: ask, read the plan, confirm, watch; who may do which."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from connectors.sdk.records import Expense, Party
from connectors.testing.faults import Fault
from marketplace.core.models import WorkItem
from marketplace.installations.models import Connection
from marketplace.posting import reversing
from marketplace.posting.batches import UnableToPost
from marketplace.posting.models import Posting, PostingBatch, Reversal
from marketplace.posting.reversal_planning import make_plan
from tenants.choices import Role
from tenants.context import tenant
from tenants.models import Membership, Tenant, User
from tests.conftest import make_user
from tests.posting.reversing import again, held, planned, staff_enter, taken_back, trial_balance, work
from tests.posting.world import PLACED, Books, order

LIST = "/o/kestrel/reversals/"
TAGS = re.compile(r"<[^>]+>")


def text_of(response: Any) -> str:
    return " ".join(TAGS.sub(" ", response.content.decode()).split())


@pytest.fixture
def posted(books: Books) -> Books:
    books.take(order(1001), order(1002, "60.00"))
    books.write()
    return books


@pytest.fixture
def viewer_client(owner: Tenant, client_of: Callable[[User], Client]) -> Client:
    vera = make_user("Vera")
    Membership.objects.create(user=vera, tenant=owner, role=Role.VIEWER)
    return client_of(vera)


def new(books: Books, query: str = "") -> str:
    return f"{LIST}new/?{query or f'flow={books.flow.pk}'}"


def period(**kwargs: str) -> dict[str, str]:
    return {"by": "dated", "first": "2026-10-01", "last": "2026-10-31", "reason": "Wrong account", **kwargs}


def test_from_the_question_to_the_proof(posted: Books, alice_client: Client) -> None:
    answer = alice_client.post(new(posted), period())
    with tenant(posted.owner):
        reversal = Reversal.objects.get()
    page = f"{LIST}{reversal.pk}/"
    assert (answer.status_code, answer["Location"]) == (302, page)
    assert "entries being read" in text_of(alice_client.get(page))
    assert WorkItem.objects.filter(kind="reverse", key=str(reversal.pk)).exists()
    make_plan(tenant_id=posted.owner.pk, reversal_id=reversal.pk)
    planned_page = text_of(alice_client.get(page))
    assert "2 customer payments of GBP 180.00 are taken back in Xero." in planned_page
    assert "The ledger accounts will stand as if none of it had been posted." in planned_page
    assert alice_client.post(f"{page}confirm/", {"is_read": "on"}).status_code == 302
    assert "0 of 4" in text_of(alice_client.get(page))
    work(posted)
    done = text_of(alice_client.get(page))
    assert "All 4 entries are taken back; each was read again in Xero." in done
    assert trial_balance(posted) == {}


def test_plan_shows_the_accounts_before_and_after_and_each_entry(posted: Books, alice_client: Client) -> None:
    reversal = planned(posted)
    page = alice_client.get(f"{LIST}{reversal.pk}/")
    words = text_of(page)
    assert re.search(r"Sales\S* GBP -150\.00 GBP 150\.00 GBP 0\.00", words.replace("−", "-")), words
    assert "Invoice 1001" in words
    rows = alice_client.get(f"{LIST}{reversal.pk}/lines.csv").content.decode()
    assert len(rows.splitlines()) == 5


def test_confirmation_must_be_ticked(posted: Books, alice_client: Client) -> None:
    reversal = planned(posted)
    answer = alice_client.post(f"{LIST}{reversal.pk}/confirm/", {})
    assert answer.status_code == 422
    assert "This field is required" in text_of(answer)
    assert again(posted, reversal).state == "planned"


def test_bookkeeper_plans_and_an_admin_confirms(posted: Books, bob_client: Client) -> None:
    assert bob_client.post(new(posted), period()).status_code == 302
    with tenant(posted.owner):
        reversal = Reversal.objects.get()
    make_plan(tenant_id=posted.owner.pk, reversal_id=reversal.pk)
    assert "An admin or owner confirms it." in text_of(bob_client.get(f"{LIST}{reversal.pk}/"))
    assert bob_client.post(f"{LIST}{reversal.pk}/confirm/", {"is_read": "on"}).status_code == 403
    assert again(posted, reversal).state == "planned"


def test_large_one_is_confirmed_by_somebody_else_than_who_asked(
    posted: Books,
    owner: Tenant,
    alice_client: Client,
    client_of: Callable[[User], Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reversing, "LARGE", 3)
    ada = make_user("Ada")
    Membership.objects.create(user=ada, tenant=owner, role=Role.ADMIN)
    alice_client.post(new(posted), period())
    with tenant(owner):
        reversal = Reversal.objects.get()
    make_plan(tenant_id=owner.pk, reversal_id=reversal.pk)
    path = f"{LIST}{reversal.pk}/confirm/"
    page = alice_client.get(f"{LIST}{reversal.pk}/").content.decode()
    assert "<strong>Ada</strong> can." in page and "Take it back</button>" not in page
    assert "Take it back</button>" in client_of(ada).get(f"{LIST}{reversal.pk}/").content.decode()
    answer = alice_client.post(path, {"is_read": "on"})
    assert answer.status_code == 422 and "Ada can." in text_of(answer)
    assert again(posted, reversal).state == "planned"
    assert client_of(ada).post(path, {"is_read": "on"}).status_code == 302
    assert again(posted, reversal).state == "running"


def test_large_one_is_confirmed_by_who_asked_where_nobody_else_may(
    posted: Books, alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reversing, "LARGE", 3)
    alice_client.post(new(posted), period())
    with tenant(posted.owner):
        reversal = Reversal.objects.get()
    make_plan(tenant_id=posted.owner.pk, reversal_id=reversal.pk)
    assert alice_client.post(f"{LIST}{reversal.pk}/confirm/", {"is_read": "on"}).status_code == 302
    assert again(posted, reversal).state == "running"


def test_viewer_reads_and_does_nothing(posted: Books, viewer_client: Client) -> None:
    reversal = planned(posted)
    assert viewer_client.get(f"{LIST}{reversal.pk}/").status_code == 200
    assert viewer_client.get(LIST).status_code == 200
    for path in ("plan/", "discard/", "confirm/"):
        assert viewer_client.post(f"{LIST}{reversal.pk}/{path}", {"is_read": "on"}).status_code == 403
    assert viewer_client.post(new(posted), period()).status_code == 403
    assert again(posted, reversal).state == "planned"


def test_stranger_finds_nothing(posted: Books, charlie_client: Client) -> None:
    reversal = planned(posted)
    for path in (LIST, new(posted), f"{LIST}{reversal.pk}/", f"{LIST}{reversal.pk}/lines.csv"):
        assert charlie_client.get(path).status_code == 404
    assert charlie_client.post(f"{LIST}{reversal.pk}/confirm/", {"is_read": "on"}).status_code == 404


def test_period_that_is_proposed_can_be_read_by_a_browser(posted: Books, alice_client: Client) -> None:
    page = alice_client.get(new(posted, f"flow={posted.flow.pk}&since=2026-10-05")).content.decode()
    assert 'value="2026-10-05"' in page


def test_what_is_asked_wrongly_is_said(posted: Books, alice_client: Client) -> None:
    empty = alice_client.post(new(posted), period(first="2025-01-01", last="2025-01-31"))
    assert empty.status_code == 422
    assert "nothing to take back" in text_of(empty)
    backwards = alice_client.post(new(posted), period(first="2026-10-31", last="2026-10-01"))
    assert "ends before it begins" in text_of(backwards)
    assert "required" in text_of(alice_client.post(new(posted), period(reason="")))
    for query in ("flow=nonsense", "batch=12", "posting=999999", "posting=x-y"):
        assert alice_client.get(new(posted, query)).status_code == 404
    assert "Choose a flow" in text_of(alice_client.get(f"{LIST}new/", follow=True))


def test_one_entry_or_one_request_leads_to_its_plan(posted: Books, alice_client: Client) -> None:
    with tenant(posted.owner):
        posting = Posting.objects.order_by("id").first()
        batch = PostingBatch.objects.get(data_type="invoice")
    assert posting is not None
    trace = alice_client.get(f"/o/kestrel/postings/{posting.pk}/").content.decode()
    assert f"reversals/new/?posting={posting.pk}" in trace
    assert f"reversals/new/?batch={batch.pk}" in alice_client.get("/o/kestrel/runs/?show=writes").content.decode()
    assert "The 2 invoices sent on" in text_of(alice_client.get(new(posted, f"batch={batch.pk}")))
    answer = alice_client.post(new(posted, f"posting={posting.pk}"), {"reason": "Twice"})
    assert answer.status_code == 302


def test_page_says_what_keeps_it_from_going_on(posted: Books, alice_client: Client) -> None:
    reversal = planned(posted)
    page = f"{LIST}{reversal.pk}/"
    alice_client.post(f"{page}confirm/", {"is_read": "on"})
    WorkItem.objects.filter(kind="post").update(problem="UnableToPost('Xero asked us to slow down.')")
    assert "tried again Xero asked us to slow down." in text_of(alice_client.get(page))
    with tenant(posted.owner):
        Connection.objects.update(state="needs_reconnect")
    assert "needs reconnecting" in text_of(alice_client.get(page))


def test_plan_in_the_making_shows_how_much_of_the_ledger_is_read(posted: Books, alice_client: Client) -> None:
    posted.simulator.faults.add(Fault(match="GET /api.xro/2.0/Payments", kind="status", status=503, times=9))
    with pytest.raises(UnableToPost):
        planned(posted)
    with tenant(posted.owner):
        page = f"{LIST}{Reversal.objects.get().pk}/"
    shown = alice_client.get(page)
    assert "2 of 4 entries read in the ledger (50%)" in text_of(shown)
    assert '<progress aria-label="entries read in the ledger" value="2" max="4">' in shown.content.decode()


def test_flow_and_the_step_back_offer_it(posted: Books, alice_client: Client) -> None:
    for path in (f"/o/kestrel/flows/{posted.flow.pk}/", f"/o/kestrel/flows/{posted.flow.pk}/move/parallel/"):
        assert f"reversals/new/?flow={posted.flow.pk}" in alice_client.get(path).content.decode()


def test_trace_of_what_was_taken_back_leads_to_the_reversal(posted: Books, alice_client: Client) -> None:
    reversal = taken_back(posted)
    page = alice_client.get(f"/o/kestrel/postings/{posted.postings()[0].pk}/")
    assert f"{LIST}{reversal.pk}/" in page.content.decode()
    assert "Taken back by Alice on" in text_of(page)
    assert "taken back" in text_of(alice_client.get("/o/kestrel/runs/?show=writes"))


def test_list_shows_them_all_in_as_many_statements(
    posted: Books, alice_client: Client, django_assert_max_num_queries: Any
) -> None:
    planned(posted)
    with django_assert_max_num_queries(22):
        one = text_of(alice_client.get(LIST))
    planned(posted)
    planned(posted)
    with django_assert_max_num_queries(22):
        three = text_of(alice_client.get(LIST))
    assert (one.count("Wrong account"), three.count("Wrong account")) == (1, 3)


def test_discarded_plan_says_so(posted: Books, alice_client: Client) -> None:
    reversal = planned(posted)
    page = alice_client.post(f"{LIST}{reversal.pk}/discard/", follow=True)
    assert "Nothing was taken back." in text_of(page)
    page = alice_client.post(f"{LIST}{reversal.pk}/confirm/", {"is_read": "on"})
    assert page.status_code == 422
    assert "This plan cannot be confirmed: discarded." in text_of(page)


def test_refused_half_way_the_page_says_what_went_and_what_stays_and_goes_on(
    posted: Books, alice_client: Client, bob_client: Client, viewer_client: Client
) -> None:
    reversal = planned(posted)
    page = f"{LIST}{reversal.pk}/"
    alice_client.post(f"{page}confirm/", {"is_read": "on"})
    refused = held(posted, "invoice", "#1002").id
    posted.simulator.faults.add(
        Fault(match="POST /api.xro/2.0/Invoices", kind="status", status=400, contains=refused, times=2)
    )
    work(posted)
    words = text_of(alice_client.get(page))
    assert "Done, not all of it 3 entries are taken back, each read again in Xero. 1 stays" in words
    assert "Taken back 2 customer payments of GBP 180.00 1 invoice of GBP 120.00" in words
    assert "Still in Xero 1 invoice of GBP 60.00" in words
    assert "go on with the 1 entry that is left" in words
    assert "Plan the rest" not in text_of(viewer_client.get(page))
    assert viewer_client.post(f"{page}rest/").status_code == 403
    answer = bob_client.post(f"{page}rest/")
    with tenant(posted.owner):
        rest = Reversal.objects.exclude(pk=reversal.pk).get()
    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}{rest.pk}/")
    assert rest.covers == "What was left of: everything"
    make_plan(tenant_id=posted.owner.pk, reversal_id=rest.pk)
    assert "1 invoice of GBP 60.00 is taken back in Xero." in text_of(alice_client.get(f"{LIST}{rest.pk}/"))
    alice_client.post(f"{LIST}{rest.pk}/confirm/", {"is_read": "on"})
    work(posted)
    assert trial_balance(posted) == {}
    assert "go on with" not in text_of(alice_client.get(page))


def test_rest_of_what_has_not_ended_is_not_planned(posted: Books, alice_client: Client) -> None:
    reversal = planned(posted)
    answer = alice_client.post(f"{LIST}{reversal.pk}/rest/", follow=True)
    assert "It has not ended yet." in text_of(answer)


def test_page_shows_the_ledgers_own_trial_balance_and_folds_what_is_equal(posted: Books, alice_client: Client) -> None:
    staff_enter(posted, Expense(
        id="", date=PLACED.date(), currency="GBP", amount=Decimal(7), paid_from_ledger_account="090",
        ledger_account="404", supplier=Party(name="Bank"), reference="By hand",
    ))  # fmt: skip
    reversal = taken_back(posted)
    answer = alice_client.get(f"{LIST}{reversal.pk}/")
    words = text_of(answer).replace("−", "-")
    assert "Xero’s own report moved by exactly what was taken back." in words
    assert "Sales (200) GBP -150.00 GBP 0.00 GBP 150.00" in words
    assert "2 accounts stand as before" in words
    assert "Bank Fees (404) GBP 7.00" in words
    assert re.search(r"<details[^>]*>\s*<summary>2 accounts stand as before</summary>", answer.content.decode())


def test_page_says_which_consent_is_missing_for_the_trial_balance(posted: Books, alice_client: Client) -> None:
    posted.simulator.faults.add(Fault(match="GET /api.xro/2.0/Reports", kind="status", status=403, times=9))
    reversal = planned(posted)
    missing = "The consent “See the trial balance report” (accounting.reports.trialbalance.read) is missing."
    assert f"{missing} Reconnect Xero and allow it. Without it the proof rests" in text_of(
        alice_client.get(f"{LIST}{reversal.pk}/")
    )
    page = alice_client.get(f"{LIST}{reversal.pk}/").content.decode()
    assert f'<a href="/o/kestrel/connections/{reversal.connection_id}/reconnect/">Renew the consent</a>' in page
    alice_client.post(f"{LIST}{reversal.pk}/confirm/", {"is_read": "on"})
    work(posted)
    words = text_of(alice_client.get(f"{LIST}{reversal.pk}/"))
    assert "Done and proved" in words
    assert f"{missing} Reconnect Xero and allow it. The proof rests on the entries that were read back." in words
