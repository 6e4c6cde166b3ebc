"""Browsing the catalogue and reading a listing."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.test import Client

from connectors.registry import connector, connectors
from marketplace.catalogue.queries import in_words, limit_in_words, matching, rule_results, tier_of
from marketplace.catalogue.readme import render
from tenants.choices import Role
from tenants.models import Membership, Tenant, User

SLUGS = sorted(connectors())
NAMES = {slug: found.manifest.name for slug, found in connectors().items()}


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def tiles(body: str) -> set[str]:
    return set(re.findall(r'class="tile" href="/o/kestrel/catalogue/([a-z]+)/"', body))


def test_catalogue_shows_every_connector(tenant: Tenant, alice_client: Client) -> None:
    assert tiles(page(alice_client, "/o/kestrel/catalogue/")) == set(SLUGS)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("text=SHOPIFY", {"shopify"}),
        ("text=invoices+xero", {"xero"}),
        ("category=ledger", {"xero", "quickbooks"}),
        ("data_type=payout", {"shopify", "stripe"}),
        ("category=ledger&data_type=payout", set()),
        ("text=", set(SLUGS)),
    ],
)
def test_catalogue_is_searched_and_filtered_by_address(
    query: str, expected: set[str], tenant: Tenant, alice_client: Client
) -> None:
    body = page(alice_client, f"/o/kestrel/catalogue/?{query}")
    assert tiles(body) == expected
    assert ("No connector fits" in body) == (not expected)


def test_unknown_filter_says_so_and_hides_nothing(tenant: Tenant, alice_client: Client) -> None:
    body = page(alice_client, "/o/kestrel/catalogue/?category=<b>")
    assert tiles(body) == set(SLUGS)
    assert "Select a valid choice" in body


@pytest.mark.parametrize("slug", SLUGS)
def test_listing_says_everything_the_manifest_declares(slug: str, tenant: Tenant, alice_client: Client) -> None:
    manifest = connector(slug).manifest
    body = page(alice_client, f"/o/kestrel/catalogue/{slug}/")
    assert body.count("<h1") == 1
    for scope in manifest.auth.scopes:
        assert scope.words in body
        assert scope.why in body
        assert scope.name in body
    for line in (*manifest.limitations, *manifest.removal):
        assert line in body
    for limit in manifest.limits:
        assert limit_in_words(limit) in body
    assert f'src="/connectors/{slug}/logo.svg"' in body


@pytest.mark.parametrize("slug", SLUGS)
def test_diagram_names_the_direction_of_every_data_type(slug: str, tenant: Tenant, alice_client: Client) -> None:
    manifest = connector(slug).manifest
    body = page(alice_client, f"/o/kestrel/catalogue/{slug}/")
    words = re.search(r"<desc[^>]*>(.*?)</desc>", body, re.DOTALL)
    assert words is not None
    assert words[1].count("both ways") == len(set(manifest.reads) & set(manifest.writes))
    assert words[1].count(": ") == len(set(manifest.reads) | set(manifest.writes))


def test_owner_of_a_registered_connector_is_offered_to_connect(
    tenant: Tenant, alice_client: Client, bob_client: Client, settings: Any
) -> None:
    settings.SIMULATORS = {"xero": "http://127.0.0.1:1"}
    assert "/o/kestrel/catalogue/xero/install/" in page(alice_client, "/o/kestrel/catalogue/xero/")
    body = page(bob_client, "/o/kestrel/catalogue/xero/")
    assert "/o/kestrel/catalogue/xero/install/" not in body
    assert "These people can: Alice." in body


def test_connector_nobody_registered_says_so(tenant: Tenant, alice_client: Client) -> None:
    assert "Not offered here yet" in page(alice_client, "/o/kestrel/catalogue/xero/")


@pytest.mark.parametrize("path", ["catalogue/", "catalogue/xero/", "catalogue/nothing/"])
def test_stranger_finds_nothing(path: str, tenant: Tenant, charlie_client: Client) -> None:
    assert charlie_client.get(f"/o/kestrel/{path}").status_code == 404


def test_unknown_connector_is_not_found(tenant: Tenant, alice_client: Client) -> None:
    assert alice_client.get("/o/kestrel/catalogue/nothing/").status_code == 404
    assert alice_client.get("/connectors/nothing/logo.svg").status_code == 404


def test_viewer_may_browse(tenant: Tenant, bob: User, bob_client: Client) -> None:
    Membership.objects.filter(user=bob).update(role=Role.VIEWER)
    assert bob_client.get("/o/kestrel/catalogue/").status_code == 200


@pytest.mark.parametrize("slug", SLUGS)
def test_logo_is_an_image_anybody_may_keep(slug: str, db: None) -> None:
    response = Client().get(f"/connectors/{slug}/logo.svg")
    assert response["Content-Type"] == "image/svg+xml"
    assert "max-age=86400" in response["Cache-Control"]
    assert response.content.startswith(b"<svg")


def test_readme_cannot_bring_html_scripts_or_a_second_title() -> None:
    body = render(
        "# Title\n\n## Part\n\n<script>x</script> [a](javascript:x) ![i](https://x.example/i.png)\n\n|a|\n|-|\n|b|"
    )
    assert "<script" not in body
    assert "<img" not in body
    assert 'href="javascript' not in body
    assert "<h1" not in body
    assert "<h3>Part</h3>" in body
    assert "<td>b</td>" in body


@pytest.mark.parametrize("slug", SLUGS)
def test_native_connectors_reach_gold(slug: str) -> None:
    unmet = [r.rule.name for r in rule_results(connector(slug)) if not r.is_met and not r.exemption]
    assert unmet == []
    assert tier_of(connector(slug)) == "Gold"


def test_search_needs_every_word() -> None:
    found = list(connectors().values())
    assert [one.slug for one in matching(found, text="credit notes xero")] == ["xero"]
    assert matching(found, text="xero payout nonsense") == []


@pytest.mark.parametrize(
    ("names", "words"), [([], "nothing"), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_lists_read_as_sentences(names: list[str], words: str) -> None:
    assert in_words(names) == words
