"""What a person decides before and after the provider's consent."""

from __future__ import annotations

from typing import Any

from django import forms

from connectors.registry import Connector
from connectors.sdk.manifest import Setting
from marketplace.installations.registrations import unconfigured_environments

# What each environment means, in words for the page where it is chosen.
ENVIRONMENT_MEANINGS = {
    "production": "Your real organisation",
    "sandbox": "A test organisation at the provider",
    "simulator": "A simulated provider, to try everything out: nothing real is read or written",
}


def _setting_field(setting: Setting) -> forms.CharField:
    attributes = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
    if setting.example:
        attributes["placeholder"] = setting.example
    return forms.CharField(
        label=setting.label, help_text=setting.hint, max_length=200, widget=forms.TextInput(attrs=attributes)
    )


class InstallForm(forms.Form):
    """The connector's own settings and, where there is a choice, the environment."""

    def __init__(self, *args: Any, found: Connector, environments: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for setting in found.manifest.settings:
            self.fields[setting.name] = _setting_field(setting)
        self.fields["environment"] = forms.ChoiceField(
            label="What to connect",
            choices=[(value, ENVIRONMENT_MEANINGS[value]) for value, _ in environments],
            initial=environments[0][0] if environments else "",
            widget=forms.RadioSelect,
            help_text=_what_is_missing(found),
        )


def _what_is_missing(found: Connector) -> str:
    """Why the provider's own environments are not among the choices."""
    missing = [ENVIRONMENT_MEANINGS[value].lower() for value, _ in unconfigured_environments(found.slug)]
    if not missing:
        return ""
    return f"Not configured on this server: {' and '.join(missing)}. Whoever runs it registers it at {found.manifest.name}."


class OrganisationForm(forms.Form):
    organisation = forms.ChoiceField(label="Organisation", widget=forms.RadioSelect)

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["organisation"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices
