from tests.overview.conftest import flow

__all__ = ["flow"]
