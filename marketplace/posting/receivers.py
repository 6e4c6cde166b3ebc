"""What news from below asks of this slice."""

from __future__ import annotations

import uuid
from typing import Any

from django.dispatch import receiver

from marketplace.core.work import request_work
from marketplace.mapping.models import Flow, Stage
from marketplace.mapping.signals import mapping_saved, rules_changed
from marketplace.mapping.templates import template
from marketplace.posting.models import RecordOutcome
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


@receiver(mapping_saved)
def replay_what_was_held(*, flow_id: uuid.UUID, reason_codes: tuple[str, ...], **kwargs: Any) -> None:
    """A mapping was corrected: what was held for it is planned again. In parallel everything is, so that the comparison shows
    what the new mapping would post."""
    flow = Flow.objects.get(pk=flow_id)
    held = RecordOutcome.objects.filter(flow=flow, state=RecordOutcome.State.HELD, reason_code__in=reason_codes)
    held.update(is_replay_asked=True)
    if flow.stage == Stage.PARALLEL:
        RecordOutcome.objects.filter(flow=flow, state=RecordOutcome.State.SHADOW).update(is_replay_asked=True)
    request_work(tenant_id=current_tenant().pk, kind="plan", key=str(flow.pk))


@receiver(rules_changed)
def replay_what_was_excluded(*, flow_ids: set[uuid.UUID], reason_codes: tuple[str, ...], **kwargs: Any) -> None:
    """A scope or a source of truth was changed: what it had excluded or held is judged again."""
    decided = (RecordOutcome.State.EXCLUDED, RecordOutcome.State.HELD)
    judged = RecordOutcome.objects.filter(flow_id__in=flow_ids, state__in=decided, reason_code__in=reason_codes)
    judged.update(is_replay_asked=True)
    for flow_id in flow_ids:
        request_work(tenant_id=current_tenant().pk, kind="plan", key=str(flow_id))
