"""What news from below asks of this slice: whatever changes on either side of a parallel run is compared again."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.db.models import Q
from django.dispatch import receiver

from marketplace.core.work import request_work
from marketplace.mapping.models import Flow, Stage
from marketplace.sync.signals import records_changed
from tenants.context import current_tenant

SETTLE = dt.timedelta(seconds=2)


@receiver(records_changed)
def pair_flows_of_connection(*, connection_id: uuid.UUID, data_types: set[str], **kwargs: Any) -> None:
    """A short delay gathers the pages of one read into one comparison."""
    parallel = Flow.objects.filter(Q(source_id=connection_id) | Q(target_id=connection_id), stage=Stage.PARALLEL)
    for flow in parallel:
        request_work(tenant_id=current_tenant().pk, kind="pair", key=str(flow.pk), delay=SETTLE)
