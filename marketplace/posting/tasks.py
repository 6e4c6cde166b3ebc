"""The work the queue asks of this slice."""

from __future__ import annotations

import datetime as dt
import uuid

from marketplace.core.summaries import SUMMARY_KIND, ask_for_summary
from marketplace.core.work import handles, request_work, slice_is_over
from marketplace.mapping.models import Flow, Stage
from marketplace.posting.looking_again import KIND as LOOK_AGAIN
from marketplace.posting.looking_again import look_again
from marketplace.posting.planning import plan_flow, waits_for_answers
from marketplace.posting.reversal_planning import make_plan
from marketplace.posting.reversal_running import conclude, take_back
from marketplace.posting.summaries import refresh_summary
from marketplace.posting.writing import write_postings
from tenants.context import tenant
from tenants.models import Tenant

GATHER = dt.timedelta(milliseconds=200)  # so that full batches are written, not the first few of a page
ANSWERED_WITHIN = dt.timedelta(seconds=10)  # after which what changed while it was being sent is looked at again


@handles("plan")
def plan(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Plan what one flow's source has that is new; `key` is the flow. Writing is asked for in the same transaction."""
    known: Tenant | uuid.UUID = tenant_id
    while True:
        with tenant(known) as owner:
            known = owner
            flow = _locked(key)
            if not plan_flow(owner=owner, flow=flow):
                return ANSWERED_WITHIN if waits_for_answers(flow) else None
            following = ("pair", str(flow.pk)) if flow.stage == Stage.PARALLEL else ("post", str(flow.target_id))
            request_work(tenant_id=tenant_id, kind=following[0], key=following[1], delay=GATHER)
            ask_for_summary(tenant_id)
        if slice_is_over():
            return dt.timedelta(0)


def _locked(key: str) -> Flow:
    """A flow that is moved to another step meanwhile waits for the batch, or the batch for the move: never half of each."""
    related = Flow.objects.select_for_update(of=("self",), no_key=True).select_related("source", "target", "mapping")
    return related.get(pk=key)


@handles("post")
def post(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Take back and write what is due at one ledger; `key` is the connection. One work for both, so that there is one writer."""
    connection_id = uuid.UUID(key)
    pauses = [
        take_back(tenant_id=tenant_id, connection_id=connection_id),
        write_postings(tenant_id=tenant_id, connection_id=connection_id),
        conclude(tenant_id=tenant_id, connection_id=connection_id),
    ]
    ask_for_summary(tenant_id)
    return min((pause for pause in pauses if pause is not None), default=None)


@handles(LOOK_AGAIN)
def look_for_second_entries(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Look whether what went out under a fresh key is in the ledger twice after all; `key` is the connection."""
    return look_again(tenant_id=tenant_id, connection_id=uuid.UUID(key))


@handles("reverse")
def plan_reversal(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Plan taking entries back; `key` is the reversal. Reads the ledger, sends nothing."""
    make_plan(tenant_id=tenant_id, reversal_id=uuid.UUID(key))
    return None


@handles(SUMMARY_KIND)
def summarise(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Count again what waits in one business."""
    with tenant(tenant_id) as owner:
        refresh_summary(owner)
    return None
