"""The jobs of a node and their endpoint, opened together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from proxy.auth.realm import RealmPolicy
from proxy.config import Config
from proxy.edge.disk.directory import EdgeDirectory, EdgeError
from proxy.edge.node import EdgeNode
from proxy.partitions.content import Contents
from proxy.partitions.synthesis import Partitions
from proxy.prefetch.bringing import Bringing
from proxy.prefetch.endpoint import PrefetchEndpoint
from proxy.prefetch.identities import JobIdentity
from proxy.prefetch.jobs import Jobs, Tell
from proxy.prefetch.order import Order
from proxy.prefetch.planning import Planner
from proxy.repository import DEFAULT_UPSTREAM
from twodfs.files import read_file


@contextlib.asynccontextmanager
async def prefetching(
    config: Config, node: EdgeNode, partitions: Partitions, contents: Contents, realms: RealmPolicy
) -> AsyncIterator[PrefetchEndpoint]:
    """Take orders for the time of the context.

    Args:
        config: the settings.
        node: the disk, and the registry in front of it.
        partitions: cuts those that are ordered.
        contents: reads fields.
        realms: guards the credentials that come with an order.

    Raises:
        EdgeError: the admin token cannot be had.
    """
    planner = Planner(node, partitions, contents)

    async def bring(order: Order, tell: Tell) -> None:
        identity = JobIdentity(
            node.registries[DEFAULT_UPSTREAM],
            realms,
            order.credentials,
            is_service=config.controls_access,
            timeout=config.upstream.metadata_timeout,
        )
        await Bringing(node, planner, identity, order, tell).run()

    def token() -> str:
        return admin_token(config.edge.admin_token_file, node.store.directory)

    token()  # a start without one would refuse all orders
    async with Jobs.open(bring) as jobs:
        registry = urlsplit(config.upstream.urls[0]).netloc
        yield PrefetchEndpoint(jobs, token, registry, wants_credentials=not config.controls_access)


def admin_token(file: Path | None, directory: EdgeDirectory | None) -> str:
    """Return the admin token as it is now: that of ``edge.admin_token_file``, else the directory's.

    Raises:
        EdgeError: it cannot be read, is empty, or there is neither.
    """
    if file is None:
        if directory is None:
            raise EdgeError("there is no edge directory, which has the admin token")
        return directory.admin_token()
    try:
        token = read_file(file).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise EdgeError(f"edge.admin_token_file {file} cannot be used: {reason}") from None
    if not token:
        raise EdgeError(f"edge.admin_token_file {file} is empty; write a token of your own into it")
    return token
