"""Start, the businesses of a person, and who belongs to one."""

from django.urls import path

from tenants import letters, views

urlpatterns = [
    path("", views.start, name="start"),
    path("businesses/", views.businesses, name="businesses"),
    path("businesses/new/", views.new_business, name="new_business"),
    path("invitations/<str:token>/", views.invitation, name="invitation"),
    path("invitations/by-id/<int:invitation_id>/accept/", views.accept, name="accept_invitation"),
    path("letters/", letters.letters, name="letters"),
    path("o/<slug:tenant_slug>/members/", views.members, name="members"),
    path("o/<slug:tenant_slug>/members/invite/", views.invite, name="invite_member"),
    path("o/<slug:tenant_slug>/members/<int:member_id>/", views.member_page, name="member"),
    path("o/<slug:tenant_slug>/members/<int:member_id>/remove/", views.remove, name="remove_member"),
    path(
        "o/<slug:tenant_slug>/invitations/<int:invitation_id>/withdraw/",
        views.withdraw,
        name="withdraw_invitation",
    ),
]
