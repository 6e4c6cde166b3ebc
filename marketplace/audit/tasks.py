"""What is done for the trails by the clock."""

from __future__ import annotations

import logging

from marketplace.audit.anchors import AnchorsDamaged, anchors_of_all, append_anchors
from marketplace.audit.operations import verify_trail
from tenants.context import tenant
from tenants.firms import verify_trail as verify_firm_trail
from tenants.models import Firm, Tenant
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
    """One sentence for each trail that is not whole, and for the file of anchors."""
    sentences, anchors = [], {}
    try:
        anchors = anchors_of_all()
    except AnchorsDamaged as error:
        sentences.append(f"the file of anchors is damaged: {error}")
    for owner in Tenant.objects.order_by("pk"):
        with tenant(owner):
            broken = verify_trail(anchors.get(str(owner.pk), []))
        if broken:
            sentences.append(f"{owner.slug}: not whole at {', '.join(map(str, broken[:20]))}")
    for firm in Firm.objects.order_by("pk"):
        broken = verify_firm_trail(firm)
        if broken:
            sentences.append(f"firm {firm.pk}: not whole at {', '.join(map(str, broken[:20]))}")
    for sentence in sentences:
        log.error("audit trail: %s", sentence)
    return sentences
