"""Connections to the registry, and requests over them: answers come as they are, no redirect is followed."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from proxy.config import UpstreamConfig
from proxy.repository import DEFAULT_UPSTREAM
from proxy.upstream.origins import Origin
from proxy.wire.names import HostNames
from proxy.wire.pool import BoundedContinueRequest, UpstreamPool
from proxy.wire.sizes import MAX_FIELD_SIZE, MAX_LINE_SIZE, READ_BUFFER
from proxy.wire.tls import registry_context

Asked = contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]
"""A request that is sent when its context is entered; its answer's body is yet to be read."""
# A proxy adds nothing the client did not send.
_NO_AUTO_HEADERS: Final = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)


def pool_options(config: UpstreamConfig) -> dict[str, Any]:
    """Return how many connections are kept, and for how long, as aiohttp's connector takes it."""
    return {
        "limit": config.max_connections * len(config.urls),
        "limit_per_host": config.max_connections if len(config.urls) > 1 else 0,
        "keepalive_timeout": config.keepalive_timeout,
        "ttl_dns_cache": 30,
    }


def client_session(
    pool: UpstreamPool,
    *,
    connect_timeout: float | None = None,
    request_class: type[aiohttp.ClientRequest] = aiohttp.ClientRequest,
) -> aiohttp.ClientSession:
    """Return a session that passes requests and answers on unchanged.

    Waits, that for a free connection too, are bounded by the callers, which know whom they are waiting for. So a
    connection that takes longer than ``connect_timeout`` (seconds; None: as long as it takes) says something
    of its origin.
    """
    return aiohttp.ClientSession(
        connector=pool,
        request_class=request_class,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_NO_AUTO_HEADERS,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
        read_bufsize=READ_BUFFER,
        max_line_size=MAX_LINE_SIZE,
        max_field_size=MAX_FIELD_SIZE,
    )


class RegistrySession:
    """Kept connections to the registry's origins, and to the token servers that it names."""

    def __init__(self, config: UpstreamConfig, session: aiohttp.ClientSession, others: ssl.SSLContext) -> None:
        """``others`` is how TLS is spoken with hosts that are not the registry: without our certificate."""
        self._session = session
        self._host = config.host
        self._server_name = config.server_name or None
        self._connect_timeout = config.connect_timeout
        self._origins = frozenset(URL(url).origin() for url in config.urls)
        self.others = others

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, config: UpstreamConfig, name: str = DEFAULT_UPSTREAM) -> AsyncIterator[RegistrySession]:
        """Open the pool for the time of the context; ``name`` is the registry's, as ``Repository.upstream`` has it.

        Raises:
            CertificateError: the files that the configuration names cannot be used.
        """
        tls, others = registry_context(config), registry_context(config, is_registry=False)
        with HostNames.open() as names:
            pool = UpstreamPool(name, resolver=names, ssl=tls, **pool_options(config))
            async with client_session(
                pool, connect_timeout=config.connect_timeout, request_class=BoundedContinueRequest
            ) as session:
                yield cls(config, session, others)

    def is_registry(self, url: URL) -> bool:
        """Say whether ``url`` is at one of the registry's origins."""
        return url.origin() in self._origins

    def request(self, method: str, url: URL, headers: CIMultiDict[str], **more: Any) -> Asked:
        """Ask the registry itself; ``more`` is aiohttp's."""
        if self._host:
            headers = CIMultiDict(headers)
            headers[hdrs.HOST] = self._host
        return self._session.request(
            method, url, headers=headers, allow_redirects=False, server_hostname=self._server_name, **more
        )

    def ask_realm(self, method: str, url: URL, headers: CIMultiDict[str], data: Any = None) -> Asked:
        """Ask a token server, which is the registry itself or another host.

        Only the registry gets to see our certificate, and only it has the name and host that are configured.
        """
        if self.is_registry(url):
            return self.request(method, url, headers, data=data)
        return self._session.request(method, url, headers=headers, data=data, allow_redirects=False, ssl=self.others)

    async def probe(self, origin: Origin) -> bool:
        """Say whether ``origin`` answers, 401 too: it is a registry that wants credentials."""
        try:
            async with (
                asyncio.timeout(self._connect_timeout),
                self.request("HEAD", URL(f"{origin.url}/v2/"), CIMultiDict()) as response,
            ):
                return response.status < HTTPStatus.INTERNAL_SERVER_ERROR
        except (aiohttp.ClientError, OSError, ValueError):
            return False
