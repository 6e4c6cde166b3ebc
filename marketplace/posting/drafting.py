"""How a planned document goes out, for the mapping's preview: the same key, mark and draft status as when it is sent."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from connectors.sdk.streams import Draft
from marketplace.mapping.drafting import drafts_documents
from marketplace.mapping.models import Flow
from marketplace.mapping.plan import PlannedDocument
from marketplace.posting.keys import marked, posting_key
from marketplace.posting.planning import writes_drafts
from marketplace.sync.columns import columns_of
from tenants.models import Tenant

_UTC = ZoneInfo("UTC")


@drafts_documents
def first_draft(owner: Tenant, flow: Flow, external_id: str, planned: PlannedDocument) -> Draft:
    """The draft of a document that has not been posted before."""
    key = posting_key(tenant_id=owner.pk, flow_id=flow.pk, external_id=external_id, purpose=planned.purpose, version=1)
    return Draft(
        key=key,
        reference=marked(columns_of(planned.document, _UTC).reference, key),
        document=planned.document,
        as_draft=writes_drafts(flow),
    )
