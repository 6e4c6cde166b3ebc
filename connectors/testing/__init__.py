"""The author's test bench: what simulators are made of, and the contract every connector has to keep."""

from connectors.testing.ledger import Action, Author
from connectors.testing.oauth_server import Grant, OAuthRefusal, OAuthRules
from connectors.testing.outbox import Delivery
from connectors.testing.routing import Refused, json_body, json_response, route
from connectors.testing.simulator import Simulator
from connectors.testing.store import Collection, Store

__all__ = [
    "Action",
    "Author",
    "Collection",
    "Delivery",
    "Grant",
    "OAuthRefusal",
    "OAuthRules",
    "Refused",
    "Simulator",
    "Store",
    "json_body",
    "json_response",
    "route",
]
