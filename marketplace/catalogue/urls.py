"""The catalogue, a listing, a logo."""

from django.urls import path

from marketplace.catalogue import views

urlpatterns = [
    path("o/<slug:tenant_slug>/catalogue/", views.catalogue, name="catalogue"),
    path("o/<slug:tenant_slug>/catalogue/<slug:slug>/", views.listing, name="listing"),
    path("connectors/<slug:slug>/logo.svg", views.logo, name="connector_logo"),
]
