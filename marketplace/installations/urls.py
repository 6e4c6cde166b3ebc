"""Connecting, seeing, reconnecting and disconnecting systems of one business."""

from django.urls import path

from marketplace.installations import views

urlpatterns = [
    path("o/<slug:tenant_slug>/catalogue/<slug:slug>/install/", views.install, name="install"),
    path("o/<slug:tenant_slug>/connections/", views.connections, name="connections"),
    path("o/<slug:tenant_slug>/connections/choose/<uuid:state_id>/", views.choose, name="choose_organisation"),
    path("o/<slug:tenant_slug>/connections/<uuid:connection_id>/", views.connection, name="connection"),
    path("o/<slug:tenant_slug>/connections/<uuid:connection_id>/connected/", views.connected, name="connected"),
    path("o/<slug:tenant_slug>/connections/<uuid:connection_id>/reconnect/", views.reconnect, name="reconnect"),
    path("o/<slug:tenant_slug>/connections/<uuid:connection_id>/uninstall/", views.uninstall_page, name="uninstall"),
]
