"""What every call to the simulated Stripe has in common: who asks, how often, lists, expansion and repeated writes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from werkzeug import Request, Response

from connectors.providers.stripe.manifest import API_VERSION
from connectors.providers.stripe.simulator_books import AccountBooks
from connectors.providers.stripe.simulator_protocol import Body, Shelf, error, expanded, nested, one_page, refused
from connectors.sdk.client import dump_json, parse_json
from connectors.sdk.manifest import Limit
from connectors.testing import Refused, json_response

ACCOUNT_LIMIT, ENDPOINT_LIMIT = Limit(amount=100, seconds=1), Limit(amount=25, seconds=1)
KEYS_KEPT_SECONDS = 86_400

_MESSAGES = {
    401: "Invalid API Key provided: ********",
    403: "The provided key does not have the required permissions for this endpoint on this account.",
    404: "Unrecognized request URL. Please see https://stripe.com/docs or we can help at https://support.stripe.com/.",
    429: "Request rate limit exceeded. Learn more about rate limits https://stripe.com/docs/rate-limits.",
}
_CODES = {401: "api_key_expired", 403: "more_permissions_required_for_application", 429: "rate_limit"}


class AccountCalls(AccountBooks):
    def error_response(self, status: int, message: str) -> Response:
        return error(status, _MESSAGES.get(status, message), code=_CODES.get(status, ""))

    def token_of(self, request: Request) -> str:
        """The key as bearer, or as the user name of basic authorisation."""
        basic = request.authorization
        if basic is not None and basic.type == "basic":
            return basic.username or ""
        return super().token_of(request)

    def _dispatch(self, request: Request) -> Response:
        response = super()._dispatch(request)
        response.headers["Request-Id"] = f"req_{self.next_id('request'):014d}"
        response.headers["Stripe-Version"] = request.headers.get("Stripe-Version", API_VERSION)
        response.headers["Date"] = self.now().strftime("%a, %d %b %Y %H:%M:%S GMT")
        return response

    def account_of(self, request: Request) -> str:
        """Whose key it is, once the call is within the limits."""
        account = self.authorised(request).organisation
        endpoint = f"{request.method} {'/'.join(request.path.split('/')[:3])}"
        spent = {"call": 1}
        for key, limit, reason in (
            (account, ACCOUNT_LIMIT, "global-rate"),
            (f"{account} {endpoint}", ENDPOINT_LIMIT, "endpoint-rate"),
        ):
            if self.throttle(key, spent, [limit]) is not None:
                headers = {"Stripe-Rate-Limited-Reason": reason}
                raise Refused(429, response=error(429, _MESSAGES[429], code="rate_limit", headers=headers))
        return account

    def answer(self, account: str, body: Body, form: Body, status: int = 200) -> Response:
        """One object, with what was to be expanded."""
        return json_response(self._expanded(account, self.shown(body), form.get("expand", [])), status)

    def _expanded(self, account: str, body: Body, paths: list[str]) -> Body:
        return expanded(
            body, paths, lambda id: self.find(account, id), lambda of, name: self._sublist(account, of, name)
        )

    def _sublist(self, account: str, body: Body, name: str) -> Body:
        if name == "tax_ids":
            tax_id = self.kept(account, "tax_ids").get(body["id"])
            found = [tax_id] if tax_id else []
        else:
            found = [one for one in self.shelf(account, "refunds").bodies if one["charge"] == body["id"]][:10]
        return listed(found, f"/v1/{body['object']}s/{body['id']}/{name}", has_more=False)

    def listing(self, request: Request, kind: str, matches: Callable[[Body, Body], bool]) -> Response:
        account = self.account_of(request)
        query = nested(request.args.items(multi=True))
        shelf = self._payout_shelf(account, query) if "payout" in query else self.shelf(account, kind)
        found, has_more = one_page(shelf, query, lambda body: matches(body, query))
        paths = [path.removeprefix("data.") for path in query.get("expand", [])]
        shown = [self._expanded(account, self.shown(body), paths) for body in found]
        return json_response(listed(shown, request.path, has_more=has_more))

    def _payout_shelf(self, account: str, query: Body) -> Shelf:
        """What one payout was made of. Stripe tells it of automatic payouts only."""
        payout = self.known(account, "payouts", query["payout"], "payout")
        if not payout["automatic"]:
            message = "Balance transaction history can only be filtered on automatic transfers, not manual."
            raise refused(400, message, param="payout")
        contents = self.kept(account, "payout_contents").get(payout["id"]) or {"ids": []}
        found = [self.kept(account, "balance_transactions").get(id) for id in contents["ids"]]
        return Shelf.of(body for body in found if body)

    def one(self, request: Request, kind: str, id: str, noun: str) -> Response:
        account = self.account_of(request)
        return self.answer(account, self.known(account, kind, id, noun), nested(request.args.items(multi=True)))

    def known(self, account: str, kind: str, id: str, noun: str) -> Body:
        body = self.kept(account, kind).get(id)
        if body is None:
            raise refused(404, f"No such {noun}: '{id}'", code="resource_missing", param="id")
        return body

    def once(self, request: Request, work: Callable[[str, Body], Response]) -> Response:
        """A POST under its idempotency key: the first answer is given again for a day."""
        account = self.account_of(request)
        form = nested(request.form.items(multi=True))
        key = request.headers.get("Idempotency-Key", "")
        if len(key) > 255:
            raise refused(400, "Idempotency keys can be at most 255 characters.", code="idempotency_key_too_long")
        if not key:
            return work(account, form)
        digest = hashlib.sha256(dump_json([request.path, form])).hexdigest()
        before = self.kept(account, "idempotency").get(key)
        if before is not None and before["until"] > self.timestamp():
            return _repeated(before, digest, key)
        response = work(account, form)
        kept = {"digest": digest, "status": response.status_code, "body": response.get_data(as_text=True)}
        self.kept(account, "idempotency").put(key, kept | {"until": self.timestamp() + KEYS_KEPT_SECONDS})
        return response


def listed(data: list[Body], url: str, *, has_more: bool) -> Body:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def _repeated(before: Body, digest: str, key: str) -> Response:
    if before["digest"] != digest:
        message = f"Keys for idempotent requests can only be used with the same parameters. Key: {key}"
        raise refused(400, message, type="idempotency_error")
    headers = {"Idempotent-Replayed": "true"}
    return json_response(parse_json(before["body"]), before["status"], headers)
