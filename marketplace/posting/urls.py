"""What waits for a person, deciding about it, and taking back what was posted."""

from django.urls import path

from marketplace.posting import conflict_views, reversal_views, views

urlpatterns = [
    path("o/<slug:tenant_slug>/issues/", views.issue_list, name="issues"),
    path("o/<slug:tenant_slug>/issues/export.csv", views.issues_export, name="issues_export"),
    path("o/<slug:tenant_slug>/issues/decide/", views.decide, name="decide_issues"),
    path("o/<slug:tenant_slug>/issues/<int:outcome_id>/", views.issue, name="issue"),
    path("o/<slug:tenant_slug>/conflicts/", conflict_views.conflict_list, name="conflicts"),
    path("o/<slug:tenant_slug>/conflicts/<int:conflict_id>/", conflict_views.conflict, name="conflict"),
    path("o/<slug:tenant_slug>/reversals/", reversal_views.reversal_list, name="reversals"),
    path("o/<slug:tenant_slug>/reversals/new/", reversal_views.new_reversal, name="new_reversal"),
    path("o/<slug:tenant_slug>/reversals/<uuid:reversal_id>/", reversal_views.reversal, name="reversal"),
    path("o/<slug:tenant_slug>/reversals/<uuid:reversal_id>/confirm/", reversal_views.confirm, name="confirm_reversal"),
    path("o/<slug:tenant_slug>/reversals/<uuid:reversal_id>/plan/", reversal_views.replan, name="replan_reversal"),
    path("o/<slug:tenant_slug>/reversals/<uuid:reversal_id>/discard/", reversal_views.discard, name="discard_reversal"),
    path("o/<slug:tenant_slug>/reversals/<uuid:reversal_id>/rest/", reversal_views.take_the_rest, name="take_the_rest"),
    path("o/<slug:tenant_slug>/reversals/<uuid:reversal_id>/lines.csv", reversal_views.export, name="reversal_export"),
]
