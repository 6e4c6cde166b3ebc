"""What webhooks and sweeps are guarded by."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from django.db import DatabaseError
from django.db.models import QuerySet

from connectors.providers.shopify import webhooks as shopify
from connectors.sdk.webhooks import Webhooks
from marketplace.core.models import WebhookRoute
from marketplace.installations import inbox, operations
from marketplace.installations.models import Connection
from marketplace.sync import checkpoint, drift, events, intake, webhook_views
from marketplace.sync import operations as reading
from tests.faults.removal import drop, guard, replace

INTAKE, DELIVERIES, EVENTS = (
    "tests/sync/test_intake.py",
    "tests/faults/test_deliveries.py",
    "tests/faults/test_events.py",
)


@guard(
    "a delivery is acknowledged only once it is committed",
    noticed_by=f"{DELIVERIES}::test_what_could_not_be_stored_is_not_acknowledged",
    in_ci=True,
)
def _() -> None:
    receive = intake.receive_delivery

    def receive_whatever_happens(**given: Any) -> None:
        try:
            receive(**given)
        except DatabaseError:
            return

    replace(webhook_views, "receive_delivery", receive_whatever_happens)


@guard(
    "an unset secret accepts nothing",
    noticed_by=f"{INTAKE}::test_no_configuration_accepts_without_a_secret[secrets0]",
)
def _() -> None:
    def is_genuine(webhooks: Webhooks, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> bool:
        return not any(secrets) or webhooks.is_genuine(headers, body, secrets)

    replace(intake, "_is_genuine", is_genuine)


@guard(
    "a signature is compared to its end",
    noticed_by=f"{DELIVERIES}::test_part_of_a_signature_proves_nothing[shopify]",
    in_ci=True,
)
def _() -> None:
    def signed_base64(body: bytes, secrets: Sequence[str], signature: str) -> bool:
        given = signature.encode()
        expected = [base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)) for secret in secrets]
        return any(given and one.startswith(given[:16]) for one in expected)

    replace(shopify, "signed_base64", signed_base64)


@guard("one delivery is one row", noticed_by=f"{INTAKE}::test_repeated_delivery_is_acknowledged_and_kept_once")
def _() -> None:
    drop("ALTER TABLE core_webhookdelivery DROP CONSTRAINT delivery_is_unique", schema="public")


@guard("one event is one row", noticed_by=f"{INTAKE}::test_same_event_in_another_envelope_is_one_event")
def _() -> None:
    drop("ALTER TABLE core_inboxevent DROP CONSTRAINT event_is_unique", schema="public")


@guard(
    "an event goes to the organisation it names and to no other",
    noticed_by=f"{INTAKE}::test_unknown_organisation_is_parked_never_dropped_or_guessed",
)
def _() -> None:
    replace(intake, "_RECEIVE", intake._RECEIVE.replace("AND route.organisation_id = event.organisation_id", ""))


@guard(
    "what came is sealed for its place",
    noticed_by=f"{INTAKE}::test_what_came_is_sealed_for_its_place_and_resealed_with_a_new_key",
)
def _() -> None:
    replace(inbox, "_place", lambda *parts: b"anywhere")


@guard(
    "an older state never replaces a newer one",
    noticed_by="tests/sync/test_checkpoint.py::test_older_state_never_replaces_a_newer_one",
)
def _() -> None:
    later = "AND (known.updated_at IS NULL OR excluded.updated_at IS NULL OR excluded.updated_at >= known.updated_at)"
    assert later in checkpoint._ACCEPT
    replace(checkpoint, "_ACCEPT", checkpoint._ACCEPT.replace(later, ""))


@guard(
    "an event that cannot be followed holds up no other",
    noticed_by=f"{EVENTS}::test_event_that_cannot_be_followed_holds_up_no_other_and_waits_for_a_person",
)
def _() -> None:
    def try_and_fail(self: Any, group: Any) -> str:
        self._fetch(group)
        return ""

    replace(events._Following, "_try", try_and_fail)


@guard(
    "trouble of a provider is blamed on no event",
    noticed_by=f"{EVENTS}::test_trouble_of_the_provider_is_blamed_on_no_event",
)
def _() -> None:
    replace(events, "OUTAGE", 10**6)


@guard(
    "many events that cannot be followed are no outage",
    noticed_by=f"{EVENTS}::test_many_events_that_cannot_be_followed_do_not_pass_for_an_outage",
)
def _() -> None:
    replace(events._Following, "_provider_answers", lambda self: False)


@guard(
    "an uninstalled app is that of the shop its body names",
    noticed_by=f"{EVENTS}::test_nobody_uninstalls_another_shops_connection_with_a_genuine_body",
)
def _() -> None:
    read = shopify.ShopifyWebhooks.events

    def events_of(self: shopify.ShopifyWebhooks, headers: Mapping[str, str], body: bytes) -> Any:
        shop = headers.get("x-shopify-shop-domain", "").encode()
        return read(
            self,
            headers,
            b'{"myshopify_domain": "' + shop + b'", ' + body.lstrip()[1:].replace(b"myshopify_domain", b"_"),
        )

    replace(shopify.ShopifyWebhooks, "events", events_of)


@guard(
    "a body that was presented once is not presented again in another shop's name",
    noticed_by=f"{EVENTS}::test_genuine_body_in_another_shops_name_brings_nothing_of_one_shop_to_the_other",
)
def _() -> None:
    drop("ALTER TABLE core_webhookdelivery DROP CONSTRAINT delivery_is_unique", schema="public")


@guard(
    "a body in chunks is read to its end and no further than any provider sends",
    noticed_by="tests/faults/test_webhooks.py::test_what_is_hardly_http_breaks_nothing",
)
def _() -> None:
    replace(webhook_views, "MAX_BODY_BYTES", 10**9)


@guard("a sweep repeats what webhooks missed", noticed_by=f"{EVENTS}::test_without_any_webhook_one_sweep_is_enough")
def _() -> None:
    replace(reading, "_read_pages", lambda *given: True)


@guard("a message on its way is no drift", noticed_by=f"{EVENTS}::test_message_on_its_way_is_no_drift")
def _() -> None:
    replace(drift, "_NOTE", drift._NOTE.replace("WHERE copy.tenant_id", "WHERE false AND copy.tenant_id"))


@guard(
    "an organisation that nobody has connected any more tells nobody",
    noticed_by="tests/installations/test_revocation.py::test_what_comes_after_disconnecting_is_parked_and_starts_nothing",
)
def _() -> None:
    delete = QuerySet.delete

    def all_but_routes(self: Any) -> Any:
        return (0, {}) if self.model is WebhookRoute else delete(self)

    replace(QuerySet, "delete", all_but_routes)


@guard(
    "a told deletion is looked for before it is believed",
    noticed_by=f"{EVENTS}::test_told_deletion_is_believed_only_of_what_was_looked_for_and_is_gone",
)
def _() -> None:
    replace(events, "fetch_records", lambda **given: set())


@guard(
    "what is disconnected is read no more",
    noticed_by="tests/installations/test_revocation.py::test_what_comes_after_disconnecting_is_parked_and_starts_nothing",
)
def _() -> None:
    states = SimpleNamespace(DISCONNECTED="never", NEEDS_RECONNECT="never", CONNECTED="connected")
    replace(reading, "Connection", SimpleNamespace(objects=Connection.objects, State=states))


@guard(
    "events for nobody are followed once somebody connects",
    noticed_by=f"{EVENTS}::test_events_for_nobody_are_followed_once_somebody_connects",
)
def _() -> None:
    replace(operations, "release_parked", lambda connection: 0)


@guard(
    "a registration the provider dropped is noticed",
    noticed_by=f"{EVENTS}::test_registration_that_the_provider_dropped_is_made_again_and_all_is_read",
)
def _() -> None:
    replace(shopify.ShopifyWebhooks, "subscribe", lambda self, client, url: 0)
