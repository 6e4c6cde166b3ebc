"""The catalogue and its listings, inside a business; the drawings of the connectors, for any page."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import cache_control

from connectors.registry import Connector, UnknownConnector, connector, connectors
from marketplace.catalogue.diagram import diagram_of
from marketplace.catalogue.forms import SearchForm
from marketplace.catalogue.queries import (
    CATEGORY_NAMES,
    cards_of,
    limit_in_words,
    matching,
    purpose_of,
    rules_by_tier,
    tier_of,
)
from marketplace.catalogue.readme import readme_of
from tenants.access import TenantRequest, member, public_page
from tenants.choices import Role
from tenants.queries import people_with_role


def connector_or_404(slug: str) -> Connector:
    try:
        return connector(slug)
    except UnknownConnector:
        raise Http404("The catalogue has no such connector.") from None


@member()
def catalogue(request: TenantRequest) -> HttpResponse:
    form = SearchForm(request.GET)
    chosen = form.cleaned_data if form.is_valid() else {}
    every = list(connectors().values())
    context = {"form": form, "cards": cards_of(matching(every, **chosen)), "total": len(every)}
    return TemplateResponse(request, "catalogue/catalogue.html", context)


@member()
def listing(request: TenantRequest, slug: str) -> HttpResponse:
    found = connector_or_404(slug)
    context = {
        "found": found,
        "manifest": found.manifest,
        "category": CATEGORY_NAMES[found.manifest.category],
        "purpose": purpose_of(found),
        "tier": tier_of(found),
        "tiers": rules_by_tier(found),
        "diagram": diagram_of(found),
        "limits": [limit_in_words(limit) for limit in found.manifest.limits],
        "readme": readme_of(slug),
        "may_connect": request.membership.may(Role.ADMIN),
        "people": people_with_role(request.tenant, Role.ADMIN),
    }
    return TemplateResponse(request, "catalogue/listing.html", context)


@cache_control(public=True, max_age=86_400)
@public_page
def logo(request: HttpRequest, slug: str) -> HttpResponse:
    """Drawn by us and the same for everybody."""
    return HttpResponse(connector_or_404(slug).logo, content_type="image/svg+xml")
