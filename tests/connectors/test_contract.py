"""The contract holds for a connector that is right."""

from connectors.testing.contract import ConnectorContract, Parts


class TestSample(ConnectorContract):
    slug = "sample"

    @classmethod
    def parts(cls) -> Parts:
        return Parts.of("tests.connectors.sample")
