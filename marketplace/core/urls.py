"""For machines that watch us."""

from django.urls import path

from marketplace.core import views

urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("metrics", views.metrics, name="metrics"),
]
