"""Xero Accounting API 2.0: who it is, what we ask for and how it behaves."""

from __future__ import annotations

from connectors.sdk.manifest import Idempotency, Limit, Manifest, OAuth2, Scope, WebhookScheme

# Demo companies and trials live on the same hosts as everybody's books.
HOSTS = {
    "login": "https://login.xero.com",
    "identity": "https://identity.xero.com",
    "api": "https://api.xero.com",
}

TRIAL_BALANCE = Scope(
    name="accounting.reports.trialbalance.read",
    words="See the trial balance report",
    why="show you Xero's own figures before and after something is taken back",
)

MANIFEST = Manifest(
    slug="xero",
    name="Xero",
    summary="Cloud accounting: contacts, invoices, credit notes, payments and bank accounts.",
    category="ledger",
    api_version="2.0",
    hosts={key: {"production": url, "sandbox": url} for key, url in HOSTS.items()},
    auth=OAuth2(
        authorize=("login", "/identity/connect/authorize"),
        token=("identity", "/connect/token"),
        revoke=("identity", "/connect/revocation"),
        scopes=(
            Scope(
                name="offline_access",
                words="Stay connected while nobody is signed in",
                why="keep your books up to date day and night without asking you to sign in again",
            ),
            Scope(
                name="accounting.settings.read",
                words="See the organisation's settings, chart of accounts and tax rates",
                why="offer your own ledger accounts and tax rates in forms and respect your lock dates",
            ),
            Scope(
                name="accounting.contacts",
                words="See and change contacts",
                why="put the right customer on each invoice and keep addresses alike in both systems",
                writes=True,
            ),
            Scope(
                name="accounting.invoices",
                words="See and change invoices and credit notes",
                why="post sales as invoices, refunds as credit notes, and compare them with your staff's",
                writes=True,
            ),
            Scope(
                name="accounting.payments",
                words="See and change payments",
                why="mark invoices as paid and credit notes as repaid",
                writes=True,
            ),
            Scope(
                name="accounting.banktransactions",
                words="See and change spent money and bank transfers",
                why="move payouts from the clearing account to the bank and book the fees",
                writes=True,
            ),
            TRIAL_BALANCE,
        ),
        # Web apps with a secret authenticate with it; PKCE is only for Xero apps that have none.
        uses_pkce=False,
        client_auth="basic",
        organisation_from="list",
        access_seconds=1800,
        refresh_days=60,
        grace_seconds=1800,
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
        Limit(amount=5, seconds=0),
        Limit(amount=60, seconds=60),
        Limit(amount=5_000, seconds=86_400),
        Limit(amount=10_000, seconds=60, per="connector"),
    ),
    idempotency=Idempotency(
        key_in="header",
        name="Idempotency-Key",
        max_length=128,
        window_seconds=360,
        search_field="Reference",
    ),
    webhooks=WebhookScheme(
        signature_header="x-xero-signature",
        registered="per_connector",
        carries_payload=False,
        answer_seconds=5,
    ),
    has_drafts=True,
    limitations=(
        "Only sales are read: bills, quotes and purchase orders are left alone.",
        "A payment cannot be changed in Xero, only deleted and entered again.",
        "An invoice with a payment cannot be voided before the payment is deleted.",
        "Xero sends no webhooks for payments, transfers and spent money; they are read every 15 minutes.",
        "A foreign currency has to be added in Xero before a document can use it.",
        "When a demo company is reset, Xero gives it a new identity; connect it again.",
    ),
    removal=(
        "Uninstall the connector here: the consent is revoked at Xero and reading and writing stop.",
        "Everything already posted stays in Xero. Take back what you do not want there before you uninstall.",
        "In Xero, Settings > Connected apps shows that the connection is gone.",
    ),
    docs_url="https://developer.xero.com/documentation/api/accounting/overview",
    brand_colour="#13b5ea",
)
