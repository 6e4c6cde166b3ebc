"""The unified read API."""

from django.urls import path

from marketplace.api import views

urlpatterns = [
    path("api/o/<slug:tenant_slug>/flows", views.Flows.as_member_view(), name="api_flows"),
    path("api/o/<slug:tenant_slug>/postings", views.Postings.as_member_view(), name="api_postings"),
    path("api/o/<slug:tenant_slug>/outcomes", views.Outcomes.as_member_view(), name="api_outcomes"),
    path("api/o/<slug:tenant_slug>/proof", views.Proof.as_member_view(), name="api_proof"),
]
