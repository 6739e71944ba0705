"""The proxy's side of a registry, without the proxy around it."""

import contextlib
from collections.abc import AsyncIterator

from proxy.auth.realm import RealmPolicy
from proxy.config import load
from proxy.repository import DEFAULT_UPSTREAM
from proxy.upstream.registry import Upstreams
from proxy.upstream.upstream import Upstream
from tests.lab.fake_registry import FakeRegistry, serving


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Upstream]:
    """Ask the registry at an origin, or at several with commas between them."""
    config = load({"upstream": url}, {})
    realms = RealmPolicy(config.upstream.urls, ())
    async with Upstream.connect(config.upstream, config.blobs, realms) as upstream:
        yield upstream


@contextlib.asynccontextmanager
async def fronting(registry: FakeRegistry) -> AsyncIterator[Upstreams]:
    """Serve a registry, and yield it as the only upstream."""
    async with serving(registry), connected(registry.url) as upstream:
        yield {DEFAULT_UPSTREAM: upstream}
