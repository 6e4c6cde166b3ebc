"""What the Shopify connector is and what it asks for."""

from connectors.sdk.manifest import Idempotency, Limit, Manifest, OAuth2, Scope, Setting, WebhookScheme

API_VERSION = "2026-07"
SHOP_PATTERN = r"[a-zA-Z0-9][a-zA-Z0-9\-]*\.myshopify\.com"

_SCOPES = (
    Scope(
        name="read_orders",
        words="See orders, their payments and refunds",
        why="post your sales and refunds to your ledger",
    ),
    Scope(
        name="read_all_orders",
        words="See orders older than 60 days",
        why="bring in the whole period you choose, not only the last two months",
    ),
    Scope(
        name="read_customers",
        words="See customers and their addresses",
        why="name the right customer on each document",
    ),
    Scope(
        name="write_customers",
        words="Create customers and change their name, e-mail, phone and address",
        why="keep customers the same on both sides, if you choose Shopify to be updated",
        writes=True,
    ),
    Scope(
        name="read_shopify_payments_accounts",
        words="See whether the shop uses Shopify Payments",
        why="know whether there are payouts to read",
    ),
    Scope(
        name="read_shopify_payments_payouts",
        words="See Shopify Payments payouts",
        why="match every payout with the line on your bank statement",
    ),
)

MANIFEST = Manifest(
    slug="shopify",
    name="Shopify",
    summary="Orders, refunds, customers and Shopify Payments payouts of an online shop or point of sale.",
    category="shop",
    api_version=API_VERSION,
    hosts={"admin": {"production": "https://{organisation}", "sandbox": "https://{organisation}"}},
    also_calls=("https://*.myshopify.com", "https://storage.googleapis.com"),  # shops; the files of bulk operations
    auth=OAuth2(
        authorize=("admin", "/admin/oauth/authorize"),
        token=("admin", "/admin/oauth/access_token"),
        revoke=None,
        scopes=_SCOPES,
        scope_separator=",",
        client_auth="body",
        organisation_from="callback",
        access_seconds=3600,
        refresh_days=90,
        grace_seconds=30 * 86400,
    ),
    reads=("order", "refund", "payout", "customer", "company"),
    writes=("customer",),
    settings=(
        Setting(
            name="shop",
            label="Shop address",
            hint="The address your shop was created with; it is shown in Shopify under Settings, Domains.",
            pattern=SHOP_PATTERN,
            example="your-shop.myshopify.com",
        ),
    ),
    limits=(Limit(amount=2000, seconds=20, counts="cost"),),
    idempotency=Idempotency(key_in=None, search_field="tag"),
    webhooks=WebhookScheme(
        signature_header="x-shopify-hmac-sha256",
        registered="per_connection",
        carries_payload=True,
        answer_seconds=5,
        signed_with="client_secret",
    ),
    limitations=(
        "Payouts exist only for Shopify Payments; PayPal and other gateways pay out on their own.",
        "Shopify announces no payouts, so they are looked up every hour.",
        "Amounts are those of the shop's own currency, also when a buyer paid in another one.",
        "Shopify cannot recognise a repeated write; a created customer carries a tag to be found again by.",
    ),
    removal=(
        "Disconnecting uninstalls Tieout from the shop and ends its webhooks.",
        "Or in Shopify: Settings, Apps and sales channels, Tieout, Uninstall.",
    ),
    docs_url="https://shopify.dev/docs/api/admin-graphql",
    brand_colour="#4a7a2c",
)
