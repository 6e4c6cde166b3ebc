"""What waits for a person, and deciding about it."""

from django.urls import path

from marketplace.posting import conflict_views, views

urlpatterns = [
    path("o/<slug:tenant_slug>/issues/", views.issue_list, name="issues"),
    path("o/<slug:tenant_slug>/issues/export.csv", views.issues_export, name="issues_export"),
    path("o/<slug:tenant_slug>/issues/decide/", views.decide, name="decide_issues"),
    path("o/<slug:tenant_slug>/issues/<int:outcome_id>/", views.issue, name="issue"),
    path("o/<slug:tenant_slug>/conflicts/", conflict_views.conflict_list, name="conflicts"),
    path("o/<slug:tenant_slug>/conflicts/<int:conflict_id>/", conflict_views.conflict, name="conflict"),
]
