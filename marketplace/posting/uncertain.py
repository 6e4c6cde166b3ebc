"""What was sent and never confirmed: looked up in the ledger, decided where that decides it, else held for a person.

Nothing is repeated before the ledger was asked, once for all that are alike. Each is judged by its own reference. What the ledger shows is posted. What it does not show, after a quiet time and when no worker of
ours can still be sending it, is
- sent again as it was while the provider surely knows its key, so that it is taken once even if the first request was only late;
- planned anew under a fresh key after that, or when the same request cannot be made any more.
Where looking up does not decide, or fails for long, a person sees it and chooses; looking up goes on meanwhile.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import F
from django.db.models.functions import Now

from connectors.registry import connector
from connectors.sdk.client import Client
from connectors.sdk.errors import ConnectorError, ReconnectRequired, TransientError
from connectors.sdk.streams import Draft, Written
from marketplace.core.work import holding_lease
from marketplace.installations.models import Connection
from marketplace.posting.batches import UnableToPost, close, pause_after, plan_anew
from marketplace.posting.intent import being_sent, key_lasts
from marketplace.posting.keys import documents_digest, request_key
from marketplace.posting.looking_again import ask_to_look_again
from marketplace.posting.models import Posting, PostingBatch
from marketplace.posting.ready import Ready, drafts_of, flying_postings
from marketplace.posting.settling import hold_unconfirmed, settle_written
from marketplace.posting.updating import as_updated
from tenants.context import tenant
from tenants.models import Tenant

QUIET_SECONDS = 10.0  # in which a request of a worker that died may still arrive
SURE_SECONDS = 150.0  # longer than any provider is at a request: without its key, nothing is repeated sooner
PAUSED_AGAIN = dt.timedelta(minutes=5)  # while a flow is paused, what is unconfirmed is looked up now and then
SENDER_AGAIN = dt.timedelta(seconds=30)
HELD_AGAIN = dt.timedelta(minutes=15)
HELD_AFTER = dt.timedelta(minutes=15)


@dataclass(frozen=True)
class Unconfirmed:
    """A request whose outcome is not known, and what of it is undecided. Ages are by the database's clock. `was_being_sent`, before the
    ledger was asked: then its answer says nothing about what may have arrived since."""

    batch: PostingBatch
    postings: Sequence[Ready]
    drafts: Sequence[Draft]
    age: dt.timedelta
    key_age: dt.timedelta
    was_being_sent: bool

    @property
    def ids(self) -> list[int]:
        return [posting.id for posting in self.postings]

    @property
    def is_whole(self) -> bool:
        """Whether the same request can be made again. An update is not: it carries the version it replaces."""
        rounds = (posting.key_round for posting in self.postings)
        return self.batch.action == "create" and request_key(documents_digest(self.drafts), rounds) == self.batch.key


def look_up(owner: Tenant, connection: Connection, client: Client) -> tuple[dt.timedelta | None, list[Unconfirmed]]:
    """Settle what can be settled. Answers when to look again at what is undecided, and what to send once more."""
    pauses: list[dt.timedelta] = []
    to_repeat: list[Unconfirmed] = []
    for alike in _alike(_unconfirmed(owner, connection)):
        found = _found(owner, connection, client, alike)
        for one in alike:
            with holding_lease(owner):
                pause, is_repeated = _decide(connection, client, one, found[one.batch.pk])
            pauses += [pause] if pause is not None else []
            to_repeat += [one] if is_repeated else []
    return min(pauses, default=None), to_repeat


def _alike(unconfirmed: Sequence[Unconfirmed]) -> list[list[Unconfirmed]]:
    """Those that are looked up together, in the order of the first of them."""
    kinds: dict[tuple[str, str], list[Unconfirmed]] = {}
    for one in unconfirmed:
        kinds.setdefault((one.batch.data_type, one.batch.action), []).append(one)
    return list(kinds.values())


def _unconfirmed(owner: Tenant, connection: Connection) -> list[Unconfirmed]:
    with tenant(owner):
        # What was sent to take entries back is looked up by those who sent it.
        waiting = PostingBatch.objects.filter(connection=connection, state=PostingBatch.State.UNCERTAIN)
        rows = waiting.exclude(action="void").defer("request")
        batches = list(rows.annotate(age=Now() - F("sent_at"), key_age=Now() - F("intended_at")).order_by("sent_at"))
        if not batches:
            return []
        flying = flying_postings([batch.pk for batch in batches])
        sending = being_sent([batch.pk for batch in batches])
        return [
            Unconfirmed(batch, postings, drafts_of(postings, connection), batch.age, batch.key_age, batch.pk in sending)
            for batch in batches
            for postings in [flying[batch.pk]]
        ]


def _found(
    owner: Tenant, connection: Connection, client: Client, alike: Sequence[Unconfirmed]
) -> dict[uuid.UUID, Mapping[str, Written] | None]:
    """What the ledger shows, by request; None of one where it cannot tell, which is then held for a person. Raises `UnableToPost`."""
    try:
        return dict.fromkeys([one.batch.pk for one in alike], _asked(connection, client, alike))
    except ConnectorError as error:
        is_passing = isinstance(error, TransientError | ReconnectRequired)
        if not is_passing and len(alike) > 1:  # only one of them may be at fault
            return {pk: found for one in alike for pk, found in _found(owner, connection, client, [one]).items()}
        long = [pk for one in alike if not is_passing or one.key_age > HELD_AFTER for pk in one.ids]
        if long:
            with holding_lease(owner):
                hold_unconfirmed(
                    long, f"It was sent and never confirmed, and looking it up fails: {error.user_message}"
                )
        if is_passing:
            attempts = max((posting.attempts for one in alike for posting in one.postings), default=0)
            raise UnableToPost(error.user_message, pause_after(error, attempts)) from error
        return {one.batch.pk: None for one in alike}


def _asked(connection: Connection, client: Client, alike: Sequence[Unconfirmed]) -> dict[str, Written]:
    """By posting key."""
    postings = [posting for one in alike for posting in one.postings]
    drafts = [draft for one in alike for draft in one.drafts]
    if not postings:
        return {}
    stream = connector(connection.connector).writable(alike[0].batch.data_type)
    if alike[0].batch.action == "update":
        return as_updated(client, stream, postings, drafts)
    return stream.find(client, drafts)


def _decide(
    connection: Connection, client: Client, one: Unconfirmed, found: Mapping[str, Written] | None
) -> tuple[dt.timedelta | None, bool]:
    """When to look again, and whether to send once more."""
    if found is None:
        return HELD_AGAIN, False
    settle_written({p.id: found[p.key] for p in one.postings if p.key in found and not found[p.key].others})
    several = {p: found[p.key] for p in one.postings if p.key in found and found[p.key].others}
    _hold_several(connection, several)
    absent = [posting for posting in one.postings if posting.key not in found]
    is_some_there = len(absent) < len(one.postings)
    pause, is_repeated = _decide_absent(connection, one, absent, is_some_there) if absent else (None, False)
    if pause is None and not is_repeated and not several:
        close(one.batch, client)
    pauses = [pause, HELD_AGAIN if several else None]
    return min((some for some in pauses if some is not None), default=None), is_repeated


def _decide_absent(
    connection: Connection, one: Unconfirmed, absent: Sequence[Ready], is_some_there: bool
) -> tuple[dt.timedelta | None, bool]:
    """The same, for what the ledger does not show."""
    ids = [posting.id for posting in absent]
    if one.age.total_seconds() <= QUIET_SECONDS:
        return dt.timedelta(seconds=QUIET_SECONDS / 2), False
    if one.was_being_sent:
        if one.key_age > HELD_AFTER:
            hold_unconfirmed(ids, "One of our workers stands still in the middle of sending it.")
        return SENDER_AGAIN, False
    if is_some_there or one.batch.action == "update":
        plan_anew(ids, with_fresh_key=False)  # the provider had the request, or it is safe to repeat
        return None, False
    if one.is_whole and one.key_age < key_lasts(connection):
        is_paused = any(posting.is_paused for posting in absent)
        return (PAUSED_AGAIN, False) if is_paused else (None, True)
    if one.age.total_seconds() <= SURE_SECONDS:
        return dt.timedelta(seconds=SURE_SECONDS / 10), False
    plan_anew(ids, with_fresh_key=True)
    ask_to_look_again(connection.pk)
    return None, False


def _hold_several(connection: Connection, several: Mapping[Ready, Written]) -> None:
    """Somebody copied an entry with our reference in it, or it is there twice: a person says which is the right one."""
    name = connector(connection.connector).manifest.name
    for posting, first in several.items():
        Posting.objects.filter(pk=posting.id).update(
            external_id=first.external_id, external_number=first.number, external_version=first.version, url=first.url
        )
        reason = f"It was sent and never confirmed, and {name} has {len(first.others) + 1} entries with its reference."
        hold_unconfirmed([posting.id], reason)
