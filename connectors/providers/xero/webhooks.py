"""Xero's webhooks: one address and key for all organisations, telling only what changed, not how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.providers.xero.values import moment
from connectors.sdk.client import parse_json
from connectors.sdk.webhooks import WebhookEvent, Webhooks, signed_base64

DATA_TYPES = {"CONTACT": "customer", "INVOICE": "invoice", "CREDITNOTE": "credit_note"}


class XeroWebhooks(Webhooks):
    """A delivery without events is Xero's "intent to receive": it only proves that signatures are checked."""

    data_types = frozenset(DATA_TYPES.values())

    def is_genuine(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> bool:
        return signed_base64(body, secrets, headers.get("x-xero-signature", ""))

    def events(self, headers: Mapping[str, str], body: bytes) -> list[WebhookEvent]:
        parsed = parse_json(body)
        if not isinstance(parsed, dict) or not isinstance(parsed.get("events"), list):
            raise ValueError("This is not a delivery of Xero.")
        return [_event(event) for event in parsed["events"] if event.get("eventCategory") in DATA_TYPES]


def _event(event: Mapping[str, Any]) -> WebhookEvent:
    """Xero numbers deliveries, not events, so an event is known by what changed and when."""
    try:
        parts = [str(event[key]) for key in ("tenantId", "resourceId", "eventType", "eventDateUtc")]
        return WebhookEvent(
            event_id=":".join(parts),
            organisation_id=event["tenantId"],
            data_type=DATA_TYPES[event["eventCategory"]],
            external_id=event["resourceId"],
            occurred_at=moment(event["eventDateUtc"]),
        )
    except KeyError as missing:
        raise ValueError(f"An event comes without {missing}.") from missing


WEBHOOKS = XeroWebhooks()
