"""The proxy in front of the session's stock registry, and a place to build images in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.workshop import Workshop, write_model
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry


@pytest.fixture(scope="session")
def proxy(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One proxy for all tests that only pull; it has no Redis."""
    with Proxy.start(tmp_path_factory.mktemp("proxy"), registry.url) as started:
        yield started


@pytest.fixture
def workshop(tmp_path: Path, registry: Registry) -> Workshop:
    write_model(tmp_path / "model")
    return Workshop(tmp_path / "model", tmp_path / "store", registry)
