"""Where everything comes together: home, a day, a record, a posting's trace, and what ran."""

from django.urls import path

from marketplace.overview import views

urlpatterns = [
    path("o/<slug:tenant_slug>/", views.home, name="home"),
    path("o/<slug:tenant_slug>/activity/", views.activity, name="activity"),
    path("o/<slug:tenant_slug>/days/<str:date>/", views.day, name="day"),
    path("o/<slug:tenant_slug>/records/<int:record_id>/", views.record, name="record"),
    path("o/<slug:tenant_slug>/postings/<int:posting_id>/", views.posting, name="posting"),
    path("o/<slug:tenant_slug>/runs/", views.runs, name="runs"),
]
