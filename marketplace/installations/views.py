"""Install with consent, connect, reconnect, uninstall. Our page first, then the provider's, then the choice of the organisation."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_GET

from connectors.registry import Connector, UnknownConnector, connector
from marketplace.catalogue.queries import data_type_name, limit_in_words, purpose_of
from marketplace.installations.clients import budget_of
from marketplace.installations.forms import InstallForm, OrganisationForm
from marketplace.installations.models import Connection, Installation
from marketplace.installations.operations import (
    DURATION,
    ConsentDenied,
    UnableToConnect,
    UnableToInstall,
    choose_organisation,
    finish_consent,
    install_connector,
    start_consent,
    uninstall,
    waiting_consent,
)
from marketplace.installations.queries import (
    connection_with,
    consents_of,
    ended_connections,
    ending_of,
    live_connections,
    organisation_choices,
    telling_of,
)
from marketplace.installations.registrations import environments_of, is_offered
from tenants.access import SHOWING, SignedInRequest, TenantRequest, member, signed_in
from tenants.choices import Role
from tenants.context import tenant


def _connector_or_404(slug: str) -> Connector:
    try:
        return connector(slug)
    except UnknownConnector:
        raise Http404("There is no such connector.") from None


def _connection_or_404(pk: uuid.UUID, *, is_live: bool = False) -> Connection:
    found = connection_with(pk)
    if found is None or (is_live and found.state == Connection.State.DISCONNECTED):
        raise Http404("There is no such connection.")
    return found


def _steps(found: Connector) -> list[str]:
    return ["What it may do", f"Consent at {found.manifest.name}", "Choose the organisation"]


def _about(found: Connector) -> dict[str, Any]:
    return {"found": found, "manifest": found.manifest, "steps": _steps(found)}


def _redirect_uri(found: Connector) -> str:
    """One callback per connector, so that an answer meant for one provider is never taken for another's."""
    return settings.PUBLIC_URL + reverse("connect_callback", args=[found.slug])


@member()
def connections(request: TenantRequest) -> HttpResponse:
    context = {
        "live": [(found, connector(found.connector).manifest) for found in live_connections()],
        "ended": [(found, connector(found.connector).manifest, ending_of(found)) for found in ended_connections()],
        "may_connect": request.membership.may(Role.ADMIN),
    }
    return TemplateResponse(request, "installations/connections.html", context)


@member()
def connection(request: TenantRequest, connection_id: uuid.UUID) -> HttpResponse:
    found = _connection_or_404(connection_id)
    context = {
        **_about(connector(found.connector)),
        "connection": found,
        "consents": consents_of(found),
        "ending": ending_of(found),
        "telling": telling_of(found),
        "limits": [limit_in_words(limit) for limit in connector(found.connector).manifest.limits],
        "calls_left": _calls_left(found),
        "is_live": found.state != Connection.State.DISCONNECTED,
        "may_connect": request.membership.may(Role.ADMIN),
    }
    return TemplateResponse(request, "installations/connection.html", context)


def _calls_left(found: Connection) -> int | None:
    """Of the day's, where the provider counts by the day."""
    budget = budget_of(found)
    is_told = found.state != Connection.State.DISCONNECTED and budget.is_counted_by_the_day
    return budget.room() if is_told else None


@member(Role.ADMIN, confirms=SHOWING)
def install(request: TenantRequest, slug: str) -> HttpResponse:
    found = _connector_or_404(slug)
    form = InstallForm(request.POST or None, found=found, environments=environments_of(slug))
    if form.is_valid():
        typed = dict(form.cleaned_data)
        environment = typed.pop("environment")
        try:
            installation = install_connector(found=found, typed=typed, user=request.user)
        except UnableToInstall as error:
            form.add_error(error.field, str(error))
        else:
            return _on_to_the_provider(request, installation, environment)
    return _consent_page(request, found, form=form)


@member(Role.ADMIN, confirms=SHOWING)
def reconnect(request: TenantRequest, connection_id: uuid.UUID) -> HttpResponse:
    known = _connection_or_404(connection_id, is_live=True)
    found = connector(known.connector)
    if request.method == "POST":
        try:
            return _on_to_the_provider(request, known.installation, known.environment, known)
        except UnableToConnect as error:
            return _not_connected(request, found, error)
    return _consent_page(request, found, connection=known, is_offered=is_offered(found.slug, known.environment))


def _consent_page(request: TenantRequest, found: Connector, **more: Any) -> HttpResponse:
    manifest = found.manifest
    context = {
        **_about(found),
        "purpose": purpose_of(found),
        "reads": [data_type_name(name).capitalize() for name in manifest.reads],
        "writes": [data_type_name(name).capitalize() for name in manifest.writes],
        "limits": [limit_in_words(limit) for limit in manifest.limits],
        "duration": DURATION,
        "is_offered": bool(environments_of(found.slug)),
        **more,
    }
    return TemplateResponse(request, "installations/consent.html", context)


def _on_to_the_provider(
    request: TenantRequest, installation: Installation, environment: str, known: Connection | None = None
) -> HttpResponse:
    """A page with a link instead of a redirect: browsers refuse a form's redirect to another site under our policy."""
    found = connector(installation.connector)
    url = start_consent(
        installation=installation,
        environment=environment,
        user=request.user,
        session_key=request.session.session_key or "",
        redirect_uri=_redirect_uri(found),
        connection=known,
    )
    context = {**_about(found), "authorize_url": url, "environment": environment, "connection": known}
    response = TemplateResponse(request, "installations/leave.html", context)
    # The page holds a secret of ten minutes, yet going back to it from the provider should work.
    return cache_control(private=True, no_cache=True)(lambda _request: response)(request)


@require_GET
@never_cache
@signed_in
def callback(request: SignedInRequest, slug: str) -> HttpResponse:
    """Where every provider sends the person back to. Its HTTP calls happen outside any tenant's context."""
    found = _connector_or_404(slug)
    session_key = request.session.session_key or ""
    try:
        consent = finish_consent(slug=slug, params=request.GET.dict(), user=request.user, session_key=session_key)
        owner = consent.state.tenant
        if len(consent.organisations) > 1:
            return redirect("choose_organisation", owner.slug, consent.state.pk)
        with tenant(owner):
            chosen = choose_organisation(
                state=consent.state, organisation_id=consent.organisations[0].id, user=request.user
            )
    except UnableToConnect as error:
        return _not_connected(request, found, error)
    return redirect("connected", owner.slug, chosen.pk)


def _not_connected(request: SignedInRequest, found: Connector, error: UnableToConnect) -> HttpResponse:
    """What went wrong and where to go on; a stranger's state tells nothing about whose it is."""
    is_denied = isinstance(error, ConsentDenied)
    context = {"manifest": found.manifest, "error": error, "state": error.state, "is_denied": is_denied}
    status = 403 if is_denied else 400
    return TemplateResponse(request, "installations/not_connected.html", context, status=status)


@member(Role.ADMIN)
def choose(request: TenantRequest, state_id: uuid.UUID) -> HttpResponse:
    try:
        state = waiting_consent(state_id=state_id, user=request.user)
    except UnableToConnect as error:
        return TemplateResponse(request, "installations/choice_closed.html", {"error": error}, status=400)
    found = connector(state.connector)
    known = connection_with(state.connection_id) if state.connection_id else None
    form = OrganisationForm(
        request.POST or None,
        choices=organisation_choices(state.organisations or []),
        initial={"organisation": known.organisation_id} if known else None,
    )
    if form.is_valid():
        chosen_id = form.cleaned_data["organisation"]
        try:
            chosen = choose_organisation(state=state, organisation_id=chosen_id, user=request.user)
        except UnableToConnect as error:
            form.add_error("organisation", str(error))
        else:
            return redirect("connected", request.tenant.slug, chosen.pk)
    context = {**_about(found), "form": form, "known": known}
    return TemplateResponse(request, "installations/choose.html", context)


@member()
def connected(request: TenantRequest, connection_id: uuid.UUID) -> HttpResponse:
    found = _connection_or_404(connection_id, is_live=True)
    about = connector(found.connector)
    context = {
        **_about(about),
        "connection": found,
        "reads": [data_type_name(name).capitalize() for name in about.manifest.reads],
        "is_again": consents_of(found).filter(kind="granted", organisation=found.organisation_name).count() > 1,
    }
    return TemplateResponse(request, "installations/connected.html", context)


@member(Role.ADMIN, confirms=SHOWING)
def uninstall_page(request: TenantRequest, connection_id: uuid.UUID) -> HttpResponse:
    found = _connection_or_404(connection_id, is_live=True)
    manifest = connector(found.connector).manifest
    if request.method == "POST":
        uninstall(connection=found, user=request.user)
        messages.success(request, f"{found.organisation_name} is disconnected.")
        return redirect("connection", request.tenant.slug, found.pk)
    context = {
        "connection": found,
        "manifest": manifest,
        "happens": [
            f"The authorisation at {manifest.name} is ended and our keys to it are destroyed.",
            "Reading stops, and every flow from or to it is paused.",
            f"{manifest.name} is asked to send no more messages about changes.",
        ],
        "stays": [
            "Everything that was posted stays in the ledger.",
            "Records, postings, consents and the audit trail are kept here, so that the books can be explained.",
        ],
    }
    return TemplateResponse(request, "installations/uninstall.html", context)
