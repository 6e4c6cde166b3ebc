"""Sign-in pages wear our clothes; what was typed stays and the error stands beside its field."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.test import Client
from pytest_django import Settings

from tenants.models import Tenant, User
from tests.conftest import PASSWORD
from tests.core.test_ui import Outline
from tests.journeys.signing_in import code_of

PERSONAL_PAGES = ("/user/email/", "/user/password/change/", "/user/2fa/", "/user/logout/")


def page_of(client: Client, url: str) -> tuple[str, Outline]:
    html = client.get(url, follow=True).content.decode()
    return html, Outline(html)


@pytest.mark.parametrize("url", ["/user/login/", "/user/signup/", "/user/password/reset/", "/user/confirm-email/"])
def test_entrance_page_is_ours(client: Client, db: None, url: str) -> None:
    html, outline = page_of(client, url)
    assert 'class="gate"' in html
    assert outline.unbalanced == outline.open == []
    labelled = {attributes.get("for") for attributes in outline.every("label")}
    assert all(one.get("type") == "hidden" or one["id"] in labelled for one in outline.every("input"))


@pytest.mark.parametrize("url", PERSONAL_PAGES)
def test_personal_page_shows_the_switcher_and_its_own_navigation(
    alice_client: Client, tenant: Tenant, url: str
) -> None:
    html, outline = page_of(alice_client, url)
    assert outline.unbalanced == outline.open == []
    assert ", switch business" in html
    assert 'aria-label="Your sign-in"' in html


def test_password_is_changed_in_our_words(alice_client: Client, tenant: Tenant, alice: User) -> None:
    html, _ = page_of(alice_client, "/user/password/change/")
    assert "Change your password" in html and "Password now" in html and "placeholder" not in html
    typed = {"oldpassword": PASSWORD, "password1": "another long sentence", "password2": "another long sentence"}
    assert alice_client.post("/user/password/change/", typed).status_code == 302
    alice.refresh_from_db()
    assert alice.check_password("another long sentence")
    assert alice_client.get("/user/2fa/").status_code == 200, "one stays signed in"


def test_forgotten_password_is_chosen_anew_in_our_words(client: Client, alice: User) -> None:
    client.post("/user/password/reset/", {"email": alice.email})
    link = next(word for word in mail.outbox[0].body.split() if "/password/reset/key/" in word).partition("testserver")[
        2
    ]
    html, _ = page_of(client, link)
    assert "Choose a new password" in html and "New password, again" in html
    form = client.get(link).headers["Location"]
    typed = {"password1": "another long sentence", "password2": "another long sentence"}
    assert "Your password is changed" in client.post(form, typed, follow=True).content.decode()
    assert "This link cannot be used" in page_of(Client(), link)[0]


def test_second_step_asks_for_the_password_again_in_our_words(
    alice_client: Client, tenant: Tenant, settings: Settings
) -> None:
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0
    html, outline = page_of(alice_client, "/user/2fa/totp/activate/")
    assert "Is it you?" in html
    assert outline.unbalanced == outline.open == []
    answer = alice_client.post("/user/reauthenticate/", {"password": PASSWORD, "next": "/user/2fa/totp/activate/"})
    assert answer.headers["Location"] == "/user/2fa/totp/activate/"


def test_recovery_codes_are_made_shown_and_gone_with_the_second_step(
    alice_client: Client, tenant: Tenant, alice: User
) -> None:
    secret = generate_totp_secret()
    TOTP.activate(alice, secret)
    html, outline = page_of(alice_client, "/user/2fa/recovery-codes/generate/")
    assert "Is it you?" in html
    alice_client.post("/user/2fa/reauthenticate/", {"code": code_of(secret)})
    html, outline = page_of(alice_client, "/user/2fa/recovery-codes/generate/")
    assert "Make new codes" in html
    assert outline.unbalanced == outline.open == []
    html = alice_client.post("/user/2fa/recovery-codes/generate/", follow=True).content.decode()
    assert "10 of 10 left" in html
    html, outline = page_of(alice_client, "/user/2fa/recovery-codes/generate/")
    assert "The 10 you have left open nothing" in html
    html, outline = page_of(alice_client, "/user/2fa/totp/deactivate/")
    assert "Turn off two-step sign-in" in html
    assert outline.unbalanced == outline.open == []
    alice_client.post("/user/2fa/totp/deactivate/")
    assert not Authenticator.objects.filter(user=alice).exists()


def test_wrong_sign_up_keeps_the_address_and_names_the_mistake(client: Client, db: None) -> None:
    html = client.post("/user/signup/", {"email": "alice-at-example", "full_name": "Alice"}).content.decode()
    assert 'value="alice-at-example"' in html
    assert 'id="id_email_error"' in html


def test_signing_out_is_a_post(alice_client: Client, tenant: Tenant) -> None:
    _, outline = page_of(alice_client, "/businesses/")
    forms = [one for one in outline.every("form") if one.get("action") == "/user/logout/"]
    assert [one["method"] for one in forms] == ["post"]


def test_missing_page_says_so_in_our_words(client: Client, db: None) -> None:
    answer = client.get("/no/such/page/")
    assert answer.status_code == 404
    assert "There is no such page" in answer.content.decode()
