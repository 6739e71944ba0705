"""The one way to the registry: streamed answers, and bounded ones that are read here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, istr
from yarl import URL

from proxy.auth.credentials import source
from proxy.auth.identity import Identity
from proxy.auth.realm import RealmPolicy
from proxy.bodies.transit import RequestBody
from proxy.clients.hops import leave
from proxy.clients.limits import Slots
from proxy.config import BlobsConfig, UpstreamConfig
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests.kinds import RegistryRequest
from proxy.requests.parsing import parse
from proxy.tracing.spans import carry
from proxy.upstream.attempts import READS, Question, first_answer
from proxy.upstream.authority import Authority
from proxy.upstream.origins import Origin, OriginPool
from proxy.upstream.redirects import Redirects
from proxy.upstream.replies import (
    MAX_REFUSAL,
    NO_HEADERS,
    Reply,
    Take,
    check_found,
    check_given,
    check_head,
    explained,
    read,
)
from proxy.upstream.service_authorisation import ServiceAuthorisation, needs, refused
from proxy.upstream.session import Asked, RegistrySession, pool_options

_SHORT_QUESTIONS: Final = 8
"""The part of the connections that transfers leave alone, one in so many."""
_MOST_WAITING: Final = 4096
_CROWDED: Final = (
    "all connections to the registry are in use: try again; upstream.max_connections says how many there are"
)


class Upstream:
    """The registry, over a pool of kept connections to its origins."""

    def __init__(
        self,
        config: UpstreamConfig,
        session: RegistrySession,
        origins: OriginPool,
        redirects: Redirects,
        access: ServiceAuthorisation | None,
        *,
        name: str = DEFAULT_UPSTREAM,
    ) -> None:
        """``access`` None: the client's credentials go with its requests."""
        self._name = name
        self.url = config.url
        """The origins, for people."""
        self.origins = origins
        self._session = session
        self._redirects = redirects
        self._access = access
        self._metadata_timeout = config.metadata_timeout
        connections = config.max_connections * len(config.urls)
        # Transfers may be slow and many; the short questions about manifests find connections beside them.
        self._transfers = Slots(connections - connections // _SHORT_QUESTIONS, _MOST_WAITING, _CROWDED)

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls, config: UpstreamConfig, blobs: BlobsConfig, realms: RealmPolicy, name: str = DEFAULT_UPSTREAM
    ) -> AsyncIterator[Upstream]:
        """Open the pool for the time of the context.

        Args:
            config: the registry's addresses, and the proxy's credentials.
            blobs: where redirects may lead.
            realms: guards the credentials of our own.
            name: the registry's, as ``Repository.upstream`` has it.

        Raises:
            CertificateError, CredentialsError: the files that the configuration names cannot be used.
        """
        origins = OriginPool(config.urls, config.balance, name)
        async with contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(RegistrySession.connect(config, name))
            access = _own_access(config, session, origins, realms)
            ways_out = Redirects.connect(
                blobs,
                tuple(map(URL, config.urls)),
                session.request,
                name=name,
                ssl=session.others,
                **pool_options(config),
            )
            redirects = await stack.enter_async_context(ways_out)
            stack.enter_context(origins.measured())
            await stack.enter_async_context(origins.watched(session.probe))
            yield cls(config, session, origins, redirects, access, name=name)

    def ask_realm(self, method: str, url: URL, headers: CIMultiDict[str], data: Any = None) -> Asked:
        """Ask a token server, which is the registry itself or another host; redirects are not followed."""
        return self._session.ask_realm(method, url, headers, data)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        request: RegistryRequest,
        headers: CIMultiDict[str],
        body: RequestBody | None = None,
        *,
        client: str,
        expect_continue: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send ``request`` with its target as it is, and yield the answer with its body unread.

        Redirects of reads are followed where so configured. The request upstream ends with the context. Where
        the proxy has credentials of its own, they replace the client's; refused, they are renewed, and a
        request without a body is sent once more. An origin that takes no connection gives way to the next,
        unless the body was begun; a broken answer does so for reads.

        Args:
            request: the parsed request.
            headers: all of them.
            body: the client's.
            client: whose turn it is where connections are few, by its rate limit key.
            expect_continue: whether the body waits for the registry to want it.

        Raises:
            UpstreamError: no answer came. Errors inside the context are the caller's.
            TooManyRequestsError: all connections are in use, and other clients' turns come first.
        """
        leave(headers)
        carry(headers)
        question = Question(request.method, request.target, headers, body)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._transfers.taken(client))

            async def begin(origin: Origin) -> aiohttp.ClientResponse:
                with explained(origin.url, "stream", self._name):
                    return await self._begin(
                        stack,
                        origin,
                        request,
                        question,
                        follows=self._redirects.are_followed,
                        expect_continue=expect_continue,
                    )

            yield await first_answer(self.origins, question, begin)

    @contextlib.asynccontextmanager
    async def blob(self, path: str, identity: Identity, first: int = 0) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for a blob from its byte ``first`` on, and yield the answer with its body unread.

        Redirects are always followed: the proxy reads the blob itself. Other than that it is like ``stream``, and
        counts as a transfer of ``identity.client``.

        Raises:
            UpstreamError: no answer came. Errors inside the context are the caller's.
            TooManyRequestsError: all connections are in use, and other clients' turns come first.
        """
        headers = CIMultiDict({**identity.headers, hdrs.ACCEPT: "*/*", hdrs.ACCEPT_ENCODING: "identity"})
        if first:
            headers[hdrs.RANGE] = f"bytes={first}-"
        leave(headers)
        carry(headers)
        request, question = parse("GET", path), Question("GET", path, headers)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._transfers.taken(identity.client))

            async def begin(origin: Origin) -> aiohttp.ClientResponse:
                with explained(origin.url, "stream", self._name):
                    return await self._begin(stack, origin, request, question, follows=True)

            yield await first_answer(self.origins, question, begin)

    async def _begin(
        self,
        stack: contextlib.AsyncExitStack,
        origin: Origin,
        request: RegistryRequest,
        question: Question,
        *,
        follows: bool,
        expect_continue: bool = False,
    ) -> aiohttp.ClientResponse:
        """Ask ``origin``, and return the answer with its body unread; it is closed with ``stack``."""
        method, headers, body = question.method, question.headers, question.body
        url = URL(f"{origin.url}{question.target}", encoded=True)

        def send() -> Asked:
            return self._session.request(method, url, headers, data=body, expect100=expect_continue)

        if self._access is None:
            first = await stack.enter_async_context(send())
        else:
            asked = self._access.asked(request, headers, send, has_body=body is not None)
            first = await stack.enter_async_context(asked)
        response = first
        if follows and question.is_read:
            response = await stack.enter_async_context(self._redirects.followed(method, url, headers, first))
            if response is not first:
                check_found(response)
        check_head(response)
        self._has_answered(origin)
        return response

    def _has_answered(self, origin: Origin) -> None:
        if not origin.is_up:
            self.origins.answered(origin)

    async def head(self, path: str, identity: Identity, accept: str, held: str | None = None) -> Reply:
        """Ask for the headers of ``path``, bounded by the metadata timeout; 304 if it has the tag ``held``.

        Raises:
            UpstreamError: no answer came.
        """
        headers = {**identity.headers, hdrs.ACCEPT: accept}
        if held is not None:
            headers[hdrs.IF_NONE_MATCH] = held
        return await self._ask("HEAD", path, headers, limit=MAX_REFUSAL)

    async def get(self, path: str, identity: Identity, *, limit: int, accept: str, held: str | None = None) -> Reply:
        """Read ``path`` into memory, following redirects, bounded in time and to ``limit`` bytes.

        The reply may be 304 if it has the tag ``held``.

        Raises:
            UpstreamError: no answer came, or a body longer than ``limit``.
        """
        headers = {**identity.headers, hdrs.ACCEPT: accept}
        if held is not None:
            headers[hdrs.IF_NONE_MATCH] = held
        return await self._ask("GET", path, headers, limit=limit)

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
        question = Question(method, path, asked, body, take)
        if self._access is None:
            return await self._exchange(question, limit)
        needed = needs(parse(method, path))
        shown = await self._access.authorise(asked, needed)
        reply = await self._exchange(question, limit)
        renewed = await self._access.renewed(needed, shown, reply.status, reply.headers)
        if renewed is not None:
            asked[hdrs.AUTHORIZATION] = renewed
            reply = await self._exchange(question, limit)
        # HEAD is answered badly by some, so its refusal is not the last word.
        if reply.status == HTTPStatus.UNAUTHORIZED and method != hdrs.METH_HEAD:
            raise refused()
        return reply

    async def _exchange(self, question: Question, limit: int) -> Reply:
        """Return an answer that is read as a whole, within one time-out for all origins."""
        deadline = asyncio.get_running_loop().time() + self._metadata_timeout

        async def ask(origin: Origin) -> Reply:
            with explained(origin.url, question.method.lower(), self._name):
                async with asyncio.timeout_at(deadline):
                    return await self._whole(origin, question, limit)

        return await first_answer(self.origins, question, ask)

    async def _whole(self, origin: Origin, question: Question, limit: int) -> Reply:
        """Ask ``origin``, and return its answer, of at most ``limit`` bytes."""
        method, headers = question.method, question.headers
        url = URL(f"{origin.url}{question.target}", encoded=True)
        async with self._session.request(method, url, headers, data=question.body) as first:
            self._has_answered(origin)
            async with self._followed(method, url, headers, first) as response:
                check_head(response)
                if response is not first and not self._session.is_registry(response.url):
                    # Another host's no is not the registry's, and its challenge is not for any client's
                    # credentials.
                    if method == hdrs.METH_HEAD and not response.ok:
                        return Reply(HTTPStatus.BAD_GATEWAY, "", NO_HEADERS, b"")  # asked for again with GET
                    check_found(response)
                if method == hdrs.METH_GET:
                    check_given(response, is_conditional=hdrs.IF_NONE_MATCH in headers)
                return await read(response, limit, question.take)

    def _followed(self, method: str, url: URL, headers: CIMultiDict[str], first: aiohttp.ClientResponse) -> Asked:
        if method not in READS:
            return contextlib.nullcontext(first)
        return self._redirects.followed(method, url, headers, first)


def _own_access(
    config: UpstreamConfig, session: RegistrySession, origins: OriginPool, realms: RealmPolicy
) -> ServiceAuthorisation | None:
    """Return the source of the proxy's own credentials at the registry; None where it has none."""
    if config.credentials.kind == "none":
        return None
    # Docker's configuration and ECR know a registry by its authority, without a default port.
    keychain = source(config.credentials, URL(config.urls[0]).authority)
    authority = Authority(session.ask_realm, origins, keychain, realms, timeout=config.metadata_timeout)
    return ServiceAuthorisation(authority)
