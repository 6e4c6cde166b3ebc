"""What people fill in about themselves and their business."""

from __future__ import annotations

from functools import cache
from typing import Any
from zoneinfo import available_timezones

from babel import Locale
from babel.numbers import get_territory_currencies
from django import forms
from django.db.models import QuerySet

from tenants.choices import ROLE_MEANINGS, FirmRole, Role
from tenants.models import Firm, FirmStaff, Tenant, User
from tenants.queries import NEEDS

_ENGLISH = Locale("en", "GB")


@cache
def country_choices() -> list[tuple[str, str]]:
    named = [(code, name) for code, name in _ENGLISH.territories.items() if len(code) == 2 and code.isalpha()]
    real = [(code, name) for code, name in named if get_territory_currencies(code)]
    return sorted(real, key=lambda pair: pair[1])


@cache
def currency_choices() -> list[tuple[str, str]]:
    """Every currency that some country uses today."""
    current = {code for country, _ in country_choices() for code in get_territory_currencies(country)}
    return [(code, f"{code} — {_ENGLISH.currencies.get(code, code)}") for code in sorted(current)]


@cache
def time_zone_choices() -> list[tuple[str, str]]:
    places = sorted(name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/")))
    return [("UTC", "UTC"), *((name, name.replace("_", " ")) for name in places)]


class SignUpForm(forms.Form):
    """Added by allauth to its own sign-up form."""

    full_name = forms.CharField(
        label="Your name", max_length=150, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )
    field_order = ("full_name", "email", "password1", "password2")

    def signup(self, request: Any, user: User) -> None:
        user.full_name = self.cleaned_data["full_name"]
        user.save(update_fields=["full_name"])


class BusinessForm(forms.Form):
    legal_name = forms.CharField(
        label="Legal name",
        max_length=200,
        help_text="As it stands on your invoices.",
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )
    country = forms.ChoiceField(label="Country", choices=country_choices, initial="GB")
    base_currency = forms.ChoiceField(
        label="Base currency",
        choices=currency_choices,
        initial="GBP",
        help_text="The currency your books are kept in.",
    )
    time_zone = forms.ChoiceField(
        label="Time zone",
        choices=time_zone_choices,
        initial="Europe/London",
        help_text="Decides on which day an order counts.",
    )


class FindBusinessForm(forms.Form):
    """Shown to whoever belongs to several businesses. What does not fit filters nothing."""

    name = forms.CharField(label="Name", max_length=200, required=False, widget=forms.SearchInput())
    needs = forms.ChoiceField(
        label="Needs",
        required=False,
        choices=[("", "Anything or nothing"), *((name, words) for name, words in NEEDS.items())],
    )
    firm = forms.ModelChoiceField(label="Firm", queryset=Firm.objects.none(), required=False, empty_label="Any or none")

    def __init__(self, data: Any, *, user: User) -> None:
        super().__init__(data)
        self.fields["firm"].queryset = user.firms.order_by("name")  # type: ignore[attr-defined]


class FirmForm(forms.Form):
    name = forms.CharField(
        label="Name of the firm", max_length=200, widget=forms.TextInput(attrs={"autocomplete": "organization"})
    )


class StaffForm(forms.Form):
    email = forms.EmailField(
        label="E-mail address",
        help_text="Of somebody who belongs to one of your businesses already.",
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    role = forms.ChoiceField(
        label="Role",
        choices=[
            (FirmRole.STAFF.value, "Staff — sees the firm’s page"),
            (FirmRole.PARTNER.value, "Partner — also adds people and clients, and reads the firm’s trail"),
        ],
    )


class ClientsForm(forms.Form):
    """Some businesses of those offered, or all of them at once."""

    all_of_them = forms.BooleanField(label="All of them", required=False)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("all_of_them"):
            cleaned["clients"] = self.fields["clients"].queryset  # type: ignore[attr-defined]
        elif "clients" in cleaned and not cleaned["clients"]:
            self.add_error("clients", "Choose at least one.")
        return cleaned


class TakeInForm(ClientsForm):
    """Businesses that the person administers and that belong to no firm."""

    prefix = "take_in"
    field_order = ("all_of_them", "clients")
    clients = forms.ModelMultipleChoiceField(
        label="Businesses",
        queryset=Tenant.objects.none(),
        help_text="You are admin or owner of each of them.",
        widget=forms.CheckboxSelectMultiple,
        required=False,
    )

    def __init__(self, *args: Any, candidates: QuerySet[Tenant], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["clients"].queryset = candidates  # type: ignore[attr-defined]


class AccessForm(ClientsForm):
    """Who of the firm may open which of its clients from now on."""

    prefix = "access"
    field_order = ("person", "role", "all_of_them", "clients")
    person = forms.ModelChoiceField(label="Who", queryset=FirmStaff.objects.none(), empty_label="Choose")
    role = forms.ChoiceField(label="Role", choices=Role.choices, initial=Role.BOOKKEEPER)
    clients = forms.ModelMultipleChoiceField(
        label="Clients", queryset=Tenant.objects.none(), widget=forms.CheckboxSelectMultiple, required=False
    )

    def __init__(self, *args: Any, staff: QuerySet[FirmStaff], clients: QuerySet[Tenant], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["person"].queryset = staff  # type: ignore[attr-defined]
        self.fields["person"].label_from_instance = lambda one: str(one.user)  # type: ignore[attr-defined]
        self.fields["clients"].queryset = clients  # type: ignore[attr-defined]


class RoleForm(forms.Form):
    role = forms.ChoiceField(label="Role", choices=Role.choices, initial=Role.BOOKKEEPER)

    def clean_role(self) -> Role:
        return Role(self.cleaned_data["role"])


class InvitationForm(RoleForm):
    field_order = ("email", "role")
    email = forms.EmailField(label="E-mail address", widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    role = forms.ChoiceField(
        label="Role",
        choices=[(role.value, f"{role.label} — {meaning}") for role, meaning in ROLE_MEANINGS.items()],
        initial=Role.BOOKKEEPER,
    )

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()
