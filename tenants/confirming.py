"""Whether a person has shown lately that it is them: by signing in, or when they were asked again.

Somebody at an open browser, or with a stolen session, must not connect, disconnect, map or export. Who has a second step is asked for it;
the password alone does not count then.
"""

from __future__ import annotations

from typing import Any

from allauth.account.signals import authentication_step_completed
from allauth.core.exceptions import ReauthenticationRequired
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

CONFIRMED_AT = "confirmed_at"


def is_confirmed(request: HttpRequest) -> bool:
    at = request.session.get(CONFIRMED_AT, 0.0)
    return timezone.now().timestamp() - float(at) < settings.CONFIRMED_FOR.total_seconds()


def require_confirmation(request: HttpRequest) -> None:
    """Raises `ReauthenticationRequired`, which leads to the page that asks; a form that was sent is taken in after it."""
    if not is_confirmed(request):
        raise ReauthenticationRequired


@receiver(user_logged_in)
def note_sign_in(sender: Any, request: HttpRequest, **more: Any) -> None:
    """With every step the person has."""
    _note(request)


@receiver(authentication_step_completed)
def note_step(sender: Any, request: HttpRequest, method: str, user: Any, **more: Any) -> None:
    if more.get("reauthenticated") and (method == "mfa" or not is_mfa_enabled(user)):
        _note(request)


def _note(request: HttpRequest) -> None:
    request.session[CONFIRMED_AT] = timezone.now().timestamp()
