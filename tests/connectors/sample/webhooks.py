"""Signed notes that say which record changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.sdk.client import parse_json
from connectors.sdk.webhooks import WebhookEvent, Webhooks, signed_base64


class SampleWebhooks(Webhooks):
    data_types = frozenset({"order", "customer", "invoice"})

    def is_genuine(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> bool:
        return signed_base64(body, secrets, headers.get("x-sample-signature", ""))

    def events(self, headers: Mapping[str, str], body: bytes) -> list[WebhookEvent]:
        note = parse_json(body)
        return [
            WebhookEvent(
                event_id=note["event"],
                organisation_id=note["organisation"],
                data_type=note["data_type"],
                external_id=note["id"],
            )
        ]


WEBHOOKS = SampleWebhooks()
