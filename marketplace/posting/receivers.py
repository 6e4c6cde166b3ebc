"""What news from below asks of this slice."""

from __future__ import annotations

import uuid
from typing import Any

from django.dispatch import receiver

from marketplace.core.work import request_work
from marketplace.mapping.models import Flow, Stage
from marketplace.mapping.templates import template
from marketplace.sync.signals import records_changed
from tenants.context import current_tenant


@receiver(records_changed)
def plan_flows_of_source(*, connection_id: uuid.UUID, data_types: set[str], **kwargs: Any) -> None:
    """Records changed at a source: its flows have something to plan."""
    for flow in Flow.objects.filter(source_id=connection_id, is_paused=False).exclude(
        stage__in=[Stage.SET_UP, Stage.SANDBOX]
    ):
        if template(flow.template).source_type in data_types:
            request_work(tenant_id=current_tenant().pk, kind="plan", key=str(flow.pk))
