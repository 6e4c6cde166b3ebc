"""The door of the API: a signed-in member, inside one business; JSON for every refusal."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

from django.http import HttpResponseBase
from django.utils import timezone
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tenants.choices import Role
from tenants.context import tenant as tenant_context
from tenants.models import Tenant, User
from tenants.queries import live_membership


class SessionOfBrowser(SessionAuthentication):
    """Who is not signed in is told so with 401, as an API client expects."""

    def authenticate_header(self, request: Request) -> str:
        return "Session"


class TenantView(APIView):
    """Reads of one business. Strangers get the same 404 as for a business that does not exist."""

    authentication_classes = [SessionOfBrowser]
    http_method_names = ["get", "head", "options"]
    tenant: Tenant

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """The tenant's context stays open until the answer is rendered."""
        with ExitStack() as self.opened:
            response = cast(Response, super().dispatch(request, *args, **kwargs))
            response.render()
            return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        membership = live_membership(user=cast(User, request.user), tenant_slug=kwargs["tenant_slug"])
        if membership is None:
            raise NotFound("No such business.")
        self.tenant = membership.tenant
        self.opened.enter_context(timezone.override(self.tenant.time_zone))
        self.opened.enter_context(tenant_context(self.tenant))

    @classmethod
    def as_member_view(cls) -> Any:
        """For the URL conf; says who may open it, like every view of ours."""
        view = cls.as_view()
        view.policy = Role.VIEWER.value  # type: ignore[attr-defined]
        return view
