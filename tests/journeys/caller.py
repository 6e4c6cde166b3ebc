"""Somebody who sends requests as a browser's forms would, without a window: quick enough to try every address."""

from __future__ import annotations

import re
from html import unescape
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import StorageState

PASSWORD = "correct horse battery"
CSRF_COOKIE = "tieout_csrf"


class Caller:
    """One person, or nobody yet. Redirects are not followed: where they lead is part of the answer."""

    def __init__(self, url: str, signed_in: StorageState | None = None) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)
        for cookie in (signed_in or {}).get("cookies", []):
            self.http.cookies.set(cookie["name"], cookie["value"], domain=cookie["domain"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def post(self, path: str, **fields: str) -> httpx.Response:
        """With the token a form would carry, so that what answers is the page and not its guard."""
        if CSRF_COOKIE not in self.http.cookies:
            self.get("/user/login/")
        return self.http.post(path, data={**fields, "csrfmiddlewaretoken": self.http.cookies[CSRF_COOKIE]})

    def sign_up(self, name: str, email: str) -> None:
        """Up to the button in the page that the letter leads to."""
        self.get("/user/signup/")
        typed = {"full_name": name, "email": email, "password1": PASSWORD, "password2": PASSWORD}
        assert self.post("/user/signup/", **typed).status_code == 302
        assert self.post(self.letter("confirm-email")).status_code == 302

    def letter(self, kind: str) -> str:
        """The newest link of its kind on the page that shows letters."""
        found = re.search(rf'href="([^"]*{kind}[^"]*)"', self.get("/letters/").text)
        assert found
        return urlsplit(unescape(found[1])).path
