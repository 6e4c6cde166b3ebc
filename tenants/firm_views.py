"""The pages of an accounting firm: its people, its clients, and who may open which."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_POST

from tenants import firms
from tenants.access import FirmRequest, SignedInRequest, firm_staff, signed_in
from tenants.choices import FirmRole, Role
from tenants.firms import UnableToChangeFirm
from tenants.forms import AccessForm, FirmForm, StaffForm, TakeInForm
from tenants.models import Tenant


@signed_in
def new_firm(request: SignedInRequest) -> HttpResponse:
    form = FirmForm(request.POST or None)
    if form.is_valid():
        made = firms.create_firm(user=request.user, name=form.cleaned_data["name"])
        messages.success(request, f"{made} is set up. Now take in the businesses that are its clients.")
        return redirect("firm", made.pk)
    return TemplateResponse(request, "tenants/new_firm.html", {"form": form})


@firm_staff()
def firm(request: FirmRequest) -> HttpResponse:
    return _firm_page(request)


def _firm_page(request: FirmRequest, **forms: Any) -> HttpResponse:
    """With a form that was not taken in as it was typed."""
    is_partner = request.staff.role == FirmRole.PARTNER
    context = {
        "firm": request.firm,
        "own": request.staff,
        "is_partner": is_partner,
        "staff": firms.staff_of(request.firm),
        "client_count": firms.clients_open_to(request.user, request.firm).count(),
    }
    if is_partner:
        context |= {
            "staff_form": StaffForm(),
            "take_in_form": _take_in_form(request),
            "access_form": _access_form(request),
        }
    return TemplateResponse(request, "tenants/firm.html", context | forms, status=422 if forms else 200)


def _take_in_form(request: FirmRequest, data: Any = None) -> TakeInForm:
    return TakeInForm(data, candidates=firms.may_be_clients(request.user))


def _access_form(request: FirmRequest, data: Any = None) -> AccessForm:
    administered = firms.clients_open_to(request.user, request.firm).filter(role__in=[Role.ADMIN, Role.OWNER])
    clients = Tenant.objects.filter(pk__in=administered.values("tenant")).order_by("legal_name")
    return AccessForm(data, staff=request.firm.firmstaff_set.select_related("user"), clients=clients)


@require_POST
@firm_staff(FirmRole.PARTNER)
def add(request: FirmRequest) -> HttpResponse:
    form = StaffForm(request.POST)
    if form.is_valid():
        role = FirmRole(form.cleaned_data["role"])
        try:
            found = firms.add_staff(actor=request.staff, email=form.cleaned_data["email"], role=role)
        except UnableToChangeFirm as error:
            form.add_error("email", str(error))
        else:
            messages.success(request, f"{found.user} belongs to {request.firm} now.")
            return redirect("firm", request.firm.pk)
    return _firm_page(request, staff_form=form)


@require_POST
@firm_staff()
def remove(request: FirmRequest, staff_id: int) -> HttpResponse:
    """Partners remove anybody; everybody may leave."""
    found = get_object_or_404(request.firm.firmstaff_set.select_related("user"), pk=staff_id)
    is_self = found.pk == request.staff.pk
    if not is_self and request.staff.role != FirmRole.PARTNER:
        messages.error(request, "Only a partner removes somebody else.")
        return redirect("firm", request.firm.pk)
    try:
        firms.remove_staff(actor=request.staff, leaving=found)
    except UnableToChangeFirm as error:
        messages.error(request, str(error))
        return redirect("firm", request.firm.pk)
    messages.success(
        request,
        f"{found.user} no longer belongs to {request.firm}. What they may open at clients is taken there, under Members.",
    )
    return redirect("businesses") if is_self else redirect("firm", request.firm.pk)


@require_POST
@firm_staff(FirmRole.PARTNER)
def take_in(request: FirmRequest) -> HttpResponse:
    form = _take_in_form(request, request.POST)
    if not form.is_valid():
        return _firm_page(request, take_in_form=form)
    count = firms.take_in_clients(actor=request.staff, tenants=form.cleaned_data["clients"])
    messages.success(
        request, f"{count} {'business is' if count == 1 else 'businesses are'} clients of {request.firm} now."
    )
    return redirect("firm", request.firm.pk)


@require_POST
@firm_staff(FirmRole.PARTNER)
def access(request: FirmRequest) -> HttpResponse:
    form = _access_form(request, request.POST)
    if not form.is_valid():
        return _firm_page(request, access_form=form)
    person, asked = form.cleaned_data["person"], form.cleaned_data["clients"]
    count = firms.give_access(actor=request.staff, to=person, tenants=asked, role=Role(form.cleaned_data["role"]))
    left = len(asked) - count
    messages.success(
        request,
        f"{person.user} may open {count} more client{'' if count == 1 else 's'}."
        + (f" At {left} nothing changed: they could open it already, or your own role there is lower." if left else ""),
    )
    return redirect("firm", request.firm.pk)
