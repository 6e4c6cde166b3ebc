"""One callback per connector, registered at its provider; which business it is for stands in the state."""

from django.urls import path

from marketplace.installations import views

urlpatterns = [path("<slug:slug>/callback", views.callback, name="connect_callback")]
