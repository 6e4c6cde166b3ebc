"""The contract every connector keeps, as tests to inherit: `class TestAcme(ConnectorContract): slug = "acme"`.

Runs in process against the provider's simulator, without a network or a database. Differences between providers are
class attributes and methods of `Setup`.
"""

import pytest

pytest.register_assert_rewrite(
    "connectors.testing.contract.consent",
    "connectors.testing.contract.reading",
    "connectors.testing.contract.reports",
    "connectors.testing.contract.shape",
    "connectors.testing.contract.trouble",
    "connectors.testing.contract.webhooks",
    "connectors.testing.contract.writing",
)

from connectors.testing.contract.bench import Bench, Parts  # noqa: E402
from connectors.testing.contract.consent import ConsentRules  # noqa: E402
from connectors.testing.contract.reading import ReadingRules  # noqa: E402
from connectors.testing.contract.reports import ReportRules  # noqa: E402
from connectors.testing.contract.setup import Setup  # noqa: E402
from connectors.testing.contract.shape import ShapeRules  # noqa: E402
from connectors.testing.contract.trouble import TroubleRules  # noqa: E402
from connectors.testing.contract.webhooks import WebhookRules  # noqa: E402
from connectors.testing.contract.writing import WritingRules  # noqa: E402


class ConnectorContract(ShapeRules, ConsentRules, ReadingRules, TroubleRules, WritingRules, ReportRules, WebhookRules):
    """All rules together."""


__all__ = ["Bench", "ConnectorContract", "Parts", "Setup"]
