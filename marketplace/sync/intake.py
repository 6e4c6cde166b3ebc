"""Webhook intake: verify the raw bytes, commit them with their events and routes, then acknowledge.

Judging comes later: a genuine delivery is always kept, once, and never costs its sender a second try because of us.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import connection as database
from django.db import transaction

from connectors.registry import Connector
from connectors.sdk.client import dump_json
from connectors.sdk.webhooks import WebhookEvent
from marketplace.core.work import wake_workers

MAX_BODY_BYTES = 1024 * 1024
KEPT_HEADER_BYTES = 500


class NotGenuine(Exception):
    """The signature does not prove that the provider sent these bytes. Nothing is stored."""


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
    if webhooks is None or not any(secrets) or not webhooks.is_genuine(headers, body, secrets):
        raise NotGenuine(connector.slug)
    try:
        events, unreadable = webhooks.events(headers, body), ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        events, unreadable = [], repr(error)[:500]
    digest = hashlib.sha256(body).hexdigest()
    rows = [_event_row(event, digest, position) for position, event in enumerate(events)]
    kept = {name: value[:KEPT_HEADER_BYTES] for name, value in headers.items() if name.startswith(_KEPT_HEADERS)}
    with transaction.atomic(), database.cursor() as cursor:
        cursor.execute(
            _RECEIVE,
            {
                "connector": connector.slug,
                "environment": environment,
                "digest": digest,
                "headers": dump_json(kept).decode(),
                "body": body,
                "source": source_address,
                "at": at,
                "unreadable": unreadable,
                "events": dump_json(rows).decode(),
            },
        )
        is_new, new_events, routed = cursor.fetchone()
        if routed:
            transaction.on_commit(wake_workers)
    return Received(bool(is_new), new_events, routed)


def _event_row(event: WebhookEvent, digest: str, position: int) -> dict[str, str | None]:
    return {
        "organisation_id": event.organisation_id,
        "event_key": (event.event_id or f"{digest}:{position}")[:120],
        "data_type": event.data_type,
        "external_id": event.external_id[:120],
        "kind": event.kind,
        "occurred_at": event.occurred_at.isoformat() if event.occurred_at else None,
    }


_KEPT_HEADERS = ("x-", "stripe-", "intuit-", "webhook-", "shopify-", "content-type", "user-agent")
# One statement: the delivery, its events, a copy for every connection of the organisation, and the work to read them.
_RECEIVE = """
    WITH delivery AS (
        INSERT INTO public.core_webhookdelivery
            (connector, environment, digest, headers, body, source_address, received_at, unreadable_reason)
        VALUES (%(connector)s, %(environment)s, %(digest)s, %(headers)s, %(body)s, %(source)s, %(at)s, %(unreadable)s)
        ON CONFLICT DO NOTHING RETURNING id
    ), event AS (
        INSERT INTO public.core_inboxevent (delivery_id, connector, environment, organisation_id, event_key, data_type,
            external_id, kind, occurred_at, received_at, state, reason)
        SELECT delivery.id, %(connector)s, %(environment)s, told.organisation_id, told.event_key, told.data_type,
            told.external_id, told.kind, told.occurred_at, %(at)s,
            CASE WHEN is_ours THEN 'routed' ELSE 'parked' END,
            CASE WHEN is_ours THEN '' ELSE 'No live connection belongs to this organisation.' END
        FROM delivery, jsonb_to_recordset(%(events)s::jsonb) AS told (organisation_id text, event_key text, data_type text,
            external_id text, kind text, occurred_at timestamptz),
            LATERAL (SELECT EXISTS (SELECT FROM public.core_webhookroute route WHERE route.connector = %(connector)s
                AND route.environment = %(environment)s AND route.organisation_id = told.organisation_id) AS is_ours) ours
        ON CONFLICT DO NOTHING RETURNING id, organisation_id
    ), copied AS (
        INSERT INTO public.core_eventcopy (event_id, tenant_id, connection_id)
        SELECT event.id, route.tenant_id, route.connection_id
        FROM event JOIN public.core_webhookroute route ON route.connector = %(connector)s
            AND route.environment = %(environment)s AND route.organisation_id = event.organisation_id
        RETURNING tenant_id, connection_id
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
    SELECT (SELECT count(*) FROM delivery), (SELECT count(*) FROM event), (SELECT count(*) FROM copied)
"""
