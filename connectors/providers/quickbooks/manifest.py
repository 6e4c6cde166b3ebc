"""What the QuickBooks Online connector declares about itself."""

from connectors.sdk.manifest import Idempotency, Limit, Manifest, OAuth2, Scope, WebhookScheme

MINOR_VERSION = "75"
BATCH_SIZE = 30
PAGE_SIZE = 1000

MANIFEST = Manifest(
    slug="quickbooks",
    name="QuickBooks Online",
    summary="Invoices, credit notes, payments, transfers and expenses in a QuickBooks Online company.",
    category="ledger",
    api_version=f"Accounting API v3, minor version {MINOR_VERSION}",
    hosts={
        "consent": {
            "production": "https://appcenter.intuit.com",
            "sandbox": "https://appcenter.intuit.com",
        },
        "oauth": {
            "production": "https://oauth.platform.intuit.com",
            "sandbox": "https://oauth.platform.intuit.com",
        },
        "revocation": {
            "production": "https://developer.api.intuit.com",
            "sandbox": "https://developer.api.intuit.com",
        },
        "api": {
            "production": "https://quickbooks.api.intuit.com",
            "sandbox": "https://sandbox-quickbooks.api.intuit.com",
        },
        "web": {
            "production": "https://app.qbo.intuit.com",
            "sandbox": "https://app.sandbox.qbo.intuit.com",
        },
    },
    auth=OAuth2(
        authorize=("consent", "/connect/oauth2"),
        token=("oauth", "/oauth2/v1/tokens/bearer"),
        revoke=("revocation", "/v2/oauth2/tokens/revoke"),
        scopes=(
            Scope(
                name="com.intuit.quickbooks.accounting",
                words="Read and write the books of the one company you choose: chart of accounts, tax codes, customers, "
                "suppliers, products and services, and transactions.",
                why="read your chart of accounts and tax codes for the mapping, compare what is in your books, and write "
                "the invoices, credit notes, payments, transfers and expenses you switch on. QuickBooks offers no "
                "narrower right.",
                writes=True,
            ),
        ),
        organisation_from="callback",
        access_seconds=3600,
        refresh_days=100,
    ),
    reads=(
        "company",
        "ledger_account",
        "tax_rate",
        "customer",
        "invoice",
        "credit_note",
        "customer_payment",
        "bank_transfer",
        "expense",
    ),
    writes=("customer", "invoice", "credit_note", "customer_payment", "bank_transfer", "expense"),
    limits=(
        Limit(amount=500, seconds=60),
        Limit(amount=10, seconds=1),
        Limit(amount=40, seconds=60, counts="batch"),
    ),
    idempotency=Idempotency(
        key_in="query",
        name="requestid",
        max_length=50,
        window_seconds=24 * 3600,
        search_field="DocNumber, PaymentRefNum or the private memo",
    ),
    webhooks=WebhookScheme(
        signature_header="intuit-signature",
        registered="per_connector",
        carries_payload=False,
        answer_seconds=3,
    ),
    limitations=(
        "QuickBooks has no draft invoices or payments: what is written counts at once.",
        "Document numbers hold 21 characters; a longer one is cut and the whole reference kept in the private memo.",
        "QuickBooks reports deletions for the last 30 days and 1,000 changes at a time. After a longer pause "
        "deletions before that may be missed until the next complete comparison.",
        "A company in the United States works out sales tax itself; the amount your shop collected is sent along "
        "and kept.",
        "One name may be used once among customers, suppliers and employees.",
    ),
    removal=(
        "In QuickBooks: Apps, My apps, Tieout, Disconnect.",
        "What was written stays in your books; nothing is deleted by disconnecting.",
    ),
    docs_url="https://developer.intuit.com/app/developer/qbo/docs/api/accounting/most-commonly-used/invoice",
    brand_colour="#2ca01c",
)
