"""The work the queue asks of this slice."""

from __future__ import annotations

import datetime as dt
import uuid
from functools import partial

from marketplace.core.progress import tell_progress
from marketplace.core.work import handles
from marketplace.cutover.pairing import pair_flow
from marketplace.cutover.rehearsal import rehearse
from marketplace.mapping.models import Flow, Stage
from tenants.context import tenant


@handles("pair")
def pair(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Compare one flow's shadow postings with the ledger; `key` is the flow."""
    with tenant(tenant_id):
        flow = Flow.objects.select_for_update(of=("self",), no_key=True).select_related("target").get(pk=key)
        if flow.stage == Stage.PARALLEL:
            tell = partial(_tell, tenant_id, "pair", key)
            pair_flow(flow=flow, tell=tell)
    return None


def _tell(tenant_id: uuid.UUID, kind: str, key: str, done: int, total: int) -> None:
    tell_progress(tenant_id=tenant_id, kind=kind, key=key, done=done, total=total)


@handles("rehearse")
def run_sandbox(tenant_id: uuid.UUID, key: str) -> dt.timedelta | None:
    """Run the sandbox cases of one flow; `key` is the flow."""
    rehearse(tenant_id=tenant_id, flow_id=uuid.UUID(key), tell=partial(_tell, tenant_id, "rehearse", key))
    return None
