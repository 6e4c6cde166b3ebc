"""A ledger that exists only here, to prove the contract with."""

from connectors.sdk.manifest import Idempotency, Limit, Manifest, OAuth2, Scope, WebhookScheme

MANIFEST = Manifest(
    slug="sample",
    name="Sample",
    summary="A small ledger for tests.",
    category="ledger",
    api_version="1",
    hosts={"api": {"production": "https://api.sample.example"}},
    auth=OAuth2(
        authorize=("api", "/oauth/authorize"),
        token=("api", "/oauth/token"),
        revoke=("api", "/oauth/revoke"),
        scopes=(
            Scope(name="read", words="Read your invoices and customers", why="compare them with your shop"),
            Scope(name="write", words="Create invoices and customers", why="post your sales", writes=True),
        ),
        uses_pkce=True,
    ),
    reads=("company", "ledger_account", "customer", "invoice"),
    writes=("customer", "invoice"),
    limits=(Limit(amount=600, seconds=60),),
    idempotency=Idempotency(key_in="header", name="Idempotency-Key", max_length=64, window_seconds=86400),
    webhooks=WebhookScheme(
        signature_header="X-Sample-Signature", registered="per_connector", carries_payload=False, answer_seconds=5
    ),
    removal=("Documents stay in your ledger.",),
)
