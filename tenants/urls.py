"""Start, the businesses of a person, and who belongs to one."""

from django.urls import path

from tenants import firm_views, letters, views

urlpatterns = [
    path("", views.start, name="start"),
    path("businesses/", views.businesses, name="businesses"),
    path("businesses/new/", views.new_business, name="new_business"),
    path("invitations/<str:token>/", views.invitation, name="invitation"),
    path("invitations/by-id/<int:invitation_id>/accept/", views.accept, name="accept_invitation"),
    path("firms/new/", firm_views.new_firm, name="new_firm"),
    path("firms/<int:firm_id>/", firm_views.firm, name="firm"),
    path("firms/<int:firm_id>/staff/add/", firm_views.add, name="add_firm_staff"),
    path("firms/<int:firm_id>/staff/<int:staff_id>/remove/", firm_views.remove, name="remove_firm_staff"),
    path("firms/<int:firm_id>/clients/add/", firm_views.take_in, name="take_in_clients"),
    path("firms/<int:firm_id>/access/", firm_views.access, name="give_access"),
    path("letters/", letters.letters, name="letters"),
    path("o/<slug:tenant_slug>/members/", views.members, name="members"),
    path("o/<slug:tenant_slug>/members/firm/leave/", views.end_firm, name="leave_firm"),
    path("o/<slug:tenant_slug>/members/invite/", views.invite, name="invite_member"),
    path("o/<slug:tenant_slug>/members/<int:member_id>/", views.member_page, name="member"),
    path("o/<slug:tenant_slug>/members/<int:member_id>/remove/", views.remove, name="remove_member"),
    path(
        "o/<slug:tenant_slug>/invitations/<int:invitation_id>/withdraw/",
        views.withdraw,
        name="withdraw_invitation",
    ),
]
