"""Writing after a restore: what the database believes unsent may be in the ledger already.

The provider's memory of keys does not help: the same document may have gone out in another batch, and its time may be over. So whatever
belongs to a record from before the restore is looked up by its reference first. What is newer cannot have been sent.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

from django.db.models import Q

from connectors.sdk.client import Client
from connectors.sdk.streams import Draft, WritableStream
from marketplace.core.work import check_lease, holding_lease
from marketplace.posting.models import Posting
from marketplace.posting.ready import Ready
from marketplace.posting.settling import settle_written
from tenants.context import tenant
from tenants.models import Tenant

#: A record's day is in its owner's zone, and clocks differ.
A_DAY = dt.timedelta(days=1)


def settle_forgotten(
    owner: Tenant,
    client: Client,
    stream: WritableStream,
    chosen: Sequence[tuple[Ready, Draft]],
    restored_at: dt.datetime,
) -> Collection[int]:
    """Take over what the ledger holds of these postings; answers which. Raises the errors of a connector."""
    with tenant(owner):
        old = Q(record__occurred_on=None) | Q(record__occurred_on__lte=(restored_at + A_DAY).date())
        named = Posting.objects.filter(old, pk__in=[posting.id for posting, _ in chosen])
        asked = set(named.values_list("pk", flat=True))
    if not asked:
        return ()
    check_lease()
    found = stream.find(client, [draft for posting, draft in chosen if posting.id in asked])
    written = {posting.id: found[posting.key] for posting, _ in chosen if posting.key in found}
    with holding_lease(owner):
        settle_written(written)
    return written
