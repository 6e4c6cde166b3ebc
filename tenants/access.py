"""Who may open which page. Every view carries one of these decorators; a test walks the URLs and fails if one does not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.utils import timezone
from psycopg.errors import DeadlockDetected, SerializationFailure

from tenants.choices import FirmRole, Role
from tenants.confirming import require_confirmation
from tenants.context import tenant as tenant_context
from tenants.firms import record_opening
from tenants.models import Firm, FirmStaff, Membership, Tenant, User
from tenants.queries import live_membership, people_with_role

P = ParamSpec("P")


class SignedInRequest(HttpRequest):
    """A request by a person we know."""

    user: User


class TenantRequest(SignedInRequest):
    """A request by a member, inside their business."""

    tenant: Tenant
    membership: Membership


class FirmRequest(SignedInRequest):
    """A request by somebody who belongs to an accounting firm."""

    firm: Firm
    staff: FirmStaff


def _with_policy(view: Callable[..., HttpResponseBase], policy: str) -> Callable[..., HttpResponseBase]:
    view.policy = policy  # type: ignore[attr-defined]
    return view


def public_page(
    view: Callable[Concatenate[HttpRequest, P], HttpResponseBase],
) -> Callable[..., HttpResponseBase]:
    """Anybody may open it: say so, instead of forgetting to say otherwise."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        return view(request, *args, **kwargs)

    return _with_policy(wrapped, "public")


def signed_in(
    view: Callable[Concatenate[SignedInRequest, P], HttpResponseBase],
) -> Callable[..., HttpResponseBase]:
    """Anybody who has logged in."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return view(cast(SignedInRequest, request), *args, **kwargs)

    return _with_policy(wrapped, "signed_in")


def member(
    role: str = Role.VIEWER, *, opens_context: bool = True, confirms: Collection[str] = ()
) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Pages under /o/<slug:tenant_slug>/, for live members with at least this role.

    A stranger learns nothing: 404, as for a business that does not exist. A member whose role is too low is told who can
    help. The view runs, and its template is rendered, inside the tenant's context. A view that talks to a provider takes
    `opens_context=False` and opens `with tenant(request.tenant)` around its database work, so that no transaction
    waits for somebody else's server. `confirms`: the methods for which the person must have shown lately that it is them.
    """
    least = Role(role)

    def decorate(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def wrapped(request: HttpRequest, *, tenant_slug: str, **kwargs: Any) -> HttpResponseBase:
            def answer() -> HttpResponseBase:
                return answer_to(request, tenant_slug, **kwargs)

            return _again_if_undone(answer) if opens_context and request.method in _SAFE else answer()

        def answer_to(request: HttpRequest, tenant_slug: str, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            ours = _enter(request, tenant_slug)
            opened = tenant_context(ours.tenant) if opens_context else nullcontext()
            with timezone.override(ours.tenant.time_zone), opened:
                if not ours.membership.may(least):
                    return _rendered(_role_needed(ours, least))
                if request.method in confirms:
                    require_confirmation(request)
                return _rendered(view(ours, **kwargs))

        wrapped.confirms = frozenset(confirms)  # type: ignore[attr-defined]
        return _with_policy(wrapped, least.value)

    return decorate


def firm_staff(
    role: str = FirmRole.STAFF, *, confirms: Collection[str] = ()
) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Pages under /firms/<int:firm_id>/, for people of that firm; with `role` partner, for its partners. A stranger gets 404.
    They show nothing of a client but its name: whatever lies in a business is behind `member`."""

    def decorate(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def wrapped(request: HttpRequest, *, firm_id: int, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            staff = FirmStaff.objects.select_related("firm").filter(user=request.user, firm=firm_id).first()
            if staff is None:
                raise Http404("No such firm.")
            if role == FirmRole.PARTNER and staff.role != FirmRole.PARTNER:
                raise PermissionDenied
            if request.method in confirms:
                require_confirmation(request)
            ours = cast(FirmRequest, request)
            ours.firm, ours.staff = staff.firm, staff
            staff.user = ours.user
            return view(ours, **kwargs)

        wrapped.confirms = frozenset(confirms)  # type: ignore[attr-defined]
        return _with_policy(wrapped, f"firm_{role}")

    return decorate


_SAFE = ("GET", "HEAD")
#: For `confirms`: what takes a form in, and what shows one or gives something out as well.
SENDING = ("POST",)
SHOWING = (*_SAFE, *SENDING)


def _again_if_undone(answer: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """A page's transaction that gave way to another, a migration's perhaps, is undone; done once more it is as if it had come later."""
    try:
        return answer()
    except OperationalError as error:
        if not isinstance(error.__cause__, DeadlockDetected | SerializationFailure):
            raise
    return answer()


def _enter(request: HttpRequest, tenant_slug: str) -> TenantRequest:
    membership = live_membership(user=cast(User, request.user), tenant_slug=tenant_slug)
    if membership is None:
        raise Http404("No such business.")
    ours = cast(TenantRequest, request)
    ours.tenant, ours.membership = membership.tenant, membership
    # Spares a query wherever the membership's person is shown.
    membership.user = ours.user
    if request.session.get("last_tenant") != tenant_slug:
        request.session["last_tenant"] = tenant_slug
    if membership.tenant.firm_id is not None:
        _note_opening(ours)
    return ours


def _note_opening(request: TenantRequest) -> None:
    """Who of a firm looked into which client stands in the firm's trail, once a day for each session."""
    day, slug = timezone.now().date().isoformat(), request.tenant.slug
    known = request.session.get("opened", {})
    today = known.get(day, [])
    if slug not in today:
        record_opening(request.membership)
        request.session["opened"] = {day: [*today, slug]}


def _rendered(response: HttpResponseBase) -> HttpResponseBase:
    """Lazy templates read the tenant's rows: render them while its context is open."""
    if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
        return response.render()
    return response


def _role_needed(request: TenantRequest, role: Role) -> HttpResponse:
    context = {"needed": role, "people": people_with_role(request.tenant, role)}
    return TemplateResponse(request, "tenants/role_needed.html", context, status=403)
