"""Every page. Tenants are addressed by path (/o/<slug>/...), so one login and one origin serve them all."""

from django.urls import URLPattern, URLResolver, include, path

handler500 = "marketplace.core.views.trouble"
urlpatterns: list[URLResolver | URLPattern] = [
    path("user/", include("allauth.urls")),
    path("", include("tenants.urls")),
    path("connect/", include("marketplace.installations.connect_urls")),
    path("webhooks/", include("marketplace.sync.webhook_urls")),
    path("", include("marketplace.core.urls")),
    path("", include("marketplace.audit.urls")),
    path("", include("marketplace.catalogue.urls")),
    path("", include("marketplace.installations.urls")),
    path("", include("marketplace.mapping.urls")),
    path("", include("marketplace.sync.urls")),
    path("", include("marketplace.posting.urls")),
    path("", include("marketplace.cutover.urls")),
    path("", include("marketplace.overview.urls")),
    path("", include("marketplace.api.urls")),
]
