"""A registry that a test tells what to answer, and what the proxy asks it with: fixtures for a conftest to import."""

from collections.abc import AsyncIterator

import pytest

from proxy.upstream.registry import Upstreams
from tests.lab.fake_registry import FakeRegistry
from tests.lab.partition_requests import IMAGE
from tests.lab.upstreams import fronting


@pytest.fixture
def registry() -> FakeRegistry:
    """It has one image, with a field, under the tag `v1` of any repository."""
    return FakeRegistry(IMAGE)


@pytest.fixture
async def upstreams(registry: FakeRegistry) -> AsyncIterator[Upstreams]:
    async with fronting(registry) as made:
        yield made
