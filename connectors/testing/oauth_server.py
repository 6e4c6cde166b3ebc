"""The provider's side of the authorization-code grant: codes, tokens, their rotation and their end."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connectors.sdk.oauth import ConnectorKeys
from connectors.testing.store import Body, Store


@dataclass(frozen=True, kw_only=True)
class OAuthRules:
    """How one provider hands out tokens. Paths are those of its manifest.

    `rotation` of the refresh token, with `rotation_seconds`:
    strict: every refresh replaces it, and using a replaced one ends the whole grant;
    grace: every refresh replaces it, and the replaced one works for so many seconds more;
    lazy: the same value is answered until it is so many seconds old, then replaced;
    first_use: every refresh replaces it, and the replaced one works until its successor was used;
    none: it never changes.
    """

    authorize_path: str
    token_path: str
    revoke_path: str = ""
    rotation: Literal["strict", "grace", "lazy", "first_use", "none"] = "strict"
    rotation_seconds: float = 0
    access_seconds: int = 3600
    refresh_seconds: int = 60 * 86400
    code_seconds: int = 300
    scope_separator: str = " "
    client_auth: Literal["basic", "body", "secret_as_user"] = "basic"
    pkce: bool = False
    picks_organisation: bool = True


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Who a call acts for. `organisations` are all those `user` has connected so far."""

    id: str
    organisation: str
    scopes: tuple[str, ...]
    user: str
    organisations: tuple[str, ...]


class OAuthRefusal(Exception):
    """An error of RFC 6749, by its code."""

    def __init__(self, code: str, *, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class OAuthServer:
    """Codes and tokens in the simulator's store. `new_token` gives the provider's own shapes."""

    def __init__(
        self,
        rules: OAuthRules,
        keys: ConnectorKeys,
        store: Store,
        now: Callable[[], dt.datetime],
        new_token: Callable[[str, str], str],
    ) -> None:
        self.rules = rules
        self.keys = keys
        self._store = store
        self._now = now
        self._new_token = new_token

    def issue_code(
        self,
        *,
        organisation: str,
        user: str,
        scopes: tuple[str, ...],
        redirect_uri: str,
        challenge: str = "",
    ) -> str:
        """The person said yes: a code for one exchange."""
        code = secrets.token_urlsafe(24)
        self._store["_codes"].put(
            code,
            {
                "organisation": organisation,
                "user": user,
                "scopes": list(scopes),
                "redirect_uri": redirect_uri,
                "challenge": challenge,
                "until": self._after(self.rules.code_seconds),
            },
        )
        return code

    def check_client(self, form: Mapping[str, str], authorization: tuple[str, str] | None) -> None:
        """The caller is our registration, proved the way this provider asks. Raises `OAuthRefusal`."""
        given = {
            "basic": authorization or ("", ""),
            "body": (form.get("client_id", ""), form.get("client_secret", "")),
            "secret_as_user": (self.keys.client_id, authorization[0] if authorization else ""),
        }[self.rules.client_auth]
        wanted = (self.keys.client_id, self.keys.client_secret)
        if not all(hmac.compare_digest(a.encode(), b.encode()) for a, b in zip(given, wanted, strict=True)):
            raise OAuthRefusal("invalid_client", status=401)

    def tokens(self, form: Mapping[str, str]) -> tuple[Grant, dict[str, Any]]:
        """Answer a token call: the grant concerned and the body to send."""
        match form.get("grant_type"):
            case "authorization_code":
                return self._exchange(form)
            case "refresh_token":
                return self._refresh(form.get("refresh_token", ""))
        raise OAuthRefusal("unsupported_grant_type")

    def grant_of(self, access_token: str) -> Grant | None:
        """None for a token that is unknown, expired or revoked."""
        token = self._store["_access"].get(access_token)
        if token is None or token["until"] <= self._now():
            return None
        return self._live_grant(token["grant"])

    def revoke(self, token: str) -> Grant | None:
        """End the grant behind an access or refresh token; an unknown token is fine."""
        found = self._store["_refresh"].get(token) or self._store["_access"].get(token)
        return self.end(found["grant"]) if found else None

    def end(self, grant_id: str) -> Grant | None:
        grant = self._live_grant(grant_id)
        body = self._store["_grants"].get(grant_id)
        if body is not None:
            self._store["_grants"].put(grant_id, body | {"is_revoked": True})
        return grant

    def live_grants(self, organisation: str) -> list[Grant]:
        grants = [self._live_grant(id) for id in self._store["_grants"]]
        return [grant for grant in grants if grant and grant.organisation == organisation]

    def expire_access(self, access_token: str) -> None:
        """From now on this access token is refused; its grant lives."""
        token = self._store["_access"].get(access_token)
        if token is not None:
            self._store["_access"].put(access_token, token | {"until": self._now()})

    def grant_for(self, organisation: str, scopes: tuple[str, ...], user: str) -> tuple[Grant, dict[str, Any]]:
        """A grant and its first token answer without the consent pages, for tools and tests."""
        id = secrets.token_hex(8)
        body = {"organisation": organisation, "user": user, "scopes": list(scopes), "is_revoked": False}
        self._store["_grants"].put(id, body)
        grant = self._live_grant(id)
        assert grant is not None
        return grant, self._answer(grant, self._put_refresh(id))

    def _exchange(self, form: Mapping[str, str]) -> tuple[Grant, dict[str, Any]]:
        code = form.get("code", "")
        asked = self._store["_codes"].get(code)
        self._store["_codes"].delete(code)
        if asked is None or asked["until"] <= self._now():
            raise OAuthRefusal("invalid_grant")
        if asked["redirect_uri"] != form.get("redirect_uri", asked["redirect_uri"]):
            raise OAuthRefusal("invalid_grant")
        if self.rules.pkce and asked["challenge"] != _challenge(form.get("code_verifier", "")):
            raise OAuthRefusal("invalid_grant")
        return self.grant_for(asked["organisation"], tuple(asked["scopes"]), asked["user"])

    def _refresh(self, value: str) -> tuple[Grant, dict[str, Any]]:
        token = self._store["_refresh"].get(value)
        grant = self._live_grant(token["grant"]) if token else None
        if token is None or grant is None or token["until"] <= self._now():
            raise OAuthRefusal("invalid_grant")
        if token["replaced_at"] is not None and not self._may_reuse(token):
            if self.rules.rotation == "strict":
                self.end(grant.id)
            raise OAuthRefusal("invalid_grant")
        self._store["_refresh"].put(value, token | {"is_used": True})
        return grant, self._answer(grant, self._successor(value))

    def _may_reuse(self, token: Body) -> bool:
        """Whether a replaced refresh token still works."""
        if self.rules.rotation == "grace":
            age = self._now() - token["replaced_at"]
            return bool(age.total_seconds() < self.rules.rotation_seconds)
        if self.rules.rotation == "first_use":
            successor = self._store["_refresh"].get(token["successor"])
            return successor is not None and not successor["is_used"]
        return False

    def _successor(self, value: str) -> str:
        token = self._store["_refresh"].get(value)
        assert token is not None
        age = (self._now() - token["issued_at"]).total_seconds()
        is_kept = self.rules.rotation == "none" or (self.rules.rotation == "lazy" and age < self.rules.rotation_seconds)
        if is_kept:
            return value
        fresh = self._put_refresh(token["grant"])
        replaced_at = token["replaced_at"] or self._now()
        self._store["_refresh"].put(value, token | {"replaced_at": replaced_at, "successor": fresh})
        return fresh

    def _put_refresh(self, grant_id: str) -> str:
        body = self._store["_grants"].get(grant_id) or {}
        value = self._new_token("refresh", str(body.get("organisation", "")))
        self._store["_refresh"].put(
            value,
            {
                "grant": grant_id,
                "issued_at": self._now(),
                "until": self._after(self.rules.refresh_seconds),
                "replaced_at": None,
                "successor": "",
                "is_used": False,
            },
        )
        return value

    def _answer(self, grant: Grant, refresh_token: str) -> dict[str, Any]:
        access = self._new_token("access", grant.organisation)
        self._store["_access"].put(access, {"grant": grant.id, "until": self._after(self.rules.access_seconds)})
        return {
            "access_token": access,
            "token_type": "bearer",
            "expires_in": self.rules.access_seconds,
            "refresh_token": refresh_token,
            "scope": self.rules.scope_separator.join(grant.scopes),
        }

    def _live_grant(self, id: str) -> Grant | None:
        body = self._store["_grants"].get(id)
        if body is None or body["is_revoked"]:
            return None
        theirs = [
            other["organisation"]
            for other in self._store["_grants"].values()
            if other["user"] == body["user"] and not other["is_revoked"]
        ]
        return Grant(
            id=id,
            organisation=body["organisation"],
            scopes=tuple(body["scopes"]),
            user=body["user"],
            organisations=tuple(dict.fromkeys(theirs)),
        )

    def _after(self, seconds: float) -> dt.datetime:
        return self._now() + dt.timedelta(seconds=seconds)


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
