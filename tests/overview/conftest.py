"""A live flow with a month of orders: posted, held, excluded, on the way."""

from __future__ import annotations

import pytest

from marketplace.mapping.models import Flow, Stage
from marketplace.posting.models import Posting, PostingBatch, RecordOutcome
from marketplace.posting.planning import plan_flow
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tests.cutover.world import make_flow, store_lists
from tests.posting.world import PLACED, arrive, order, read_as


@pytest.fixture
def flow(tenant: Tenant, alice: User) -> Flow:
    """#1 and #2 posted, #3 held for an unmapped payment method, #4 excluded as a test, all on 10 October 2026."""
    with tenant_context(tenant) as owner:
        made = make_flow(alice, stage=Stage.LIVE)
        store_lists(made)
        orders = [order(1), order(2, "60.00"), order(3, "412.00", method="klarna"), order(4, is_test=True)]
        arrive(made.source, *(read_as(one, channel="web") for one in orders))
        plan_flow(owner=owner, flow=Flow.objects.select_related("source", "target", "mapping").get(pk=made.pk))
        batch = PostingBatch.objects.create(
            connection=made.target,
            data_type="invoice",
            key="k",
            request={"method": "PUT", "path": "/Invoices", "body": {"Invoices": [{"Nr": "1"}, {"Nr": "2"}]}},
            request_digest="d",
            state="settled",
            size=2,
            calls=1,
            sent_at=PLACED,
            answered_at=PLACED,
        )
        for posting in Posting.objects.filter(state="planned"):
            posting.state, posting.external_id = Posting.State.POSTED, f"x{posting.pk}"
            posting.batch = batch if posting.data_type == "invoice" else None
            posting.save()
        RecordOutcome.objects.filter(state="pending").update(state="posted")
        return made
