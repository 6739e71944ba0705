import contextlib

import pytest

from proxy.admin import ServiceHealth
from proxy.auth.realm import RealmPolicy
from proxy.config import load
from proxy.readiness import Readiness
from proxy.repository import DEFAULT_UPSTREAM
from proxy.upstream.upstream import Upstream
from tests.lab.process import free_port


@pytest.mark.parametrize("is_edge", [False, True])
async def test_an_edge_node_is_ready_while_the_registry_is_away_until_it_stops(*, is_edge: bool) -> None:
    config = load({"upstream": f"http://127.0.0.1:{free_port()}"}, {})
    realms = RealmPolicy(config.upstream.urls, ())
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(Upstream.connect(config.upstream, config.blobs, realms))
        readiness = await stack.enter_async_context(Readiness.open({DEFAULT_UPSTREAM: upstream}, "default"))
        health = ServiceHealth(readiness, None, is_edge=is_edge)
        is_ready, document = await health.ready()
        assert is_ready == is_edge
        assert document["status"] == ("ready" if is_edge else "unready")
        assert "cannot be reached" in document["upstream"]
        health.is_stopping = True
        assert not (await health.ready())[0]
