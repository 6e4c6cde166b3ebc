"""The unified read API; docs/api.md describes each address."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Model, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ModelSerializer

from marketplace.api.access import TenantView
from marketplace.api.filters import Pages, choice_from, date_from, id_from
from marketplace.api.serializers import FlowShape, OutcomeShape, PostingShape, proof_shape
from marketplace.core.clock import now
from marketplace.mapping.models import Flow
from marketplace.posting.models import Posting, RecordOutcome
from marketplace.posting.planning import PLANNING_STAGES
from marketplace.posting.proof import proofs_of

MOST_DAYS = 366


def _page(request: Request, rows: QuerySet[Any], shape: type[ModelSerializer[Any]]) -> Response:
    pages = Pages()
    found = pages.paginate_queryset(rows, request)
    return pages.get_paginated_response(shape(found or [], many=True).data)


def _narrowed(rows: QuerySet[Any], request: Request, model: type[Model]) -> QuerySet[Any]:
    """By flow, state and day, as lists of both kinds allow."""
    query = request.query_params
    states = [str(value) for value, _ in model._meta.get_field("state").flatchoices]  # type: ignore[union-attr]
    wanted = {
        "flow_id": id_from(query, "flow"),
        "state": choice_from(query, "state", states),
        "occurred_on__gte": date_from(query, "from"),
        "occurred_on__lte": date_from(query, "to"),
    }
    return rows.filter(**{name: value for name, value in wanted.items() if value})


class Flows(TenantView):
    def get(self, request: Request, tenant_slug: str) -> Response:
        rows = Flow.objects.select_related("source", "target", "mapping").order_by("created_at", "pk")
        return _page(request, rows, FlowShape)


class Postings(TenantView):
    def get(self, request: Request, tenant_slug: str) -> Response:
        rows = Posting.objects.select_related("mapping", "record").defer("document", "record__body", "record__raw")
        return _page(request, _narrowed(rows, request, Posting).order_by("id"), PostingShape)


class Outcomes(TenantView):
    def get(self, request: Request, tenant_slug: str) -> Response:
        rows = RecordOutcome.objects.select_related("record").defer("record__body", "record__raw")
        return _page(request, _narrowed(rows, request, RecordOutcome).order_by("id"), OutcomeShape)


class Proof(TenantView):
    def get(self, request: Request, tenant_slug: str) -> Response:
        first, last = self._period(request)
        flows = list(Flow.objects.filter(stage__in=PLANNING_STAGES).order_by("created_at", "pk"))
        proofs = proofs_of(flows, first, last)
        days = [proof_shape(flow, day) for flow in flows for day in proofs[flow.pk]]
        return Response(
            {
                "from": first.isoformat(),
                "to": last.isoformat(),
                "is_proved": all(day["is_proved"] for day in days),
                "days": days,
            }
        )

    def _period(self, request: Request) -> tuple[dt.date, dt.date]:
        """Without dates: the last 31 days of the tenant's calendar."""
        last = date_from(request.query_params, "to") or now().astimezone(ZoneInfo(self.tenant.time_zone)).date()
        first = date_from(request.query_params, "from") or last - dt.timedelta(days=30)
        if not dt.timedelta(0) <= last - first <= dt.timedelta(days=MOST_DAYS):
            raise ValidationError({"from": f"Give a period of at most {MOST_DAYS} days that ends after it begins."})
        return first, last
