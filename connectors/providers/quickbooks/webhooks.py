"""Intuit's webhooks: one signature scheme, two body formats (CloudEvents since 2026 and the one before)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connectors.providers.quickbooks.streams import DATA_TYPES
from connectors.sdk.client import parse_json
from connectors.sdk.webhooks import WebhookEvent, Webhooks, signed_base64

Json = dict[str, Any]

_BY_LOWER_NAME = {name.lower(): data_type for name, data_type in DATA_TYPES.items()}
_COMPANY = ("preferences", "companyinfo")
_GONE = {"delete", "deleted"}


class QuickBooksWebhooks(Webhooks):
    """Bodies name only what changed; one delivery may speak of several companies."""

    data_types = frozenset(DATA_TYPES.values())

    def is_genuine(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> bool:
        return signed_base64(body, secrets, headers.get("intuit-signature", ""))

    def events(self, headers: Mapping[str, str], body: bytes) -> list[WebhookEvent]:
        delivery = parse_json(body)
        try:
            read = _cloud_events(delivery) if isinstance(delivery, list) else _entities(delivery)
            return [event for event in read if event.data_type]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"This is not a QuickBooks delivery: {error!r}") from error


def _cloud_events(delivery: list[Json]) -> Iterator[WebhookEvent]:
    for event in delivery:
        _, entity, operation, _ = str(event["type"]).split(".")
        realm = str(event["intuitaccountid"])
        yield _event(realm, entity, str(event["intuitentityid"]), operation, str(event["time"]), str(event["id"]))


def _entities(delivery: Json) -> Iterator[WebhookEvent]:
    for notification in delivery["eventNotifications"]:
        realm = str(notification["realmId"])
        for entity in notification["dataChangeEvent"]["entities"]:
            name, stamp = str(entity["name"]), str(entity["lastUpdated"])
            yield _event(realm, name, str(entity["id"]), str(entity["operation"]), stamp, "")
            if "deletedId" in entity:
                yield _event(realm, name, str(entity["deletedId"]), "delete", stamp, "")


def _event(realm: str, entity: str, id: str, operation: str, stamp: str, event_id: str) -> WebhookEvent:
    name = entity.lower()
    is_company = name in _COMPANY
    return WebhookEvent(
        event_id=event_id,
        organisation_id=realm,
        data_type="company" if is_company else _BY_LOWER_NAME.get(name, ""),
        external_id=realm if is_company else id,
        kind="deleted" if operation.lower() in _GONE else "changed",
        occurred_at=_moment(stamp),
    )


def _moment(stamp: str) -> dt.datetime:
    """CloudEvents times carry nanoseconds, which Python cuts to microseconds itself."""
    return dt.datetime.fromisoformat(stamp).astimezone(dt.UTC)


WEBHOOKS = QuickBooksWebhooks()
