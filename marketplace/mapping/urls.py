"""Flows, their field mapping with its versions, the pilot's scope and the source of truth."""

from django.urls import path

from marketplace.mapping import mapping_views, views

_FLOW = "o/<slug:tenant_slug>/flows/<uuid:flow_id>/"

urlpatterns = [
    path("o/<slug:tenant_slug>/flows/", views.flows, name="flows"),
    path("o/<slug:tenant_slug>/flows/new/", views.new_flow, name="new_flow"),
    path("o/<slug:tenant_slug>/flows/new/<slug:template_slug>/", views.add_flow, name="add_flow"),
    path(f"{_FLOW}mapping/", mapping_views.mapping, name="mapping"),
    path(f"{_FLOW}mapping/save/", mapping_views.save, name="save_mapping"),
    path(f"{_FLOW}mapping/preview/", mapping_views.preview, name="preview_mapping"),
    path(f"{_FLOW}mapping/read-lists/", mapping_views.read_lists, name="read_lists"),
    path(f"{_FLOW}mapping/versions/", mapping_views.versions, name="mapping_versions"),
    path(f"{_FLOW}mapping/versions/<int:number>/restore/", mapping_views.restore, name="restore_mapping"),
    path(f"{_FLOW}scope/", views.scope, name="scope"),
    path(f"{_FLOW}scope/save/", views.change_scope, name="change_scope"),
    path("o/<slug:tenant_slug>/source-of-truth/", views.source_of_truth, name="source_of_truth"),
    path("o/<slug:tenant_slug>/source-of-truth/save/", views.decide, name="decide_source_of_truth"),
]
