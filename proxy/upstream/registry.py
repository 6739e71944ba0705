"""What is asked of a registry: of the real one, or of one that has a disk behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from proxy.auth.identity import Identity
from proxy.bodies.transit import RequestBody
from proxy.requests.kinds import RegistryRequest
from proxy.upstream.origins import OriginPool
from proxy.upstream.replies import Reply, Take
from proxy.upstream.session import Asked


class UpstreamRegistry(Protocol):
    """The registry behind the proxy. ``Upstream`` says what each question means, and what it raises."""

    @property
    def url(self) -> str:
        """The origins, for people."""

    @property
    def origins(self) -> OriginPool:
        """Where it is asked."""

    def ask_realm(self, method: str, url: URL, headers: CIMultiDict[str], data: Any = None) -> Asked:
        """Ask a token server."""

    def stream(
        self,
        request: RegistryRequest,
        headers: CIMultiDict[str],
        body: RequestBody | None = None,
        *,
        client: str,
        expect_continue: bool = False,
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send a request as it is, and yield the answer with its body unread."""

    async def head(self, path: str, identity: Identity, accept: str, held: str | None = None) -> Reply:
        """Ask for headers."""

    async def get(self, path: str, identity: Identity, *, limit: int, accept: str, held: str | None = None) -> Reply:
        """Read into memory."""

    async def download(self, path: str, identity: Identity, take: Take, *, limit: int) -> Reply:
        """Read a blob piece by piece."""

    async def first_byte(self, path: str, identity: Identity) -> Reply:
        """Ask for the first byte of a blob."""

    async def send(self, method: str, target: str, headers: CIMultiDict[str], body: bytes) -> Reply:
        """Write something small."""


Upstreams = Mapping[str, UpstreamRegistry]
"""The registries by name, as ``Repository.upstream`` has it."""
