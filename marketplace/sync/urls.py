"""What was read: records, rows that could not be read, and asking for a fresh read."""

from django.urls import path

from marketplace.sync import views

urlpatterns = [
    path("o/<slug:tenant_slug>/records/", views.records, name="records"),
    path("o/<slug:tenant_slug>/records/export.csv", views.records_export, name="records_export"),
    path("o/<slug:tenant_slug>/issues/unreadable/", views.rejected_rows, name="rejected_rows"),
    path("o/<slug:tenant_slug>/issues/unreadable/<int:row_id>/", views.rejected_row, name="rejected_row"),
    path("o/<slug:tenant_slug>/issues/messages/", views.failing_messages, name="failing_messages"),
    path("o/<slug:tenant_slug>/issues/messages/<int:copy_id>/", views.decide_message, name="decide_message"),
    path("o/<slug:tenant_slug>/runs/<uuid:run_id>/missed/", views.missed, name="missed"),
    path("o/<slug:tenant_slug>/connections/<uuid:connection_id>/read/", views.read_now, name="read_now"),
]
