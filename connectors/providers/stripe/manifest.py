"""What the Stripe connector is and what it asks for."""

from connectors.sdk.manifest import Idempotency, Limit, Manifest, OAuth2, Scope, WebhookScheme

API_VERSION = "2026-10-28.endive"
API = "https://api.stripe.com"
MARKETPLACE = "https://marketplace.stripe.com"

# A Stripe app's permissions are fixed in its listing; the person accepts all of them or does not install it.
_SCOPES = (
    Scope(
        name="charge_read",
        words="See payments and refunds",
        why="post your sales and refunds to your ledger",
    ),
    Scope(
        name="balance_transaction_source_read",
        words="See every movement on your Stripe balance, with its fee",
        why="book Stripe's fees to the cent and explain what each payout is made of",
    ),
    Scope(
        name="payout_read",
        words="See payouts to your bank",
        why="match every payout with the line on your bank statement",
    ),
    Scope(
        name="customer_read",
        words="See customers and their addresses",
        why="name the right customer on each document",
    ),
    Scope(
        name="customer_write",
        words="Create customers and change their name, e-mail, phone and address",
        why="keep customers the same on both sides, if you choose Stripe to be updated",
        writes=True,
    ),
    Scope(
        name="event_read",
        words="See the list of what changed",
        why="notice later changes, such as a refund of an old payment, also when a message got lost",
    ),
    Scope(
        name="connected_account_read",
        words="See your business's name, country, currency and time zone",
        why="show which Stripe account is connected and date everything in its own time zone",
    ),
)

MANIFEST = Manifest(
    slug="stripe",
    name="Stripe",
    summary="Card and wallet payments, refunds, customers, fees and payouts to the bank.",
    category="payments",
    api_version=API_VERSION,
    hosts={
        "api": {"production": API, "sandbox": API},
        "marketplace": {"production": MARKETPLACE, "sandbox": MARKETPLACE},
    },
    auth=OAuth2(
        authorize=("marketplace", "/oauth/v2/authorize"),
        token=("api", "/v1/oauth/token"),
        revoke=None,
        scopes=_SCOPES,
        client_auth="basic",
        organisation_from="token",
        access_seconds=3600,
        refresh_days=365,
    ),
    reads=("order", "refund", "payout", "balance_transaction", "customer", "company"),
    writes=("customer",),
    limits=(Limit(amount=25, seconds=1),),
    idempotency=Idempotency(
        key_in="header",
        name="Idempotency-Key",
        max_length=255,
        window_seconds=86_400,
        search_field="metadata",
    ),
    webhooks=WebhookScheme(
        signature_header="stripe-signature",
        registered="per_connector",
        carries_payload=True,
        answer_seconds=10,
    ),
    limitations=(
        "A payment has no tax split in Stripe, so each is read as one line without tax.",
        "Where a payment settles in another currency, its fee is in that currency and is left to the payout.",
        "What a payout is made of is known only for automatic payouts; a manual payout is read as one sum.",
        "Stripe keeps its list of changes for 30 days. After a longer break everything is read again.",
        "Stripe has no versions to lock on: between our check and our update somebody else's change could be overwritten.",
        "A deleted customer that we were not told of within 30 days stays as it was last read.",
    ),
    removal=(
        "Uninstalling here deletes our keys to your Stripe account, so reading and writing stop at once.",
        "Stripe gives apps no way to uninstall themselves: in Stripe, open Settings, Installed apps, Tieout, Uninstall app.",
        "Customers we created or changed in Stripe stay as they are.",
    ),
    docs_url="https://docs.stripe.com/api",
    brand_colour="#5b55d6",
)
