"""Stripe's signed events: genuine, whose, and what they tell of."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.sdk.client import parse_json
from connectors.sdk.webhooks import WebhookEvent, Webhooks

TOLERANCE_SECONDS = 300

# Where an event is about another object than its own, the property that names the one we follow.
_FOLLOWED = {
    "charge": ("order", "id"),
    "refund": ("refund", "id"),
    "payout": ("payout", "id"),
    "customer": ("customer", "id"),
    "tax_id": ("customer", "customer"),
    "account": ("company", "id"),
}
_REVOKED = "account.application.deauthorized"


class StripeWebhooks(Webhooks):
    """One endpoint for all accounts that installed the app; each event names its account."""

    data_types = frozenset(data_type for data_type, _ in _FOLLOWED.values())

    def is_genuine(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> bool:
        stamp, given = _signature(headers.get("stripe-signature", ""))
        if stamp is None or abs(time.time() - stamp) > TOLERANCE_SECONDS:
            return False
        expected = [sign(body, secret, stamp) for secret in secrets if secret]
        matches = [hmac.compare_digest(mine.encode(), theirs.encode()) for mine in expected for theirs in given]
        return any(matches)

    def events(self, headers: Mapping[str, str], body: bytes) -> list[WebhookEvent]:
        event = parse_json(body)
        if not isinstance(event, dict) or event.get("object") != "event":
            raise ValueError("not a Stripe event")
        account = str(event.get("account") or "")
        if not account:
            return []
        told = _told(str(event["type"]), event["data"]["object"], account)
        if told is None:
            return []
        data_type, external_id, kind = told
        return [
            WebhookEvent(
                event_id=str(event["id"]),
                organisation_id=account,
                data_type=data_type,
                external_id=external_id,
                kind=kind,
                occurred_at=dt.datetime.fromtimestamp(int(event["created"]), dt.UTC),
            )
        ]


def sign(body: bytes, secret: str, stamp: int) -> str:
    """The hexadecimal HMAC-SHA256 of the time stamp and the raw bytes."""
    return hmac.digest(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hex()


def _signature(header: str) -> tuple[int | None, list[str]]:
    """The time stamp and every version 1 signature; there are two while a secret is being replaced."""
    parts = [part.strip().partition("=") for part in header.split(",")]
    stamps = [value for name, _, value in parts if name == "t" and re.fullmatch(r"[0-9]{1,12}", value)]
    return (int(stamps[0]) if stamps else None), [value for name, _, value in parts if name == "v1"]


def _told(type_: str, body: Mapping[str, Any], account: str) -> tuple[str, str, str] | None:
    """Data type, id and kind of what changed; None for events we do not follow."""
    if type_ == _REVOKED:
        return "company", account, "revoked"
    followed = _FOLLOWED.get(str(body.get("object")))
    if followed is None or not body.get(followed[1]):
        return None
    is_deleted = type_ == "customer.deleted"
    return followed[0], str(body[followed[1]]), "deleted" if is_deleted else "changed"


WEBHOOKS = StripeWebhooks()
