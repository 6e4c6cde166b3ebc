"""Following webhook events: fetch the current state of what they tell of.

Events are fetched by the page. When a page fails, one object may be to blame for it: its events go into small groups, then each goes
alone, so that an object that cannot be fetched holds up no other for longer than a few calls. It is tried again after growing pauses, and
then waits for a person.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from django.db import connection as database
from django.db.models import Q, QuerySet
from django.db.models.functions import Greatest, Now

from connectors.registry import connector
from connectors.sdk.errors import ConnectorError, RateLimited, ReconnectRequired
from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.core.models import EventCopy
from marketplace.core.outages import is_outage
from marketplace.core.work import LeaseLost, request_work, slice_is_over
from marketplace.installations.clients import client_for
from marketplace.installations.models import Connection
from marketplace.installations.vault import mark_needs_reconnect
from marketplace.sync.drift import forget_drift
from marketplace.sync.operations import PERSON_NEEDED_RETRY, UnableToRead, fetch_records, mark_deleted
from tenants.context import tenant
from tenants.models import User

log = logging.getLogger(__name__)

AT_ONCE = 500
#: How many objects are fetched together, by how often one of them has failed; after that each goes alone.
TOGETHER = (50, 5)
ALONE = len(TOGETHER)
#: After each failure of an object on its own, in seconds; after the last of them it waits for a person.
PAUSES = (20, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
#: After so many failures in a row, and no success, the provider is asked who the organisation is: unless it answers that, the trouble is
#: its own and blamed on no event. So many failures in one go are enough in either case.
OUTAGE, MOST_IN_VAIN = 3, 12
OUTAGE_RETRY = dt.timedelta(seconds=20)
#: No exchange takes longer while others wait behind it.
PATIENCE_SECONDS = 10.0
OUR_FAULT = "Something went wrong on our side."


@dataclass
class Told:
    """One object that events tell of, with all copies that wait for it, the oldest first."""

    data_type: str
    external_id: str
    copies: list[EventCopy] = field(default_factory=list)

    @property
    def attempts(self) -> int:
        return max(copy.attempts for copy in self.copies)

    @property
    def is_deleted(self) -> bool:
        return any(copy.event.kind == "deleted" for copy in self.copies)

    def failed(self, problem: str, *, was_alone: bool) -> None:
        """Once it has failed alone it is never again suspected together with others."""
        attempts = max(self.attempts, ALONE if was_alone else 0) + 1
        pauses = attempts - ALONE - 1
        EventCopy.objects.filter(pk__in=[copy.pk for copy in self.copies]).update(
            attempts=attempts,
            problem=problem,
            is_stuck=was_alone and pauses >= len(PAUSES),
            due_at=Now() + dt.timedelta(seconds=PAUSES[min(pauses, len(PAUSES) - 1)]) if was_alone else None,
        )


Group = list[Told]


def follow_waiting(*, tenant_id: uuid.UUID, connection_id: uuid.UUID) -> dt.timedelta | None:
    """Follow what is due of one connection's events; answers when to go on, if anything waits still."""
    copies = list(_waiting(tenant_id, connection_id).filter(_DUE).order_by("attempts", "id")[:AT_ONCE])
    if copies:
        with tenant(tenant_id) as owner:
            zone = ZoneInfo(owner.time_zone)
            connection = Connection.objects.get(pk=connection_id)
            told_at = max(copy.event.received_at for copy in copies)
            Connection.objects.filter(pk=connection_id).update(last_told_at=Greatest("last_told_at", told_at))
        if connection.state == Connection.State.DISCONNECTED:
            _close(_waiting(tenant_id, connection_id))
        elif _needs_reconnect(tenant_id, connection, copies):
            return PERSON_NEEDED_RETRY  # reconnecting asks at once
        else:
            _Following(tenant_id, connection, zone).follow(_groups(_told(connection, copies)))
    return _next_due(tenant_id, connection_id)


def _waiting(tenant_id: uuid.UUID, connection_id: uuid.UUID) -> QuerySet[EventCopy]:
    found = EventCopy.objects.filter(tenant_id=tenant_id, connection_id=connection_id, done_at__isnull=True)
    return found.select_related("event")


_DUE = Q(is_stuck=False) & (Q(due_at__isnull=True) | Q(due_at__lte=Now()))


def _close(copies: QuerySet[EventCopy]) -> None:
    copies.update(done_at=now())


def _needs_reconnect(tenant_id: uuid.UUID, connection: Connection, copies: Sequence[EventCopy]) -> bool:
    """Whether nothing can be fetched before somebody reconnects, perhaps because one of these says so. A message that was repeated
    until after a reconnect is not about the new consent."""
    revoked = [copy for copy in copies if copy.event.kind == "revoked"]
    with tenant(tenant_id):
        for copy in revoked:
            mark_needs_reconnect(
                connection=connection,
                problem=f"{connection.organisation_name} ended this connection at the provider's side. Reconnect to go on.",
                happened_at=copy.event.occurred_at,
            )
        is_over = not Connection.objects.filter(pk=connection.pk, state=Connection.State.CONNECTED).exists()
    _close(EventCopy.objects.filter(pk__in=[copy.pk for copy in revoked]))
    return is_over


def _told(connection: Connection, copies: Sequence[EventCopy]) -> list[Told]:
    """By object, with what waits of it from earlier failures. What no stream knows needs no following."""
    known = {stream.data_type for stream in connector(connection.connector).streams}
    followed = [copy for copy in copies if copy.event.kind != "revoked" and copy.event.data_type in known]
    _close(EventCopy.objects.filter(pk__in={copy.pk for copy in copies} - {copy.pk for copy in followed}))
    objects: dict[tuple[str, str], Told] = {}
    for copy in followed:
        key = (copy.event.data_type, copy.event.external_id)
        objects.setdefault(key, Told(*key)).copies.append(copy)
    loaded = {copy.pk for copy in followed}
    for copy in _waiting(copies[0].tenant_id, connection.pk).filter(attempts__gt=0).exclude(pk__in=loaded)[:AT_ONCE]:
        found = objects.get((copy.event.data_type, copy.event.external_id))
        if found is not None:
            found.copies.append(copy)
    return list(objects.values())


def _groups(objects: Sequence[Told]) -> Iterator[Group]:
    """Those never suspected first."""
    for attempts in range(ALONE + 1):
        alike = [told for told in objects if min(told.attempts, ALONE) == attempts]
        size = TOGETHER[attempts] if attempts < ALONE else 1
        for data_type in dict.fromkeys(told.data_type for told in alike):
            same = [told for told in alike if told.data_type == data_type]
            yield from (same[start : start + size] for start in range(0, len(same), size))


@dataclass
class _Following:
    """One go at what is due. Failures are blamed on events only once it is clear that the provider answers at all."""

    tenant_id: uuid.UUID
    connection: Connection
    zone: ZoneInfo
    has_succeeded: bool = False
    in_vain: int = 0
    unblamed: list[tuple[Group, str]] = field(default_factory=list)

    def follow(self, groups: Iterator[Group]) -> None:
        """Raises `UnableToRead` when nobody's turn makes sense now; what was followed until then is done."""
        for group in groups:
            if len(self.unblamed) >= OUTAGE:
                self._refuse_outage(self.unblamed[-1][1])
            problem = self._try(group)
            if problem:
                self.unblamed.append((group, problem))
            if self.has_succeeded:
                self._blame()
            if slice_is_over():
                break
        self._blame()

    def _refuse_outage(self, problem: str) -> None:
        """One object in each of several groups can be to blame as well, and then the others must not wait. Raises `UnableToRead`."""
        if not self._provider_answers():
            raise UnableToRead(problem, OUTAGE_RETRY)
        self.in_vain += len(self.unblamed)
        self._blame()
        if self.in_vain >= MOST_IN_VAIN:
            raise UnableToRead(problem, OUTAGE_RETRY)

    def _provider_answers(self) -> bool:
        """Asks what no event can be to blame for."""
        company = next(
            (one for one in connector(self.connection.connector).streams if one.data_type == "company"), None
        )
        if company is None:
            return False
        client = client_for(self.tenant_id, self.connection, patience=PATIENCE_SECONDS)
        try:
            company.fetch(client, [self.connection.organisation_id])
        except ConnectorError:
            return False
        return True

    def _try(self, group: Group) -> str:
        """Answers what went wrong, in words."""
        try:
            self._fetch(group)
        except RateLimited as error:
            raise UnableToRead(error.user_message, dt.timedelta(seconds=error.retry_after)) from error
        except ReconnectRequired as error:
            # Whoever reconnects asks for everything to be read; the vault has said so already.
            raise UnableToRead(error.user_message, OUTAGE_RETRY) from error
        except ConnectorError as error:
            return error.user_message
        except LeaseLost:
            raise
        except Exception as error:
            if is_outage(error):
                raise
            # Whatever one object does to us, the others are not to wait for it.
            log.exception("events could not be followed: %s of %s", group[0].data_type, self.connection.pk)
            return OUR_FAULT
        return ""

    def _fetch(self, group: Group) -> None:
        found = fetch_records(
            tenant_id=self.tenant_id,
            connection=self.connection,
            data_type=group[0].data_type,
            external_ids=[told.external_id for told in group],
            zone=self.zone,
            patience=PATIENCE_SECONDS,
        )
        gone = [told.external_id for told in group if told.is_deleted and told.external_id not in found]
        copies = [copy for told in group for copy in told.copies]
        with tenant(self.tenant_id):
            if gone:
                mark_deleted(connection=self.connection, data_type=group[0].data_type, external_ids=gone)
            forget_drift(connection_id=self.connection.pk, events=[copy.event for copy in copies])
        _close(EventCopy.objects.filter(pk__in=[copy.pk for copy in copies]))
        self.has_succeeded = True

    def _blame(self) -> None:
        for group, problem in self.unblamed:
            for told in group:
                told.failed(problem, was_alone=len(group) == 1)
        self.unblamed.clear()


def _next_due(tenant_id: uuid.UUID, connection_id: uuid.UUID) -> dt.timedelta | None:
    with database.cursor() as cursor:
        cursor.execute(_NEXT_DUE, [tenant_id, connection_id])
        seconds = cursor.fetchone()[0]
    return None if seconds is None else dt.timedelta(seconds=max(0.0, float(seconds)))


_NEXT_DUE = """
    SELECT extract(epoch FROM min(coalesce(due_at, clock_timestamp())) - clock_timestamp())
    FROM public.core_eventcopy WHERE tenant_id = %s AND connection_id = %s AND done_at IS NULL AND NOT is_stuck
"""


# --- for people ----------------------------------------------------------------------------------------------


def failing_events(tenant_id: uuid.UUID) -> QuerySet[EventCopy]:
    """Those that failed on their own, which is nobody else's fault; the ones that wait for a person first."""
    found = EventCopy.objects.filter(tenant_id=tenant_id, done_at__isnull=True, attempts__gt=ALONE)
    return found.select_related("event").order_by("-is_stuck", "due_at", "id")


def try_again(*, copy: EventCopy, connection: Connection, user: User) -> None:
    """A person asks for another go now; it starts with short pauses again if that fails too."""
    EventCopy.objects.filter(pk=copy.pk).update(attempts=ALONE, is_stuck=False, due_at=None)
    request_work(tenant_id=copy.tenant_id, kind="events", key=str(connection.pk))
    _record(copy, connection, user, "event.try_again", "asked for again")


def let_go(*, copy: EventCopy, connection: Connection, user: User) -> None:
    """A person decides that this message does not matter; the regular check still reads what it can."""
    _close(EventCopy.objects.filter(pk=copy.pk))
    _record(copy, connection, user, "event.let_go", "set aside")


def _record(copy: EventCopy, connection: Connection, user: User, action: str, words: str) -> None:
    what = f"{copy.event.data_type} {copy.event.external_id}"
    summary = f"Message about {what} of {connection.organisation_name} {words}"
    record_act(user=user, action=action, subject=connection, summary=summary, details={"problem": copy.problem})
