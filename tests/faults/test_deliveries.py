"""C7: deliveries as often, as late, as disordered and as forged as they come; the judges are the sender's log and the database."""

from __future__ import annotations

import io
import random
import uuid
from collections import Counter
from typing import Any

import pytest
from django.db import connection as database
from django.test.client import ClientHandler
from pytest_django import Settings

from marketplace.core.models import EventCopy, InboxEvent, WebhookDelivery, WebhookRoute
from tenants.models import Tenant
from tests.faults.campaign import Size
from tests.faults.conftest import Tell
from tests.faults.deliveries import (
    SIGNERS,
    Delivery,
    event,
    forged,
    genuine_but_hostile,
    in_another_envelope,
    signed,
)

pytestmark = pytest.mark.faults

OURS, SHARED, NOBODYS = "ours", "shared", "nobodys"


@pytest.fixture
def endpoint(settings: Settings, db: None) -> ClientHandler:
    """The product as a web server calls it, with all that stands in front of the view."""
    settings.SIMULATORS = dict.fromkeys(SIGNERS, "http://127.0.0.1:1")
    return ClientHandler()


def send(endpoint: ClientHandler, delivery: Delivery) -> int:
    """One request; answers the status."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": delivery.method,
        "PATH_INFO": delivery.address,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(delivery.body)),
        "CONTENT_TYPE": delivery.headers.get("Content-Type", ""),
        "wsgi.input": io.BytesIO(delivery.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "127.0.0.1",
    }
    for name, value in delivery.headers.items():
        if name != "Content-Type":
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    return int(endpoint(environ).status_code)


@pytest.fixture
def owners(tenant: Tenant, other_tenant: Tenant) -> dict[str, list[Tenant]]:
    """Whose each organisation is, at every provider."""
    belongs = {OURS: [tenant], SHARED: [tenant, other_tenant], NOBODYS: []}
    for slug in SIGNERS:
        for organisation, found in belongs.items():
            for owner in found:
                WebhookRoute.objects.create(
                    connector=slug,
                    environment="simulator",
                    organisation_id=organisation,
                    tenant=owner,
                    connection_id=uuid.uuid4(),
                )
    return belongs


def schedule(dice: random.Random, count: int) -> list[Delivery]:
    """At least so many deliveries of a twelfth as many events, each one to fifty times, in any order."""
    planned: list[Delivery] = []
    while len(planned) < count:
        told = event(dice.choice(list(SIGNERS)), dice.choice([OURS, OURS, SHARED, NOBODYS]), dice)
        times = 50 if dice.random() < 0.04 else dice.randint(1, 20)
        others = [in_another_envelope(told)] if dice.random() < 0.05 else []
        planned += [told] * times + others
    dice.shuffle(planned)
    return planned


def a_month_passes() -> None:
    """Everything that came is a month old."""
    with database.cursor() as cursor:
        for table in ("core_webhookdelivery", "core_inboxevent"):
            cursor.execute(f"UPDATE {table} SET received_at = received_at - interval '30 days'")


def test_any_number_of_deliveries_in_any_order_over_months_is_one_event(
    transactional_db: None,
    endpoint: ClientHandler,
    owners: dict[str, list[Tenant]],
    size: Size,
    seed: int,
    tell: Tell,
) -> None:
    """Each is committed, as it is at work: in one transaction of a test, the rows that all of them renew would get slower each time."""
    planned = schedule(random.Random(seed), size.pick(10_000, 100_000))
    log: Counter[int] = Counter()
    for place, delivery in enumerate(planned):
        if place and place % (len(planned) // 4) == 0:
            a_month_passes()
        log[send(endpoint, signed(delivery))] += 1
    assert log == {200: len(planned)}
    bodies = {(delivery.slug, delivery.digest) for delivery in planned}
    kept = Counter(WebhookDelivery.objects.values_list("connector", "digest"))
    assert set(kept) == bodies and set(kept.values()) == {1}
    events = {(delivery.slug, delivery.organisation, delivery.key) for delivery in planned}
    assert set(InboxEvent.objects.values_list("connector", "organisation_id", "event_key")) == events
    assert InboxEvent.objects.count() == len(events)
    wanted = Counter((*told, owner.pk) for told in events for owner in owners[told[1]])
    copies = EventCopy.objects.values_list("event__connector", "event__organisation_id", "event__event_key", "tenant")
    assert Counter(copies) == wanted
    parked = sum(told[1] == NOBODYS for told in events)
    assert InboxEvent.objects.filter(state="parked").count() == parked
    tell("C7", "repeated, disordered, replayed over 90 days", tried=len(planned), events=len(events))


def test_nothing_forged_is_accepted_and_nothing_breaks(
    endpoint: ClientHandler, owners: dict[str, list[Tenant]], size: Size, seed: int, tell: Tell
) -> None:
    dice, count = random.Random(seed), size.pick(5_000, 50_000)
    answers: Counter[tuple[str, int]] = Counter()
    for _ in range(count):
        what, delivery = forged(OURS, dice)
        answers[what, send(endpoint, delivery)] += 1
    wrong = {found: times for found, times in answers.items() if not 400 <= found[1] < 500}
    assert not wrong
    assert not WebhookDelivery.objects.exists()
    tell("C7", "forged and malformed", tried=count, malformed=count)


@pytest.mark.parametrize("slug", SIGNERS)
def test_whatever_a_provider_really_sent_is_acknowledged_and_kept(
    endpoint: ClientHandler, owners: dict[str, list[Tenant]], slug: str, size: Size, seed: int, tell: Tell
) -> None:
    dice, count = random.Random(seed), size.pick(150, 2_000)
    deliveries = [genuine_but_hostile(slug, dice) for _ in range(count)]
    assert Counter(send(endpoint, delivery) for delivery in deliveries) == {200: count}
    assert set(WebhookDelivery.objects.values_list("digest", flat=True)) == {found.digest for found in deliveries}
    assert not EventCopy.objects.exists()
    tell("C7", f"genuine and unreadable ({slug})", tried=count, malformed=count)


@pytest.mark.parametrize("slug", SIGNERS)
def test_part_of_a_signature_proves_nothing(
    endpoint: ClientHandler, owners: dict[str, list[Tenant]], slug: str
) -> None:
    genuine = signed(event(slug, OURS, random.Random(1)))
    header, _ = SIGNERS[slug]
    whole = genuine.headers[header]
    for length in (len(whole) - 1, len(whole) - 10, len(whole) - 20):
        part = Delivery(slug, genuine.body, {**genuine.headers, header: whole[:length]})
        longer = Delivery(slug, genuine.body, {**genuine.headers, header: whole[:length] + "A" * (len(whole) - length)})
        assert (send(endpoint, part), send(endpoint, longer)) == (401, 401)
    assert not WebhookDelivery.objects.exists()


def test_what_could_not_be_stored_is_not_acknowledged(
    endpoint: ClientHandler, owners: dict[str, list[Tenant]], tell: Tell
) -> None:
    """The disk is full, as far as this table is concerned."""
    with database.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON core_webhookdelivery FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse()"
        )
    assert send(endpoint, signed(event("shopify", OURS, random.Random(1)))) == 503
    tell("C7", "the database cannot keep a delivery", tried=1, events=1)
