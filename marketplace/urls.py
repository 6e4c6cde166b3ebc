"""Every page. Tenants are addressed by path (/o/<slug>/...), so one login and one origin serve them all."""

from importlib.util import find_spec

from django.apps import apps
from django.urls import URLPattern, URLResolver, include, path

_SLICES = (
    "core",
    "audit",
    "catalogue",
    "installations",
    "mapping",
    "sync",
    "posting",
    "cutover",
    "overview",
    "api",
)


def _present(prefix: str, module: str) -> list[URLResolver | URLPattern]:
    is_present = apps.is_installed(module.rpartition(".")[0]) and find_spec(module)
    return [path(prefix, include(module))] if is_present else []


urlpatterns: list[URLResolver | URLPattern] = [
    path("user/", include("allauth.urls")),
    path("", include("tenants.urls")),
    *_present("connect/", "marketplace.installations.connect_urls"),
    *_present("webhooks/", "marketplace.sync.webhook_urls"),
]
for _slice in _SLICES:
    urlpatterns += _present("", f"marketplace.{_slice}.urls")
