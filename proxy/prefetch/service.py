"""The jobs of a node and their endpoint, opened together."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from proxy.auth.realm import RealmPolicy
from proxy.config import Config, EdgeConfig
from proxy.edge.disk.directory import EdgeDirectory, EdgeError
from proxy.edge.node import EdgeNode
from proxy.partitions.content import Contents
from proxy.partitions.plain import PlainTags
from proxy.partitions.synthesis import Partitions
from proxy.prefetch.bringing import AskedRegistry, Bringing
from proxy.prefetch.endpoint import LoginWanted, PrefetchEndpoint
from proxy.prefetch.identities import JobIdentity
from proxy.prefetch.jobs import Jobs, Tell
from proxy.prefetch.order import Order
from proxy.prefetch.planning import Planner
from proxy.upstream.registry import UpstreamRegistry
from twodfs.credentials.credentials import Credentials
from twodfs.files import read_file

_TOKEN: Final = re.compile(r"[!-~]{1,1024}")  # a header carries it


@dataclass(frozen=True, slots=True)
class PrefetchedRegistry:
    """A registry that images are brought from.

    Attributes:
        config: the settings, as if it were the only one.
        partitions: cuts those that are ordered.
        contents: reads fields.
        plain: the partitions that plain tags give; None: they give the registry's images.
        realms: guards the credentials that come with an order.
    """

    config: Config
    partitions: Partitions
    contents: Contents
    plain: PlainTags | None
    realms: RealmPolicy


@contextlib.asynccontextmanager
async def prefetching(
    edge: EdgeConfig, node: EdgeNode, registries: Mapping[str, PrefetchedRegistry]
) -> AsyncIterator[PrefetchEndpoint]:
    """Take orders for the time of the context.

    Args:
        edge: where the admin token is.
        node: the disk, and the registries in front of it.
        registries: by the name that ``Repository.upstream`` has.

    Raises:
        EdgeError: the admin token cannot be had.
    """
    planners = {name: Planner(node, one.partitions, one.contents, one.plain) for name, one in registries.items()}

    async def bring(order: Order, tell: Tell) -> None:
        asked = {
            name: AskedRegistry(planners[name], _identity(node.registries[name], one, order.credentials_for(name)))
            for name, one in registries.items()
        }
        await Bringing(node, asked, order, tell).run()

    def token() -> str:
        return admin_token(edge.admin_token_file, node.store.directory)

    token()  # a start without one would refuse all orders
    async with Jobs.open(bring) as jobs:
        wanted = {name: (_address(one), not one.config.controls_access) for name, one in registries.items()}
        yield PrefetchEndpoint(jobs, token, {name: LoginWanted(*one) for name, one in wanted.items()})


def _identity(
    registry: UpstreamRegistry, prefetched: PrefetchedRegistry, credentials: Credentials | None
) -> JobIdentity:
    return JobIdentity(
        registry,
        prefetched.realms,
        credentials,
        is_service=prefetched.config.controls_access,
        timeout=prefetched.config.upstream.metadata_timeout,
    )


def _address(registry: PrefetchedRegistry) -> str:
    return urlsplit(registry.config.upstream.urls[0]).netloc


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
    if not _TOKEN.fullmatch(token):
        raise EdgeError(f"{file} holds no admin token: it is to be one line of up to 1024 letters, digits and signs")
    return token
