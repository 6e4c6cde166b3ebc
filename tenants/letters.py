"""On a machine without a mail server, the letters that would have been sent are shown on a page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context as allauth_context
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from tenants.access import public_page

_LATEST = 20
_SEPARATOR = re.compile(rb"^-{79}\n", re.MULTILINE)


@dataclass(frozen=True)
class Letter:
    to: str
    subject: str
    text: str


def _letters_in(path: Path) -> list[Letter]:
    """Django's file backend writes the letters of one connection into one file, a line of dashes after each."""
    parts = [part for part in _SEPARATOR.split(path.read_bytes()) if part.strip()]
    return [_letter(message_from_bytes(part, policy=policy.default)) for part in parts]


def _letter(message: EmailMessage) -> Letter:
    body = message.get_body(preferencelist=("plain",))
    text = body.get_content() if body else ""
    return Letter(to=str(message["To"]), subject=str(message["Subject"]), text=text)


@public_page
def letters(request: HttpRequest) -> HttpResponse:
    """The newest first. Exists only where nothing is sent."""
    if not settings.SHOWS_LETTERS:
        raise Http404("Letters are sent, not shown.")
    files = sorted(Path(settings.EMAIL_FILE_PATH).glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    newest = [letter for path in reversed(files[-_LATEST:]) for letter in reversed(_letters_in(path))]
    return TemplateResponse(request, "tenants/letters.html", {"letters": newest})


class AccountAdapter(DefaultAccountAdapter):
    """Says where to find a letter that nobody will receive. Who has a second step confirms with it, not with the password alone."""

    def get_reauthentication_methods(self, user: AbstractBaseUser | AnonymousUser) -> list[dict[str, Any]]:
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        return [method for method in methods if method["id"] != "reauthenticate"] or methods

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        super().send_mail(template_prefix, email, context)
        request = allauth_context.request
        if settings.SHOWS_LETTERS and request is not None:
            text = format_html('No mail server here: <a href="{}">read the letter</a>.', reverse("letters"))
            messages.info(request, text)
