"""The trail and its export."""

from django.urls import path

from marketplace.audit import firm_views, views

urlpatterns = [
    path("o/<slug:tenant_slug>/audit/", views.audit_trail, name="audit_trail"),
    path("o/<slug:tenant_slug>/audit/export.csv", views.export, name="audit_export"),
    path("firms/<int:firm_id>/trail/", firm_views.trail, name="firm_trail"),
    path("firms/<int:firm_id>/trail/export.csv", firm_views.export, name="firm_trail_export"),
]
