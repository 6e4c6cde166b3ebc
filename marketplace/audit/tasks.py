"""What is done for the trails by the clock."""

from __future__ import annotations

import logging

from marketplace.audit.anchors import AnchorsDamaged, anchors_of, append_anchors
from marketplace.audit.operations import verify_trail
from tenants.context import tenant
from tenants.models import Tenant
from tenants.tasks import public_task

log = logging.getLogger(__name__)


@public_task(name="audit.anchor", ignore_result=True)
def anchor() -> None:
    append_anchors()


@public_task(name="audit.verify", ignore_result=True)
def verify() -> None:
    """Every trail against its chain and its anchors; what is wrong is in the log for whoever watches it."""
    broken_trails()


def broken_trails() -> list[str]:
    """One sentence for each trail that is not whole."""
    sentences = [sentence for owner in Tenant.objects.order_by("pk") if (sentence := _problem_of(owner))]
    for sentence in sentences:
        log.error("audit trail: %s", sentence)
    return sentences


def _problem_of(owner: Tenant) -> str:
    try:
        anchors = anchors_of(owner.pk)
    except AnchorsDamaged as error:
        return f"the file of anchors is damaged: {error}"
    with tenant(owner):
        broken = verify_trail(anchors)
    return f"{owner.slug}: not whole at {', '.join(map(str, broken[:20]))}" if broken else ""
