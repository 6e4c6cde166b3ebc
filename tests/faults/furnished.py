"""Three businesses alike in everything but a mark in every text they hold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import msgspec
from django.apps import apps
from django.db import models
from django.db.models import Value
from django.db.models.functions import Cast, Concat
from django.test import Client
from django.utils import timezone

from connectors.sdk.records import Party
from marketplace.audit.operations import record_act
from marketplace.core.clock import now
from marketplace.cutover.models import Pair
from marketplace.installations.models import ConsentEntry
from marketplace.mapping.models import Flow, Stage
from marketplace.posting.models import Posting, PostingBatch, RecordOutcome
from marketplace.posting.planning import plan_flow
from marketplace.sync.models import Record, RejectedRow, SyncRun
from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.models import Firm, FirmStaff, Invitation, Membership, Tenant, User
from tenants.operations import create_business
from tests.conftest import make_user
from tests.cutover.world import make_flow, store_lists
from tests.posting.world import PLACED, arrive, order, read_as

SLICES = ("installations", "mapping", "sync", "posting", "cutover")
#: Texts that other things are found by; everything else of at least so many characters is marked.
FOUND_BY = frozenset({"organisation_id", "field"})
LONG = 100
#: Refuse to be changed once they are written; they are written with the mark.
APPEND_ONLY = frozenset({"ConsentEntry"})
ROLES = tuple(Role)
PASTS = ("expired", "removed", "blocked", "firm")


@dataclass
class Business:
    """A business, its mark, who belongs or belonged to it, and the ids of what it holds by the names URLs give them."""

    tenant: Tenant
    mark: str
    people: dict[str, User] = field(default_factory=dict)
    ids: dict[str, Any] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)

    def client(self, person: str) -> Client:
        if person not in self.clients:
            self.clients[person] = Client()
            self.clients[person].force_login(self.people[person])
        return self.clients[person]


def furnished(name: str) -> Business:
    mark = f"canary-{name}-{uuid4().hex[:8]}"
    people = {role.value: make_user(f"{role.value}.{mark}") for role in ROLES}
    tenant = create_business(
        owner=people["owner"],
        legal_name=f"{name.title()} {mark}",
        country="GB",
        base_currency="GBP",
        time_zone="Europe/London",
    )
    Tenant.objects.filter(pk=tenant.pk).update(slug=name)
    tenant.refresh_from_db()
    business = Business(tenant, mark, people)
    _add_people(business)
    with tenant_context(tenant):
        _fill(business)
        _mark(mark)
    return business


def _add_people(business: Business) -> None:
    """The live ones, and everybody who has no business here any more."""
    tenant, people = business.tenant, business.people
    for role in ROLES[:-1]:
        Membership.objects.create(user=people[role.value], tenant=tenant, role=role)
    for past in PASTS:
        people[past] = make_user(f"{past}.{business.mark}")
    yesterday = timezone.now() - dt.timedelta(days=1)
    Membership.objects.create(user=people["expired"], tenant=tenant, role=Role.OWNER, expires_at=yesterday)
    Membership.objects.create(user=people["blocked"], tenant=tenant, role=Role.OWNER)
    business.client("blocked")
    User.objects.filter(pk=people["blocked"].pk).update(is_active=False)
    Membership.objects.create(user=people["removed"], tenant=tenant, role=Role.OWNER).delete()
    firm = Firm.objects.create(name=f"Firm {business.mark}")
    FirmStaff.objects.create(firm=firm, user=people["firm"])
    Tenant.objects.filter(pk=tenant.pk).update(firm=firm)
    tenant.refresh_from_db()
    Invitation.objects.create(
        tenant=tenant, email=f"asked@{business.mark}.example", role=Role.VIEWER, token_hash=business.mark,
        invited_by=people["owner"], expires_at=timezone.now() + dt.timedelta(days=1),
    )  # fmt: skip


def _fill(business: Business) -> None:
    """A flow that is live, with something of every kind."""
    user, mark = business.people["owner"], business.mark
    made = make_flow(user, stage=Stage.LIVE, targets={"note": mark})
    store_lists(made)
    orders = [order(1), order(2, "60.00"), order(3, "412.00", method="klarna"), order(4, is_test=True)]
    named = [msgspec.structs.replace(one, customer=Party(id="c1", name=f"Ada {mark}"), note=mark) for one in orders]
    arrive(made.source, *(read_as(one, channel=mark) for one in named))
    plan_flow(owner=business.tenant, flow=Flow.objects.select_related("source", "target", "mapping").get(pk=made.pk))
    batch = PostingBatch.objects.create(
        connection=made.target, data_type="invoice", key="k", request={"body": mark}, request_digest="d", state="settled",
        size=2, calls=1, sent_at=PLACED, answered_at=PLACED,
    )  # fmt: skip
    Posting.objects.filter(state="planned").update(
        state="posted", external_id=Cast("pk", models.TextField()), batch=batch
    )
    RecordOutcome.objects.filter(state="pending").update(state="posted")
    posting, outcome = Posting.objects.order_by("pk")[0], RecordOutcome.objects.filter(state="held")[0]
    record = Record.objects.filter(data_type="order").order_by("pk")[0]
    row = RejectedRow.objects.create(
        connection=made.source,
        data_type="order",
        external_id="9",
        reason=f"No currency {mark}",
        raw={"name": mark},
        at=now(),
    )
    SyncRun.objects.create(
        connection=made.source,
        data_type="order",
        trigger="poll",
        state="stopped",
        started_at=now(),
        problem="Odd answer",
    )
    pair = Pair.objects.create(
        flow=made, posting=posting, data_type="invoice", verdict="missing_in_theirs", occurred_on=PLACED.date(),
        money=1, currency="GBP", paired_at=now(),
    )  # fmt: skip
    ConsentEntry.objects.create(
        installation=made.source.installation, kind="agreed", user=user, actor=mark, connector_version="1", purpose=mark,
        data_types=["order"], scopes=[], duration=mark, organisation=mark, at=now(),
    )  # fmt: skip
    record_act(user=user, action="flow.live", subject=made, summary=f"Went live {mark}", details={"note": mark})
    business.ids |= {
        "flow_id": made.pk, "connection_id": made.source_id, "record_id": record.pk, "posting_id": posting.pk,
        "outcome_id": outcome.pk, "row_id": row.pk, "pair_id": pair.pk, "number": 1,
        "member_id": Membership.objects.get(tenant=business.tenant, user=business.people["viewer"]).pk,
        "invitation_id": Invitation.objects.get(tenant=business.tenant).pk,
    }  # fmt: skip


def _mark(mark: str) -> None:
    """Every text of every row, whatever columns there are by now."""
    for model in models_marked():
        for column in texts_of(model):
            model._default_manager.update(
                **{column: Concat(column, Value(f" {mark}"), output_field=models.TextField())}
            )


def models_marked() -> Iterator[type[models.Model]]:
    for label in SLICES:
        yield from (model for model in apps.get_app_config(label).get_models() if model.__name__ not in APPEND_ONLY)


def texts_of(model: type[models.Model]) -> list[str]:
    """The columns somebody's words may stand in."""
    found = [one for one in model._meta.fields if isinstance(one, models.CharField | models.TextField)]
    return [
        one.name
        for one in found
        if not one.choices and not one.unique and (one.max_length or LONG) >= LONG and one.name not in FOUND_BY
    ]


def nothing(kind: str) -> Any:
    """An id that no business has."""
    return {"uuid": UUID(int=4), "int": 987654321, "slug": "no-such-thing", "str": "2026-10-10"}[kind]
