from django.urls import path

from marketplace.sync import webhook_views

urlpatterns = [path("<slug:slug>/<slug:environment>/", webhook_views.receive, name="webhook")]
