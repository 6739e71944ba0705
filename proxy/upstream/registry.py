"""The one door to the registry: answers that are streamed through, and bounded ones that are read here."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

from proxy.auth.credentials import source
from proxy.auth.identity import Identity
from proxy.auth.realm import RealmPolicy
from proxy.bodies.transit import RequestBody
from proxy.clients.hops import leave
from proxy.clients.limits import Slots
from proxy.config import BlobsConfig, UpstreamConfig
from proxy.tracing.spans import carry
from proxy.upstream.authority import Authority
from proxy.upstream.origins import Origin, OriginPool
from proxy.upstream.redirects import Redirects
from proxy.upstream.replies import (
    MAX_REFUSAL,
    BrokeOffError,
    Reply,
    Take,
    UnreachableError,
    check_found,
    check_given,
    check_head,
    explained,
    read,
)
from proxy.upstream.service_authorisation import ServiceAuthorisation, refused, wanted
from proxy.wire.pool import ImpatientRequest, UpstreamPool
from proxy.wire.sizes import MAX_FIELD_SIZE, MAX_LINE_SIZE, READ_BUFFER
from proxy.wire.tls import registry_context

_READS: Final = frozenset({"GET", "HEAD"})
_BAD_GATEWAY: Final = 502
_NO_HEADERS: Final = CIMultiDictProxy(CIMultiDict[str]())
_UNAUTHORIZED: Final = 401
_FAILING: Final = 500
_SHORT_QUESTIONS: Final = 8
"""The part of the connections that transfers leave alone, one in so many."""
_MOST_WAITING: Final = 4096
_CROWDED: Final = (
    "all connections to the registry are in use: try again; upstream.max_connections says how many there are"
)
# A proxy adds nothing the client did not send.
_NO_AUTO_HEADERS: Final = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)


@dataclass(frozen=True, slots=True)
class _Question:
    """What the registry is asked, and what is done with its answer."""

    method: str
    path: str
    headers: CIMultiDict[str]
    limit: int
    take: Take | None
    body: bytes | None


class Upstream:
    """The registry, over a pool of kept connections to its origins."""

    def __init__(
        self,
        config: UpstreamConfig,
        session: aiohttp.ClientSession,
        origins: OriginPool,
        others: ssl.SSLContext,
    ) -> None:
        """``others`` is how TLS is spoken with hosts that are not the registry: without our certificate."""
        self._config = config
        self._session = session
        self._others = others
        self._access: ServiceAuthorisation | None = None
        self.origins = origins
        self._places = frozenset(URL(url).origin() for url in config.urls)
        self._redirects: Redirects | None = None
        self._server_name = config.server_name or None
        connections = config.max_connections * len(config.urls)
        # Transfers may be slow and many; the short questions about manifests find connections beside them.
        self._transfers = Slots(connections - connections // _SHORT_QUESTIONS, _MOST_WAITING, _CROWDED)

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, config: UpstreamConfig, blobs: BlobsConfig, realms: RealmPolicy) -> AsyncIterator[Upstream]:
        """Open the pool for the time of the context.

        Args:
            config: where the registry is, and what the proxy shows it.
            blobs: where redirects may lead.
            realms: guards the credentials of our own.

        Raises:
            CertificateError, CredentialsError: the files that the configuration names cannot be used.
        """
        origins = OriginPool(config.urls, config.balance)
        # Docker's configuration and ECR know a registry by its authority, without a default port.
        keychain = (
            None if config.credentials.kind == "none" else source(config.credentials, URL(config.urls[0]).authority)
        )
        pool: dict[str, Any] = {
            "limit": config.max_connections * len(config.urls),
            "limit_per_host": config.max_connections if len(config.urls) > 1 else 0,
            "keepalive_timeout": config.keepalive_timeout,
            "ttl_dns_cache": 30,
        }
        async with aiohttp.ClientSession(
            connector=UpstreamPool(ssl=registry_context(config), **pool),
            request_class=ImpatientRequest,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NO_AUTO_HEADERS,
            # Waits, that for a free connection too, are bounded by the callers, who know whom they are
            # waiting for. So a connection that times out says something of its origin.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout),
            read_bufsize=READ_BUFFER,
            max_line_size=MAX_LINE_SIZE,
            max_field_size=MAX_FIELD_SIZE,
        ) as session:
            others = registry_context(config, is_registry=False)
            upstream = cls(config, session, origins, others)
            if keychain is not None:
                authority = Authority(upstream.ask_realm, origins, keychain, realms, timeout=config.metadata_timeout)
                upstream._access = ServiceAuthorisation(authority)
            places = tuple(map(URL, config.urls))
            async with Redirects.connect(blobs, places, upstream._request, ssl=others, **pool) as redirects:
                upstream._redirects = redirects
                with origins.measured():
                    async with origins.watched(upstream._probe):
                        yield upstream

    def _request(
        self, method: str, url: URL, headers: CIMultiDict[str], **more: Any
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Ask the registry itself; redirects are not followed."""
        if self._config.host:
            headers = CIMultiDict(headers)
            headers[hdrs.HOST] = self._config.host
        return self._session.request(
            method, url, headers=headers, allow_redirects=False, server_hostname=self._server_name, **more
        )

    @property
    def url(self) -> str:
        """The origins, for people."""
        return self._config.url

    def ask_realm(
        self, method: str, url: URL, headers: CIMultiDict[str], data: Any = None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Ask a token server, which is the registry itself or another host; redirects are not followed.

        Only the registry gets to see our certificate, and only it has the name and host that are configured.
        """
        if url.origin() in self._places:
            return self._request(method, url, headers, data=data)
        return self._session.request(method, url, headers=headers, data=data, allow_redirects=False, ssl=self._others)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: RequestBody | None = None,
        *,
        expect_continue: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request with its target as it is, and yield the answer with its body unread.

        Redirects of reads are followed where so configured. The request upstream ends with the context. Where
        the proxy has credentials of its own, they replace the client's; refused, they are renewed, and a
        request without a body is sent once more. An origin that takes no connection gives way to the next,
        unless the body was begun; one that breaks off does so for reads.

        Raises:
            UpstreamError: no answer came. Errors inside the context are the caller's.
            TooManyRequestsError: all connections are in use, and other clients' turns come first.
        """
        leave(headers)
        carry(headers)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._transfers.taken())
            order = self.origins.order()
            for origin in order:
                try:
                    response = await self._begin(
                        stack,
                        origin,
                        method,
                        target,
                        headers=headers,
                        body=body,
                        expect_continue=expect_continue,
                    )
                    break
                except UnreachableError as error:
                    self.origins.failed(origin, str(error))
                    if origin is order[-1] or (body is not None and body.is_begun):
                        raise
                except BrokeOffError:
                    if origin is order[-1] or method not in _READS or body is not None:
                        raise
            if not origin.is_up:
                self.origins.answered(origin)
            yield response

    async def _begin(
        self,
        stack: contextlib.AsyncExitStack,
        origin: Origin,
        method: str,
        target: str,
        *,
        headers: CIMultiDict[str],
        body: RequestBody | None,
        expect_continue: bool,
    ) -> aiohttp.ClientResponse:
        """Ask ``origin``, and return the answer with its body unread; it is closed with ``stack``."""
        url = URL(f"{origin.url}{target}", encoded=True)

        def send() -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
            return self._request(method, url, headers, data=body, expect100=expect_continue)

        with explained(origin.url, "stream"):
            if self._access is None:
                response = await stack.enter_async_context(send())
            else:
                asked = self._access.asked(method, target, headers, body, send)
                response = await stack.enter_async_context(asked)
            redirects = self._redirects
            if redirects is not None and redirects.are_followed and method in _READS and body is None:
                first = response
                response = await stack.enter_async_context(redirects.followed(method, url, headers, first))
                if response is not first:
                    check_found(response)
            check_head(response)
            return response

    async def head(self, path: str, identity: Identity, accept: str, held: str | None = None) -> Reply:
        """Ask for the headers of ``path``, bounded by the metadata timeout; 304 if it has the tag ``held``.

        Raises:
            UpstreamError: no answer came.
        """
        headers = {**identity.headers, hdrs.ACCEPT: accept}
        if held is not None:
            headers[hdrs.IF_NONE_MATCH] = held
        return await self._ask("HEAD", path, headers, limit=MAX_REFUSAL)

    async def get(self, path: str, identity: Identity, *, limit: int, accept: str) -> Reply:
        """Read ``path`` into memory, following redirects, bounded in time and to ``limit`` bytes.

        Raises:
            UpstreamError: no answer came, or a body longer than ``limit``.
        """
        return await self._ask("GET", path, {**identity.headers, hdrs.ACCEPT: accept}, limit=limit)

    async def download(self, path: str, identity: Identity, take: Take, *, limit: int) -> Reply:
        """Read a blob like ``get``, but hand its bytes to ``take`` as they come; the reply has no body then.

        Raises:
            UpstreamError: no answer came, or a body longer than ``limit``.
        """
        headers = {**identity.headers, hdrs.ACCEPT: "*/*"}
        return await self._ask("GET", path, headers, limit=limit, take=take)

    async def first_byte(self, path: str, identity: Identity) -> Reply:
        """Ask for the first byte of a blob; the answer's headers tell its size.

        A registry that ignores ``Range`` sends the whole blob; its body is not read then.

        Raises:
            UpstreamError: no answer came.
        """
        return await self._ask("GET", path, {**identity.headers, hdrs.RANGE: "bytes=0-0"}, limit=0)

    async def send(self, method: str, target: str, headers: CIMultiDict[str], body: bytes) -> Reply:
        """Write something small, bounded by the metadata timeout; redirects are not followed.

        Args:
            method: of the request.
            target: in origin-form.
            headers: the client's credentials among them.
            body: the whole of it.

        Raises:
            UpstreamError: no answer came.
        """
        return await self._ask(method, target, headers, limit=MAX_REFUSAL, body=body)

    async def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[istr, str] | CIMultiDict[str],
        *,
        limit: int,
        take: Take | None = None,
        body: bytes | None = None,
    ) -> Reply:
        asked: CIMultiDict[str] = CIMultiDict(headers)
        asked[hdrs.ACCEPT_ENCODING] = "identity"
        leave(asked)
        carry(asked)
        question = _Question(method, path, asked, limit, take, body)
        if self._access is None:
            return await self._exchange(question)
        needed = wanted(method, path)
        shown = await self._access.authorise(asked, needed)
        reply = await self._exchange(question)
        renewed = await self._access.renewed(needed, shown, reply.status, reply.headers)
        if renewed is not None:
            asked[hdrs.AUTHORIZATION] = renewed
            reply = await self._exchange(question)
        # HEAD is answered badly by some, so its refusal is not the last word.
        if reply.status == _UNAUTHORIZED and method != hdrs.METH_HEAD:
            raise refused()
        return reply

    async def _exchange(self, question: _Question) -> Reply:
        """Ask one origin after the other, within one time-out for all."""
        deadline = asyncio.get_running_loop().time() + self._config.metadata_timeout
        order = self.origins.order()
        for origin in order[:-1]:
            try:
                return await self._exchange_with(origin, deadline, question)
            except UnreachableError as error:
                self.origins.failed(origin, str(error))
            except BrokeOffError:
                # The one before may have written something, or may have given something to take.
                if question.take is not None or question.method not in _READS:
                    raise
        try:
            return await self._exchange_with(order[-1], deadline, question)
        except UnreachableError as error:
            self.origins.failed(order[-1], str(error))
            raise

    async def _exchange_with(self, origin: Origin, deadline: float, question: _Question) -> Reply:
        method, headers = question.method, question.headers
        url = URL(f"{origin.url}{question.path}", encoded=True)
        with explained(origin.url, method.lower()):
            async with (
                asyncio.timeout_at(deadline),
                self._request(method, url, headers, data=question.body) as first,
            ):
                if not origin.is_up:
                    self.origins.answered(origin)
                async with self._followed(method, url, headers, first) as response:
                    check_head(response)
                    if response is not first and response.url.origin() not in self._places:
                        # Another host's no is not the registry's, and its challenge is not for anybody's
                        # credentials.
                        if method == hdrs.METH_HEAD and not response.ok:
                            return Reply(_BAD_GATEWAY, "", _NO_HEADERS, b"")  # asked for again with GET
                        check_found(response)
                    if method == hdrs.METH_GET:
                        check_given(response)
                    return await read(response, question.limit, question.take)

    def _followed(
        self, method: str, url: URL, headers: CIMultiDict[str], first: aiohttp.ClientResponse
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._redirects is None or method not in _READS:
            return contextlib.nullcontext(first)
        return self._redirects.followed(method, url, headers, first)

    async def _probe(self, origin: Origin) -> bool:
        """Say whether ``origin`` answers, 401 too: it is a registry that wants credentials."""
        try:
            async with (
                asyncio.timeout(self._config.connect_timeout),
                self._request("HEAD", URL(f"{origin.url}/v2/"), CIMultiDict()) as response,
            ):
                return response.status < _FAILING
        except (aiohttp.ClientError, OSError, ValueError):
            return False


Upstreams = Mapping[str, Upstream]
"""The registries by name, as ``Repository.upstream`` has it."""
