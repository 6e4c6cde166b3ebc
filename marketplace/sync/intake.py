"""Webhook intake: verify the raw bytes, commit them with their events and routes, then acknowledge.

Judging comes later: a genuine delivery is always kept, once, and never costs its sender a second try because of us.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from django.db import DEFAULT_DB_ALIAS, OperationalError, connections

from connectors.registry import Connector
from connectors.sdk.client import dump_json
from connectors.sdk.webhooks import WebhookEvent, Webhooks
from marketplace.core.waking import wake_workers_soon
from marketplace.installations.inbox import seal_body
from tenants.backend.base import BINARY, TEXT, DatabaseWrapper

MAX_BODY_BYTES = 1024 * 1024
KEPT_HEADER_CHARACTERS = 500
LONGEST_ID = 120
NUL = "\x00"


class NotGenuine(Exception):
    """The signature does not prove that the provider sent these bytes. Nothing is stored."""


class UnreadableEvent(ValueError):
    """An event says whose it is or what it is about in a way that nobody can follow."""


@dataclass(frozen=True)
class Received:
    """What became of a delivery. `events` were new; `routed` copies went to tenants' connections."""

    is_new: bool
    events: int
    routed: int


def receive_delivery(
    *,
    connector: Connector,
    environment: str,
    headers: Mapping[str, str],
    body: bytes,
    secrets: tuple[str, ...],
    source_address: str,
    at: dt.datetime,
) -> Received:
    """Commit one delivery. Raises `NotGenuine`; afterwards a 2xx may be sent, never before."""
    webhooks = connector.webhooks
    if webhooks is None or not _is_genuine(webhooks, headers, body, secrets):
        raise NotGenuine(connector.slug)
    digest = hashlib.sha256(body).hexdigest()
    rows, unreadable = events_of(webhooks, headers, body, digest)
    kept = {
        name: value[:KEPT_HEADER_CHARACTERS].replace(NUL, "")
        for name, value in headers.items()
        if name.startswith(_KEPT_HEADERS)
    }
    told = {
        "connector": connector.slug,
        "environment": environment,
        "digest": digest,
        "headers": kept,
        "source": source_address[:64].replace(NUL, ""),
        "at": at,
        "unreadable": unreadable,
        "events": rows,
    }
    sealed = seal_body(body, connector=connector.slug, environment=environment, digest=digest)
    database = cast(DatabaseWrapper, connections[DEFAULT_DB_ALIAS])
    is_new, events, routed = _commit(database, dump_json(told), sealed)
    if routed:
        database.on_commit(wake_workers_soon)
    return Received(bool(is_new), events, routed)


def _is_genuine(webhooks: Webhooks, headers: Mapping[str, str], body: bytes, secrets: tuple[str, ...]) -> bool:
    """A signature that cannot even be read proves nothing, and without a secret nothing does."""
    try:
        return any(secrets) and webhooks.is_genuine(headers, body, secrets)
    except ValueError:
        return False


def events_of(
    webhooks: Webhooks, headers: Mapping[str, str], body: bytes, digest: str
) -> tuple[list[dict[str, str | None]], str]:
    """The rows to store, or why there are none: whatever a genuine delivery does to its reader, it is kept."""
    try:
        events = webhooks.events(headers, body)
        return [_event_row(event, digest, position) for position, event in enumerate(events)], ""
    except Exception as error:
        return [], repr(error)[:500].replace(NUL, "")


def _event_row(event: WebhookEvent, digest: str, position: int) -> dict[str, str | None]:
    """Raises `UnreadableEvent`: an id cut to fit would be another object's or another organisation's."""
    for id in (event.organisation_id, event.external_id):
        if not isinstance(id, str) or len(id) > LONGEST_ID or NUL in id:
            raise UnreadableEvent(f"no id of an object or organisation: {id!r:.100}")
    return {
        "organisation_id": event.organisation_id,
        "event_key": _event_key(event.event_id or f"{digest}:{position}"),
        "data_type": event.data_type,
        "external_id": event.external_id,
        "kind": event.kind,
        "occurred_at": event.occurred_at.isoformat() if event.occurred_at else None,
    }


def _event_key(id: str) -> str:
    """The provider's id as it is; one that does not fit is known by its digest, so that no two become one."""
    return id if len(id) <= LONGEST_ID and NUL not in id else hashlib.sha256(id.encode()).hexdigest()


def _commit(database: DatabaseWrapper, told: bytes, sealed: bytes) -> tuple[int, int, int]:
    """One statement in one round trip, committed when it answers.

    A connection that died is replaced and the statement sent again, even if it had arrived: receiving twice is receiving once.
    """
    is_kept_open = database.connection is not None and not database.in_atomic_block
    try:
        return _execute(database, told, sealed)
    except OperationalError:
        if not is_kept_open:
            raise
        database.close()  # type: ignore[no-untyped-call]
        return _execute(database, told, sealed)


def _execute(database: DatabaseWrapper, told: bytes, sealed: bytes) -> tuple[int, int, int]:
    """Every table is named with its schema, so nothing depends on the search path."""
    is_new, events, routed = database.run_prepared("receive", _RECEIVE, (told, sealed), (TEXT, BINARY))
    return int(is_new), int(events), int(routed)


_KEPT_HEADERS = ("x-", "stripe-", "intuit-", "webhook-", "shopify-", "content-type", "user-agent")
# One statement: the delivery, its events, a copy for every connection of the organisation, and the work to read them.
# OFFSET 0 has each event look its routes up by the index, however many connections there are.
TOLD = """
    WITH told AS MATERIALIZED (
        SELECT * FROM jsonb_to_record(%s::jsonb) AS told (connector text, environment text, digest text, headers jsonb,
            source text, at timestamptz, unreadable text, events jsonb)
    ), delivery AS (
"""
_KEEP = """
        INSERT INTO public.core_webhookdelivery
            (connector, environment, digest, headers, sealed_body, source_address, received_at, unreadable_reason)
        SELECT connector, environment, digest, headers, %b::bytea, source, at, unreadable FROM told
        ON CONFLICT DO NOTHING RETURNING id, connector, environment, received_at
"""
SPREAD = """
    ), event AS (
        INSERT INTO public.core_inboxevent (delivery_id, connector, environment, organisation_id, event_key, data_type,
            external_id, kind, occurred_at, received_at, state, reason)
        SELECT delivery.id, delivery.connector, delivery.environment, event.organisation_id, event.event_key, event.data_type,
            event.external_id, event.kind, event.occurred_at, delivery.received_at,
            CASE WHEN is_ours THEN 'routed' ELSE 'parked' END,
            CASE WHEN is_ours THEN '' ELSE 'No live connection belongs to this organisation.' END
        FROM delivery, told, jsonb_to_recordset(told.events) AS event (organisation_id text, event_key text, data_type text,
            external_id text, kind text, occurred_at timestamptz),
            LATERAL (SELECT EXISTS (SELECT FROM public.core_webhookroute route WHERE route.connector = delivery.connector
                AND route.environment = delivery.environment AND route.organisation_id = event.organisation_id OFFSET 0) AS is_ours)
        ON CONFLICT DO NOTHING RETURNING id, connector, environment, organisation_id
    ), copied AS (
        INSERT INTO public.core_eventcopy (event_id, tenant_id, connection_id)
        SELECT event.id, route.tenant_id, route.connection_id
        FROM event, LATERAL (SELECT * FROM public.core_webhookroute route WHERE route.connector = event.connector
            AND route.environment = event.environment AND route.organisation_id = event.organisation_id OFFSET 0) route
        RETURNING tenant_id, connection_id
"""
ASK_FOR_WORK = """
    ), work AS (
        INSERT INTO public.core_workitem (tenant_id, kind, key, requests, due_at, attempts, problem, requested_at)
        SELECT tenant_id, 'events', connection_id::text, 1, clock_timestamp(), 0, '', clock_timestamp()
        FROM copied GROUP BY tenant_id, connection_id ORDER BY tenant_id, connection_id
        ON CONFLICT (tenant_id, kind, key) DO UPDATE
        SET requests = core_workitem.requests + 1, due_at = LEAST(core_workitem.due_at, excluded.due_at)
        RETURNING tenant_id, is_long, due_at
    ), turn AS (
        INSERT INTO public.core_tenantturn (tenant_id, is_long, ready_at)
        SELECT tenant_id, is_long, min(due_at) FROM work GROUP BY tenant_id, is_long ORDER BY tenant_id, is_long
        ON CONFLICT (tenant_id, is_long) DO UPDATE SET ready_at = excluded.ready_at
        WHERE core_tenantturn.ready_at IS NULL OR core_tenantturn.ready_at > excluded.ready_at
    )
"""
COUNT = "SELECT (SELECT count(*) FROM delivery), (SELECT count(*) FROM event), (SELECT count(*) FROM copied)"
_RECEIVE = (TOLD + _KEEP + SPREAD + ASK_FOR_WORK + COUNT).replace("%s", "$1").replace("%b", "$2")
