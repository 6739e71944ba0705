"""An edge node's registry, without the proxy around it: a disk in front of a registry that a test decides."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from proxy.auth.realm import RealmPolicy
from proxy.config import load
from proxy.edge.disk.store import EdgeStore
from proxy.edge.filling.fills import Fills
from proxy.edge.offline.registry import EdgeRegistry
from proxy.edge.rights.acceptances import Acceptances
from proxy.edge.rights.grants import EdgeGrants
from proxy.edge.rights.names import Names
from proxy.edge.rights.places import Places
from proxy.repository import DEFAULT_UPSTREAM
from proxy.upstream.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Edge:
    """The parts that a test looks at."""

    registry: EdgeRegistry
    store: EdgeStore
    grants: EdgeGrants


@contextlib.asynccontextmanager
async def edge(url: str, directory: Path, **settings: str) -> AsyncIterator[Edge]:
    """Open `directory` in front of the registry at `url`; settings are `edge__max_stale="5"`."""
    given = {path.replace("__", "."): value for path, value in settings.items()}
    config = load({"upstream.url": url, "edge.directory": str(directory), **given}, {})
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(
            Upstream.connect(config.upstream, config.blobs, RealmPolicy(config.upstream.urls, ()))
        )
        store = await stack.enter_async_context(EdgeStore.open(config.edge))
        names, places = await Names.open(store.state), await Places.open(store.state)
        acceptances = await Acceptances.open(store.state, store.directory.secret(), good_for=config.edge.offline_grant)
        grants = await EdgeGrants.open(
            config.auth.ttl, store.state, acceptances=acceptances, names=names, places=places, is_shared=False
        )
        fills = await stack.enter_async_context(
            Fills(store, {DEFAULT_UPSTREAM: upstream}, config.edge, silence={DEFAULT_UPSTREAM: 30})
        )
        registry = await stack.enter_async_context(
            EdgeRegistry.open(
                upstream,
                config.edge,
                store,
                grants=grants,
                names=names,
                acceptances=acceptances,
                places=places,
                fills=fills,
            )
        )
        yield Edge(registry, store, grants)
