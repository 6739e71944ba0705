"""Handlers over a registry that a test tells what to answer."""

import pytest

from proxy.upstream.registry import Upstreams
from tests.lab.exchanges import Handlers
from tests.lab.told_registry import registry, upstreams

__all__ = ["handlers", "registry", "upstreams"]


@pytest.fixture
def handlers(upstreams: Upstreams) -> Handlers:
    return Handlers.over(upstreams)
