"""One flow on the staircase."""

from django.urls import path

from marketplace.cutover import parallel_views, views

_FLOW = "o/<slug:tenant_slug>/flows/<uuid:flow_id>/"

urlpatterns = [
    path(_FLOW, views.flow_page, name="flow"),
    path(f"{_FLOW}move/<slug:to_stage>/", views.move, name="move_flow"),
    path(f"{_FLOW}go-live/", views.go_live, name="go_live"),
    path(f"{_FLOW}moves/<int:move_id>/", views.flow_move, name="flow_move"),
    path(f"{_FLOW}choices/", views.flow_choices, name="flow_choices"),
    path(f"{_FLOW}targets/", views.flow_targets, name="flow_targets"),
    path(f"{_FLOW}pause/", views.pause, name="pause_flow"),
    path(f"{_FLOW}resume/", views.resume, name="resume_flow"),
    path(f"{_FLOW}sandbox/", views.sandbox, name="sandbox"),
    path(f"{_FLOW}sandbox/run/", views.run_sandbox, name="run_sandbox"),
    path(f"{_FLOW}pilot/", views.pilot, name="pilot"),
    path(f"{_FLOW}parallel/", parallel_views.parallel, name="parallel"),
    path(f"{_FLOW}parallel/compare/", parallel_views.compare, name="compare_again"),
    path(f"{_FLOW}parallel/resolve/", parallel_views.resolve, name="resolve_pairs"),
    path(f"{_FLOW}parallel/pairs.csv", parallel_views.pairs_csv, name="pairs_csv"),
    path(f"{_FLOW}parallel/<int:pair_id>/", parallel_views.pair_page, name="pair"),
]
