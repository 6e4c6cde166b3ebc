"""The trail and its export."""

from django.urls import path

from marketplace.audit import views

urlpatterns = [
    path("o/<slug:tenant_slug>/audit/", views.audit_trail, name="audit_trail"),
    path("o/<slug:tenant_slug>/audit/export.csv", views.export, name="audit_export"),
]
