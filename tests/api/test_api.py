"""The read API: the same figures as the pages, for members only."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from marketplace.mapping.models import Flow
from tenants.models import Tenant

ROOT = "/api/o/kestrel/"
LISTS = ("flows", "postings", "outcomes", "proof")


def get(client: Client, path: str) -> Any:
    response = client.get(f"{ROOT}{path}")
    assert response.status_code == 200, response.content
    return response.json()


def test_flows_say_where_they_stand(flow: Flow, bob_client: Client) -> None:
    answer = get(bob_client, "flows")
    assert answer["count"] == 1
    found = answer["results"][0]
    assert (found["id"], found["stage"], found["mapping_version"]) == (str(flow.pk), "live", 1)
    assert (found["source"], found["target_connector"]) == ("Kestrel shop", "xero")


def test_outcomes_carry_their_reasons_and_money_as_text(flow: Flow, bob_client: Client) -> None:
    held = get(bob_client, "outcomes?state=held")["results"]
    assert [(row["number"], row["amount"], row["currency"]) for row in held] == [("#3", "412.0000", "GBP")]
    assert (held[0]["reason_code"], held[0]["owner"]) == ("unmapped", "bookkeeper")


def test_postings_carry_their_permanent_keys(flow: Flow, bob_client: Client) -> None:
    rows = get(bob_client, f"postings?flow={flow.pk}&state=posted&from=2026-10-01&to=2026-10-31")["results"]
    assert len(rows) == len({row["key"] for row in rows}) == 4
    assert {row["data_type"] for row in rows} == {"invoice", "customer_payment"}
    assert "document" not in rows[0]


def test_proof_adds_up(flow: Flow, bob_client: Client) -> None:
    answer = get(bob_client, "proof?from=2026-10-01&to=2026-10-31")
    (day,) = answer["days"]
    parts = [day[state] for state in ("posted", "shadow", "pending", "held", "failed", "excluded")]
    assert sum(part["count"] for part in parts) == day["source"]["count"] == 4
    assert sum(Decimal(part["amount"]) for part in parts) == Decimal(day["source"]["amount"]) == Decimal("712")
    assert (day["is_proved"], day["state"], answer["is_proved"]) == (True, "warn", True)


def test_lists_are_paged(flow: Flow, bob_client: Client) -> None:
    answer = get(bob_client, "outcomes?page_size=3")
    assert (answer["count"], len(answer["results"]), answer["previous"]) == (4, 3, None)
    assert len(bob_client.get(answer["next"]).json()["results"]) == 1
    assert len(get(bob_client, "outcomes?page_size=100000")["results"]) == 4


@pytest.mark.parametrize(
    "path",
    [
        "outcomes?state=nonsense",
        "outcomes?flow=nonsense",
        "postings?from=yesterday",
        "proof?from=2026-13-01",
        "proof?from=2026-10-31&to=2026-10-01",
        "proof?from=2020-01-01&to=2026-01-01",
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(flow: Flow, bob_client: Client, path: str) -> None:
    response = bob_client.get(f"{ROOT}{path}")
    assert response.status_code == 400
    assert set(response.json()) <= {"state", "flow", "from", "to"}


@pytest.mark.parametrize("name", LISTS)
def test_stranger_gets_the_404_of_a_business_that_does_not_exist(
    flow: Flow, other_tenant: Tenant, charlie_client: Client, name: str
) -> None:
    strange = charlie_client.get(f"{ROOT}{name}")
    missing = charlie_client.get(f"/api/o/no-such-business/{name}")
    assert strange.status_code == missing.status_code == 404
    assert strange.content == missing.content
    assert charlie_client.get(f"/api/o/marlow/{name}").status_code == 200


@pytest.mark.parametrize("name", LISTS)
def test_who_is_not_signed_in_gets_401(flow: Flow, client: Client, name: str) -> None:
    response = client.get(f"{ROOT}{name}")
    assert response.status_code == 401
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize("name", LISTS)
def test_nothing_can_be_written(flow: Flow, bob_client: Client, name: str) -> None:
    for method in (bob_client.post, bob_client.put, bob_client.patch, bob_client.delete):
        assert method(f"{ROOT}{name}").status_code == 405


def test_another_business_is_not_found_by_the_identity_of_a_flow(
    flow: Flow, other_tenant: Tenant, charlie_client: Client
) -> None:
    assert charlie_client.get(f"/api/o/marlow/postings?flow={flow.pk}").json()["count"] == 0


def test_lists_cost_the_same_however_long(
    flow: Flow, bob_client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    get(bob_client, "outcomes")
    for size in (1, 4):
        with django_assert_num_queries(9):
            get(bob_client, f"outcomes?page_size={size}")
