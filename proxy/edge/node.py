"""The edge cache of one process: its parts, opened together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from proxy.config import Config
from proxy.edge.disk.store import EdgeStore
from proxy.edge.filling.fills import Fills
from proxy.edge.offline.registry import EdgeRegistry
from proxy.edge.rights.acceptances import Acceptances
from proxy.edge.rights.grants import EdgeGrants
from proxy.edge.rights.names import Names
from proxy.edge.rights.places import Places
from proxy.upstream.upstream import Upstream


@dataclass(frozen=True, slots=True)
class EdgeNode:
    """What an edge node has and another proxy has not.

    Attributes:
        store: content and small facts on disk.
        registries: each registry, or else its last known answers, by the name that ``Repository.upstream`` has.
        fills: blobs on their way to the disk.
        grants: who may read which content, by the registry that says so.
        names: which manifests name which content.
    """

    store: EdgeStore
    registries: Mapping[str, EdgeRegistry]
    fills: Fills
    grants: Mapping[str, EdgeGrants]
    names: Names

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, config: Config, upstreams: Mapping[str, tuple[Config, Upstream]], *, borrows: bool
    ) -> AsyncIterator[EdgeNode]:
        """Open the directory for the time of the context.

        Args:
            config: the settings of the directory.
            upstreams: the registries, each with the settings as if it were the only one.
            borrows: whether sockets can be borrowed here.

        Raises:
            EdgeError: it cannot be used.
        """
        async with contextlib.AsyncExitStack() as stack:
            store = await stack.enter_async_context(EdgeStore.open(config.edge))
            names, places = await Names.open(store.state), await Places.open(store.state)
            acceptances = await Acceptances.open(
                store.state, store.directory.secret(), good_for=config.edge.offline_grant
            )
            asked = {name: upstream for name, (_, upstream) in upstreams.items()}
            silence = {name: own.upstream.read_timeout for name, (own, _) in upstreams.items()}
            fills = await stack.enter_async_context(Fills(store, asked, config.edge, silence=silence, borrows=borrows))
            registries, grants = {}, {}
            for name, (own, upstream) in upstreams.items():
                grants[name] = await EdgeGrants.open(
                    own.auth.ttl,
                    store.state,
                    acceptances=acceptances,
                    names=names,
                    places=places,
                    is_shared=config.workers > 1,
                )
                opening = EdgeRegistry.open(
                    upstream,
                    config.edge,
                    store,
                    name=name,
                    grants=grants[name],
                    names=names,
                    acceptances=acceptances,
                    places=places,
                    fills=fills,
                )
                registries[name] = await stack.enter_async_context(opening)
            yield cls(store, registries, fills, grants, names)
