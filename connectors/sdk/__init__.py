"""Everything a connector author uses: declare a manifest, subclass a client and its streams, translate to standard records."""

from connectors.sdk import errors, records
from connectors.sdk.client import Access, Client
from connectors.sdk.manifest import Manifest
from connectors.sdk.oauth import OAuth, Organisation
from connectors.sdk.streams import Draft, Field, Page, SourceRecord, Stream, WritableStream, Written
from connectors.sdk.webhooks import WebhookEvent, Webhooks

__all__ = [
    "Access",
    "Client",
    "Draft",
    "Field",
    "Manifest",
    "OAuth",
    "Organisation",
    "Page",
    "SourceRecord",
    "Stream",
    "WebhookEvent",
    "Webhooks",
    "WritableStream",
    "Written",
    "errors",
    "records",
]
