"""The edge cache of one process: its parts, opened together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from proxy.config import Config
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
class EdgeNode:
    """What an edge node has and another proxy has not.

    Attributes:
        store: content and small facts on disk.
        registry: the registry, or else its last known answers.
        fills: blobs on their way to the disk.
        grants: who may read which content.
        names: which manifests name which content.
    """

    store: EdgeStore
    registry: EdgeRegistry
    fills: Fills
    grants: EdgeGrants
    names: Names

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, config: Config, upstream: Upstream, *, borrows: bool) -> AsyncIterator[EdgeNode]:
        """Open the directory for the time of the context; ``borrows``: whether sockets can be borrowed here.

        Raises:
            EdgeError: it cannot be used.
        """
        async with contextlib.AsyncExitStack() as stack:
            store = await stack.enter_async_context(EdgeStore.open(config.edge))
            names, places = await Names.open(store.state), await Places.open(store.state)
            acceptances = await Acceptances.open(
                store.state, store.directory.secret(), good_for=config.edge.offline_grant
            )
            grants = await EdgeGrants.open(
                config.auth.ttl,
                store.state,
                acceptances=acceptances,
                names=names,
                places=places,
                is_shared=config.workers > 1,
            )
            fills = await stack.enter_async_context(
                Fills(
                    store,
                    {DEFAULT_UPSTREAM: upstream},
                    config.edge,
                    silence=config.upstream.read_timeout,
                    borrows=borrows,
                )
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
            yield cls(store, registry, fills, grants, names)
