"""The proxy in front of the session's stock registry."""

from collections.abc import Iterator

import pytest

from tests.lab.proxy import Proxy
from tests.lab.registry import Registry


@pytest.fixture(scope="session")
def proxy(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One proxy for all tests that only pull; it has no Redis."""
    with Proxy.start(tmp_path_factory.mktemp("proxy"), registry.url) as started:
        yield started
