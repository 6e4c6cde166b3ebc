"""Load, form, one operation, redirect."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_POST

from tenants.access import SignedInRequest, TenantRequest, member, public_page, signed_in
from tenants.choices import ROLE_MEANINGS, Role
from tenants.firms import leave_firm
from tenants.forms import BusinessForm, FindBusinessForm, InvitationForm, RoleForm
from tenants.models import Tenant
from tenants.operations import (
    UnableToAcceptInvitation,
    UnableToChangeMembers,
    accept_invitation,
    change_role,
    create_business,
    invitation_for_token,
    invite_member,
    remove_member,
    withdraw_invitation,
)
from tenants.queries import (
    firms_of,
    fitting,
    invitations_for,
    members_of,
    open_invitations,
    summarised,
    tenants_of,
)

BUSINESSES_A_PAGE = 50


def home_url(tenant: Tenant) -> str:
    """The first page of a business."""
    try:
        return reverse("home", args=[tenant.slug])
    except NoReverseMatch:
        return reverse("members", args=[tenant.slug])


@signed_in
def start(request: SignedInRequest) -> HttpResponse:
    """The business opened last, or the only one; else the choice; else a new one."""
    ours = list(tenants_of(request.user)[:2])
    last = list(tenants_of(request.user).filter(slug=request.session.get("last_tenant"))) if len(ours) > 1 else []
    if last or len(ours) == 1:
        return redirect(home_url((last or ours)[0]))
    has_choice = ours or invitations_for(request.user).exists()
    return redirect("businesses" if has_choice else "new_business")


@signed_in
def businesses(request: SignedInRequest) -> HttpResponse:
    """With what waits in each, from its summary: an accountant's hundred clients are ranked without looking into any of them."""
    memberships = summarised(request.user.memberships.live(), request.GET.get("sort", ""))
    form = FindBusinessForm(request.GET, user=request.user)
    form.is_valid()
    wanted = {name: value for name, value in form.cleaned_data.items() if value}
    page = Paginator(fitting(memberships, **wanted), BUSINESSES_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "rows": [(membership, home_url(membership.tenant)) for membership in page],
        "page": page,
        "form": form,
        "wanted": wanted,
        "firms": firms_of(request.user),
        "invitations": invitations_for(request.user),
    }
    return TemplateResponse(request, "tenants/businesses.html", context)


@signed_in
def new_business(request: SignedInRequest) -> HttpResponse:
    form = BusinessForm(request.POST or None)
    if form.is_valid():
        tenant = create_business(owner=request.user, **form.cleaned_data)
        messages.success(request, f"{tenant.legal_name} is ready.")
        return redirect(home_url(tenant))
    return TemplateResponse(request, "tenants/new_business.html", {"form": form})


@public_page
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Shown before log-in too, so that a new colleague knows what the account is for."""
    found = invitation_for_token(token)
    if found is None:
        raise Http404("This invitation has expired, was used, or was withdrawn.")
    return TemplateResponse(request, "tenants/invitation.html", {"invitation": found})


@require_POST
@signed_in
def accept(request: SignedInRequest, invitation_id: int) -> HttpResponse:
    found = get_object_or_404(invitations_for(request.user), pk=invitation_id)
    try:
        membership = accept_invitation(user=request.user, invitation=found)
    except UnableToAcceptInvitation as error:
        messages.error(request, str(error))
        return redirect("businesses")
    messages.success(request, f"You now belong to {membership.tenant.legal_name}.")
    return redirect(home_url(membership.tenant))


@member()
def members(request: TenantRequest) -> HttpResponse:
    return _members_page(request, InvitationForm())


@require_POST
@member(Role.ADMIN)
def invite(request: TenantRequest) -> HttpResponse:
    form = InvitationForm(request.POST)
    if not form.is_valid():
        return _members_page(request, form)
    try:
        invite_member(actor=request.membership, **form.cleaned_data)
    except UnableToChangeMembers as error:
        form.add_error(None, str(error))
        return _members_page(request, form)
    messages.success(request, f"An invitation is on its way to {form.cleaned_data['email']}.")
    return redirect("members", request.tenant.slug)


def _members_page(request: TenantRequest, form: InvitationForm) -> HttpResponse:
    context = {
        "members": members_of(request.tenant),
        "invitations": open_invitations(request.tenant),
        "form": form,
        "may_change": request.membership.may(Role.ADMIN),
    }
    return TemplateResponse(request, "tenants/members.html", context)


@member(Role.ADMIN)
def member_page(request: TenantRequest, member_id: int) -> HttpResponse:
    """Change a colleague's role."""
    found = get_object_or_404(members_of(request.tenant), pk=member_id)
    form = RoleForm(request.POST or None, initial={"role": found.role})
    if form.is_valid():
        try:
            change_role(actor=request.membership, member=found, role=form.cleaned_data["role"])
        except UnableToChangeMembers as error:
            form.add_error("role", str(error))
        else:
            messages.success(request, f"{found.user} is now {form.cleaned_data['role'].label.lower()}.")
            return redirect("members", request.tenant.slug)
    context = {"found": found, "form": form, "meanings": ROLE_MEANINGS.items()}
    return TemplateResponse(request, "tenants/member.html", context)


@member()
def remove(request: TenantRequest, member_id: int) -> HttpResponse:
    """Remove a colleague, or leave."""
    found = get_object_or_404(members_of(request.tenant), pk=member_id)
    is_self = found.pk == request.membership.pk
    if request.method == "POST":
        try:
            remove_member(actor=request.membership, member=found)
        except UnableToChangeMembers as error:
            messages.error(request, str(error))
            return redirect("members", request.tenant.slug)
        messages.success(request, f"{found.user} no longer belongs to {request.tenant.legal_name}.")
        return redirect("start") if is_self else redirect("members", request.tenant.slug)
    context = {
        "found": found,
        "is_self": is_self,
        "happens": ["The way into this business closes at once.", "Running work is not stopped."],
        "stays": ["Everything they did, with their name, in the audit trail.", "Their own sign-in."],
    }
    return TemplateResponse(request, "tenants/remove_member.html", context)


@require_POST
@member(Role.ADMIN)
def end_firm(request: TenantRequest) -> HttpResponse:
    leave_firm(actor=request.membership)
    messages.success(
        request, f"{request.tenant.legal_name} is no longer a client of a firm. Who may open it stays as it is."
    )
    return redirect("members", request.tenant.slug)


@require_POST
@member(Role.ADMIN)
def withdraw(request: TenantRequest, invitation_id: int) -> HttpResponse:
    found = get_object_or_404(open_invitations(request.tenant), pk=invitation_id)
    try:
        withdraw_invitation(actor=request.membership, invitation=found)
    except UnableToChangeMembers as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"The invitation to {found.email} is withdrawn.")
    return redirect("members", request.tenant.slug)
