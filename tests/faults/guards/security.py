"""What keeps tokens, tenants, addresses, expressions and the trail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
from django.db import models

from connectors.sdk import egress, oauth
from connectors.sdk.errors import ReconnectRequired
from marketplace.audit import operations as audit
from marketplace.audit.models import AuditEntry
from marketplace.installations import vault
from marketplace.installations.models import Connection
from marketplace.mapping import expressions, steps
from tenants.context import tenant
from tests.faults.removal import drop, guard, replace

TOKENS = "tests/faults/test_tokens.py::test_"
TRAIL = "tests/faults/test_audit_tampering.py::test_"
EXPRESSIONS = "tests/faults/test_expressions.py::test_"
EGRESS = "tests/faults/test_egress.py::test_"


@guard(
    "only declared origins are called",
    noticed_by=f"{EGRESS}urls_beside_the_declared_hosts_reach_nobody",
)
def _() -> None:
    replace(egress.Egress, "check", lambda self, url: None)


@guard(
    "an address is looked at before it is connected to",
    noticed_by=f"{EGRESS}forbidden_addresses_are_not_reached_even_when_an_author_declares_them",
    in_ci=True,
)
def _() -> None:
    replace(egress.Egress, "refuse_private", lambda self, host, addresses: None)


@guard(
    "the address that was looked at is the one connected to",
    noticed_by=f"{EGRESS}name_that_changes_its_address_is_connected_to_as_it_was_seen",
)
def _() -> None:
    class Anew(Sequence[str]):
        """Resolved again whenever somebody looks."""

        def __init__(self, resolve: Any) -> None:
            self.resolve = resolve

        def __len__(self) -> int:
            return len(self.resolve())

        def __getitem__(self, position: Any) -> Any:
            return self.resolve()[position]

    def addresses(self: Any, host: str, port: int) -> Sequence[str]:
        return Anew(lambda: self._resolve(host, port))

    replace(egress._PublicNetwork, "_addresses", addresses)


@guard("a connector's calls follow no redirect", noticed_by=f"{EGRESS}redirects_are_answers_that_nobody_follows")
def _() -> None:
    class Following(httpx.Client):
        def send(self, request: httpx.Request, **named: Any) -> httpx.Response:
            return super().send(request, **{**named, "follow_redirects": True})

    replace(httpx, "Client", Following)


@guard(
    "texts of an expression stay short",
    noticed_by=f"{EXPRESSIONS}text_that_multiplies_stays_within_its_length",
    in_ci=True,
)
def _() -> None:
    def replaced(value: Any, old: str, new: str) -> str:
        return str(value).replace(old, new)

    expressions.FUNCTIONS["replace"] = steps.STEPS["replace"] = replaced
    replace(steps, "LONGEST_TEXT", 10**9)


@guard("an expression is nested only so deep", noticed_by=f"{EXPRESSIONS}nesting_is_refused_before_it_is_followed")
def _() -> None:
    replace(expressions, "DEEPEST", 10**9)
    replace(expressions, "MOST_PARTS", 10**9)


@guard("an expression reads declared fields only", noticed_by=f"{EXPRESSIONS}attributes_of_the_language_are_no_fields")
def _() -> None:
    replace(expressions, "_field_type", lambda kind, name: object)


@guard(
    "a digest covers the digest before it",
    noticed_by=f"{TRAIL}each_kind_of_tampering_is_found[edit_with_the_link_after_it]",
)
def _() -> None:
    digest_of = audit.digest_of

    def alone(entry: AuditEntry) -> str:
        linked, entry.previous_digest = entry.previous_digest, ""
        try:
            return digest_of(entry)
        finally:
            entry.previous_digest = linked

    replace(audit, "digest_of", alone)


@guard(
    "a trail leads to its anchors",
    noticed_by=f"{TRAIL}each_kind_of_tampering_is_found[begin_anew]",
    in_ci=True,
)
def _() -> None:
    verify_trail = audit.verify_trail
    replace(audit, "verify_trail", lambda anchors=(): verify_trail())


@guard("acts are chained one at a time", noticed_by=f"{TRAIL}writers_side_by_side_never_fork_the_chain")
def _() -> None:
    replace(audit, "_wait_for_turn", lambda: None)


@guard("the database refuses to change the trail", noticed_by=f"{TRAIL}database_refuses_to_change_an_entry")
def _() -> None:
    drop("DROP TRIGGER audit_auditentry_append_only ON audit_auditentry", schema="tenant")


@guard(
    "what is sealed names its place",
    noticed_by=f"{TOKENS}sealed_tokens_open_in_no_other_row_tenant_or_field",
    in_ci=True,
)
def _() -> None:
    replace(vault, "_place", lambda tenant_id, row, field, key_id: b"")
    replace(vault, "_tenant_key", lambda key, tenant_id: key)


@guard(
    "a token is looked at again once the lock is held",
    noticed_by=f"{TOKENS}one_refresh_serves_all_and_trouble_disconnects_nobody",
)
def _() -> None:
    refreshed = vault.ConnectionToken._refreshed

    def regardless(self: vault.ConnectionToken, *, stale_version: int) -> str:
        with tenant(self.tenant_id):
            version = Connection.objects.values_list("token_version", flat=True).get(pk=self.connection_id)
        return refreshed(self, stale_version=version)

    replace(vault.ConnectionToken, "_refreshed", regardless)


@guard(
    "one at a time refreshes a token",
    noticed_by=f"{TOKENS}one_refresh_serves_all_and_trouble_disconnects_nobody",
)
def _() -> None:
    def without_locking(self: Any, **named: Any) -> Any:
        return self

    replace(models.QuerySet, "select_for_update", without_locking)


@guard(
    "passing trouble never disconnects",
    noticed_by=f"{TOKENS}one_refresh_serves_all_and_trouble_disconnects_nobody",
)
def _() -> None:
    read_tokens = oauth.OAuth.read_tokens

    def any_refusal_is_the_end(self: Any, response: httpx.Response) -> Any:
        if response.status_code >= 400:
            raise ReconnectRequired("The provider refused.")
        return read_tokens(self, response)

    replace(oauth.OAuth, "read_tokens", any_refusal_is_the_end)
