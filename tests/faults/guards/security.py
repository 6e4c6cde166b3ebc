"""What keeps tokens, tenants, addresses, expressions and the trail."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import httpx
from django.db import connection, models

from connectors.sdk import egress, exchange, oauth
from connectors.sdk.errors import ReconnectRequired
from marketplace.audit import operations as audit
from marketplace.audit.models import AuditEntry
from marketplace.core.models import ConsentState
from marketplace.installations import operations as connecting
from marketplace.installations import registrations, vault
from marketplace.mapping import expressions, steps
from tenants import access, confirming, context, firms, queries, tasks
from tenants.backend.base import DatabaseWrapper
from tenants.models import Membership
from tests.faults.removal import drop, guard, replace

TENANCY = "tests/faults/test_tenancy.py::test_"
CONSENT = "tests/installations/test_consent.py::test_"
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
    def send(self: httpx.Client, request: httpx.Request, **named: Any) -> httpx.Response:
        return httpx.Client.send(self, request, **{**named, "follow_redirects": True})

    replace(exchange._PlainClient, "send", send)


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
)
def _() -> None:
    verify_trail = audit.verify_trail
    replace(audit, "verify_trail", lambda anchors=(): verify_trail())


@guard(
    "an act is written down outside of the database at once",
    noticed_by="tests/audit/test_anchors.py::test_tail_that_is_cut_right_after_an_act_is_missed[2]",
)
def _() -> None:
    replace(audit, "append_when_committed", lambda entry: None)


@guard("acts are chained one at a time", noticed_by=f"{TRAIL}writers_side_by_side_never_fork_the_chain")
def _() -> None:
    replace(audit, "_wait_for_turn", lambda: None)


@guard("the database refuses to change the trail", noticed_by=f"{TRAIL}database_refuses_to_change_an_entry")
def _() -> None:
    drop("DROP TRIGGER audit_auditentry_append_only ON audit_auditentry", schema="tenant")


@guard(
    "the database refuses to change a firm's trail",
    noticed_by="tests/tenants/test_firms.py::test_entries_cannot_be_changed_or_deleted[update]",
)
def _() -> None:
    drop("DROP TRIGGER tenants_firmentry_append_only ON tenants_firmentry", schema="public")


@guard(
    "a firm's trail tells who looked into a client",
    noticed_by="tests/tenants/test_firms.py::test_who_looked_into_which_client_is_told_once_a_day",
)
def _() -> None:
    replace(access, "record_opening", lambda membership: None)


@guard(
    "a partner gives no role above their own",
    noticed_by="tests/tenants/test_firms.py::test_nobody_gives_a_role_above_their_own",
)
def _() -> None:
    replace(firms, "refuse_above", lambda actor, role: None)


@guard(
    "what is sealed names its place",
    noticed_by=f"{TOKENS}sealed_tokens_open_in_no_other_row_tenant_or_field",
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

    class AnyVersion(int):
        def __ne__(self, other: object) -> bool:
            return False

    def regardless(self: vault.ConnectionToken, *, stale_version: int) -> str:
        return refreshed(self, stale_version=AnyVersion())

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


@guard(
    "the search path ends with its transaction",
    noticed_by=f"{TENANCY}path_ends_with_its_transaction",
)
def _() -> None:
    def read_for_good(self: Any, sql: str, *parameters: str) -> Any:
        with self.cursor() as cursor:
            cursor.execute(sql.replace("true)", "false)"), parameters)
            return cursor.fetchone()

    def nothing_to_leave(self: Any) -> tuple[str, str]:
        return f"{self.schema_name}, public", self.schema_name

    replace(DatabaseWrapper, "_read", read_for_good)
    replace(DatabaseWrapper, "leave_schema", nothing_to_leave)


@guard(
    "a business's transaction runs under its own role",
    noticed_by=f"{TENANCY}rows_of_another_business_are_an_error_at_once",
    in_ci=True,
)
def _() -> None:
    enter = DatabaseWrapper._read

    def under_the_role_of_all(self: Any, sql: str, *parameters: str) -> Any:
        return enter(self, sql.replace("set_config('role'", "concat('role'"), *parameters)

    replace(DatabaseWrapper, "_read", under_the_role_of_all)
    replace(context, "_enter", lambda database, chosen: database.enter_schema(chosen))
    replace(context, "_leave", lambda database, chosen: database.leave_schema())


@guard(
    "values travel apart from their statements",
    noticed_by="tests/faults/test_secrets.py::test_no_payload_is_in_what_the_server_shows_of_its_work",
)
def _() -> None:
    connection.settings_dict["OPTIONS"]["server_side_binding"] = False


@guard("a task names its business", noticed_by=f"{TENANCY}task_without_a_business_is_refused")
def _() -> None:
    replace(tasks.TenantTask, "_check", lambda self, kwargs: None)


@guard(
    "the search path is looked at before the transaction ends",
    noticed_by=f"{TENANCY}path_that_was_turned_to_another_business_takes_everything_back",
)
def _() -> None:
    replace(context, "_leave", lambda database, chosen: database.leave_schema())


@guard("membership is read with every request", noticed_by=f"{TENANCY}removed_member_is_out_at_the_next_request")
def _() -> None:
    known: dict[Any, Any] = {}

    def remembered(*, user: Any, tenant_slug: str) -> Any:
        return known.setdefault((user.pk, tenant_slug), queries.live_membership(user=user, tenant_slug=tenant_slug))

    replace(access, "live_membership", remembered)


@guard(
    "two businesses never meet in one transaction",
    noticed_by="tests/tenants/test_context.py::test_context_of_another_tenant_inside_is_refused",
)
def _() -> None:
    replace(context, "_refuse_other", lambda opened, wanted: None)


@guard(
    "a role opens only what it includes", noticed_by="tests/tenants/test_access.py::test_role_too_low_is_told_who_can"
)
def _() -> None:
    replace(Membership, "may", lambda self, role: True)


@guard(
    "who connects, maps or exports has shown lately who it is",
    noticed_by="tests/tenants/test_confirming.py::test_old_confirmation_is_asked_for_again[install]",
)
def _() -> None:
    replace(confirming, "is_confirmed", lambda request: True)


@guard("a state is used once", noticed_by=f"{CONSENT}state_works_once")
def _() -> None:
    save = ConsentState.save

    def forgetful(self: Any, *args: Any, **named: Any) -> None:
        if named.get("update_fields") != ["used_at"]:
            save(self, *args, **named)

    replace(ConsentState, "save", forgetful)


@guard("a state belongs to a browser", noticed_by=f"{CONSENT}state_of_another_browser_is_refused")
def _() -> None:
    digest = connecting._digest

    def one_for_all_sessions(value: str) -> str:
        return digest(value if len(value) > 32 else "any session")

    replace(connecting, "_digest", one_for_all_sessions)


@guard("a state belongs to a person", noticed_by=f"{CONSENT}state_of_somebody_else_tells_nothing")
def _() -> None:
    take = connecting._take_state

    def from_anybody(slug: str, given: str, user: Any, session_key: str) -> Any:
        state = ConsentState.objects.filter(state_digest=connecting._digest(given)).first()
        if state is not None:
            state.session_digest = connecting._digest(session_key)
            state.save(update_fields=["session_digest"])
        return take(slug, given, state.user if state is not None else user, session_key)

    replace(connecting, "_take_state", from_anybody)


@guard(
    "a callback answers for the provider it came from",
    noticed_by=f"{CONSENT}answer_that_names_another_provider_is_refused",
)
def _() -> None:
    replace(oauth.OAuth, "check_issuer", lambda self, params: None)


@guard("a state lives for minutes", noticed_by=f"{CONSENT}stale_state_is_refused")
def _() -> None:
    replace(connecting, "shared_now", lambda: dt.datetime(2020, 1, 1, tzinfo=dt.UTC))


@guard(
    "nothing starts with an offered provider whose webhooks cannot be checked",
    noticed_by="tests/installations/test_environments.py::test_nothing_starts_where_webhooks_of_an_offered_provider_cannot_be_checked",
)
def _() -> None:
    replace(registrations, "refuse_unsigned_sources", lambda: None)


@guard(
    "what is sealed is not in a backup",
    noticed_by="tests/faults/test_secrets.py::test_no_secret_is_in_anything_that_is_written",
)
def _() -> None:
    replace(connecting, "seal", lambda value, **place: value.encode())
    replace(vault, "seal", lambda value, **place: value.encode())
    replace(connecting, "open_sealed", lambda sealed, **place: bytes(sealed).decode())
    replace(vault, "open_sealed", lambda sealed, **place: bytes(sealed).decode())
