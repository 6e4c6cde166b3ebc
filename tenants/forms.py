"""What people fill in about themselves and their business."""

from __future__ import annotations

from functools import cache
from typing import Any
from zoneinfo import available_timezones

from babel import Locale
from babel.numbers import get_territory_currencies
from django import forms

from tenants.choices import ROLE_MEANINGS, Role
from tenants.models import User

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
    """Shown to whoever belongs to more businesses than fit on a page."""

    name = forms.CharField(label="Name", max_length=200, required=False, widget=forms.SearchInput())


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
