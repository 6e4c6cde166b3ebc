"""What intake could not judge or route when it came, judged again: after a reader was mended, or once somebody has the organisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db import connection as database
from django.db import transaction

from connectors.registry import UnknownConnector, connector
from connectors.sdk.client import dump_json
from marketplace.core.models import WebhookDelivery
from marketplace.core.waking import wake_workers_soon
from marketplace.installations.inbox import body_of
from marketplace.installations.vault import UnableToOpen
from marketplace.sync.intake import ASK_FOR_WORK, COUNT, SPREAD, TOLD, events_of


@dataclass(frozen=True)
class Judged:
    """What became of one delivery; `problem` is empty when it could be read this time."""

    delivery_id: int
    events: int
    routed: int
    problem: str


def judge_again() -> Iterator[Judged]:
    """Every unreadable delivery, oldest first, each committed by itself: it can be stopped and run again."""
    unreadable = WebhookDelivery.objects.exclude(unreadable_reason="").order_by("id")
    for delivery_id in list(unreadable.values_list("pk", flat=True)):
        yield _judge(WebhookDelivery.objects.get(pk=delivery_id))


def _judge(delivery: WebhookDelivery) -> Judged:
    """Its signature was proved when it came, so only its reading is repeated."""
    try:
        webhooks, body = connector(delivery.connector).webhooks, body_of(delivery)
    except (UnknownConnector, UnableToOpen) as error:
        return Judged(delivery.pk, 0, 0, str(error))
    if webhooks is None:
        return Judged(delivery.pk, 0, 0, "The connector has no webhooks any more.")
    rows, problem = events_of(webhooks, delivery.headers, body, delivery.digest)
    # An event without a time of its own is no younger than its delivery: a consent given since is not ended by it.
    timed = [{**row, "occurred_at": row["occurred_at"] or delivery.received_at.isoformat()} for row in rows]
    _, events, routed = _executed(_JUDGE, [dump_json({"unreadable": problem, "events": timed}).decode(), delivery.pk])
    return Judged(delivery.pk, events, routed, problem)


def follow_parked() -> int:
    """Events of organisations that somebody has connected since; answers how many. What told of the end of an earlier consent says
    nothing about this one."""
    count, _ = _executed(_FOLLOW, [])
    return count


def _executed(statement: str, arguments: Sequence[str | int]) -> tuple[int, ...]:
    """Its counts, of which the last says how many copies there are to work on."""
    with transaction.atomic(), database.cursor() as cursor:
        cursor.execute(statement, arguments)
        counts: tuple[int, ...] = cursor.fetchone()
        if counts[-1]:
            transaction.on_commit(wake_workers_soon)
    return counts


_JUDGE = (
    TOLD
    + """
        UPDATE public.core_webhookdelivery AS known SET unreadable_reason = told.unreadable FROM told
        WHERE known.id = %s AND known.unreadable_reason <> ''
        RETURNING known.id, known.connector, known.environment, known.received_at
    """
    + SPREAD
    + ASK_FOR_WORK
    + COUNT
)
_FOLLOW = (
    """
    WITH route AS (
        SELECT DISTINCT connector, environment, organisation_id FROM public.core_webhookroute
    ), event AS (
        UPDATE public.core_inboxevent AS parked SET state = 'routed',
            reason = CASE WHEN kind = 'revoked' THEN 'It told of the end of an earlier consent.' ELSE '' END
        FROM route WHERE parked.state = 'parked' AND parked.connector = route.connector
            AND parked.environment = route.environment AND parked.organisation_id = route.organisation_id
        RETURNING parked.id, parked.connector, parked.environment, parked.organisation_id, parked.kind
    ), copied AS (
        INSERT INTO public.core_eventcopy (event_id, tenant_id, connection_id)
        SELECT event.id, route.tenant_id, route.connection_id
        FROM event JOIN public.core_webhookroute route USING (connector, environment, organisation_id)
        WHERE event.kind <> 'revoked'
        RETURNING tenant_id, connection_id
    """
    + ASK_FOR_WORK
    + "SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM copied)"
)
