"""Where the slice that posts says how a planned document is addressed; the preview shows exactly that."""

from __future__ import annotations

from collections.abc import Callable

from connectors.sdk.streams import Draft
from marketplace.mapping.models import Flow
from marketplace.mapping.plan import PlannedDocument
from tenants.models import Tenant

Drafter = Callable[[Tenant, Flow, str, PlannedDocument], Draft]
_drafters: list[Drafter] = []


def drafts_documents(function: Drafter) -> Drafter:
    """Register the function that gives a document its key and reference; there is one."""
    _drafters[:] = [function]
    return function


def draft_for(owner: Tenant, flow: Flow, external_id: str, planned: PlannedDocument) -> Draft:
    """The draft as it would be sent for a source record that was not posted before."""
    return _drafters[0](owner, flow, external_id, planned)
