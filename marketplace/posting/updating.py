"""Updates whose fate is not plain: the object had changed before ours came, or the answer was lost.

An update names the state it replaces. Refused as stale, it is taken back, the object is read again, and the record is planned from
what is there now. Without an answer, the object itself is looked at: it holds what we sent, or the update goes out once more.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

from connectors.sdk.client import Client
from connectors.sdk.errors import ConnectorError, RecordRejected
from connectors.sdk.records import Customer
from connectors.sdk.streams import Draft, Outcome, SourceRecord, WritableStream, Written
from marketplace.core.clock import now
from marketplace.core.work import request_work
from marketplace.installations.models import Connection
from marketplace.mapping.contact_values import is_echo, said_by, texts_of
from marketplace.posting.echoes import note_earlier_attempts
from marketplace.posting.models import Posting
from marketplace.posting.pairs import ask_again
from marketplace.posting.ready import Ready
from marketplace.sync.operations import fetch_records
from tenants.context import current_tenant, tenant
from tenants.models import Tenant

OVERTAKEN = "It was changed on the other side before this could be written; it is compared again."
READ_FIRST = dt.timedelta(seconds=1)  # planning waits this long for the object to be read again
MOST_OVERTAKEN = 10  # in an hour, before a person is told


def is_stale(outcome: Outcome) -> bool:
    return isinstance(outcome, RecordRejected) and outcome.code == "stale"


def refuse_stale(refused: Mapping[int, RecordRejected]) -> dict[int, RecordRejected]:
    """Take back what was overtaken and have its record planned anew. Answers the refusals that are for a person to see."""
    left = dict(refused)
    stale = Posting.objects.filter(pk__in=[pk for pk, error in refused.items() if error.code == "stale"])
    for posting in stale.select_related("flow", "record"):
        note_earlier_attempts(posting)
        if _overtaken_lately(posting) < MOST_OVERTAKEN:
            posting.state, posting.problem = Posting.State.WITHDRAWN, OVERTAKEN
            posting.save(update_fields=["state", "problem"])
            ask_again(posting.flow, [posting.record.external_id], delay=READ_FIRST)
            del left[posting.pk]
    return left


def _overtaken_lately(posting: Posting) -> int:
    same = Posting.objects.filter(flow=posting.flow_id, record=posting.record_id, purpose=posting.purpose)
    since = now() - dt.timedelta(hours=1)
    return same.filter(state=Posting.State.WITHDRAWN, problem=OVERTAKEN, created_at__gte=since).count()


def read_again(owner: Tenant, connection: Connection, postings: Sequence[Ready]) -> None:
    """Store the objects' current state, then have them planned at once. Called outside the tenant's context. When it cannot be
    read now, planning goes on with what is known, and the next write is refused just the same."""
    try:
        fetch_records(
            tenant_id=owner.pk,
            connection=connection,
            data_type=postings[0].data_type,
            external_ids=[posting.external_id for posting in postings],
            zone=ZoneInfo(owner.time_zone),
        )
    except ConnectorError:
        return
    with tenant(owner):
        for flow_id in {posting.flow_id for posting in postings}:
            request_work(tenant_id=current_tenant().pk, kind="plan", key=str(flow_id))


def as_updated(
    client: Client, stream: WritableStream, postings: Sequence[Ready], drafts: Sequence[Draft]
) -> dict[str, Written]:
    """The updates that took effect, by posting key: the object, read again, holds what was sent."""
    page = stream.fetch(client, [posting.external_id for posting in postings])
    current = {found.external_id: found for found in page.records}
    return {
        draft.key: _written(current[posting.external_id])
        for posting, draft in zip(postings, drafts, strict=True)
        if posting.external_id in current and _holds(current[posting.external_id], draft)
    }


def _holds(found: SourceRecord, draft: Draft) -> bool:
    if not isinstance(found.record, Customer) or not isinstance(draft.document, Customer):
        return False
    held = texts_of(found.record)
    return all(is_echo(text, held[name]) for name, text in said_by(draft.document).items())


def _written(found: SourceRecord) -> Written:
    return Written(external_id=found.external_id, version=found.version, record=found)
