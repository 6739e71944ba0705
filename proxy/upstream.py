"""The one door to the registry: answers that are streamed through, and bounded ones that are read here."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

from proxy.authority import Authority
from proxy.bodies import RequestBody
from proxy.config import BlobsConfig, UpstreamConfig
from proxy.credentials import CredentialsError, source
from proxy.identity import Identity
from proxy.metrics.catalogue import UPSTREAM_ERRORS, UPSTREAM_SECONDS
from proxy.realm import RealmPolicy
from proxy.redirects import RedirectError, Redirects
from proxy.scope import Scope, ScopeError, scopes
from proxy.server import MAX_FIELD_SIZE, MAX_LINE_SIZE, READ_BUFFER, ImpatientRequest, Pool
from proxy.tls import registry_context
from proxy.tracing.spans import carry, trace_id

Take = Callable[[bytes], Awaitable[None]]

MAX_REFUSAL: Final = 64 * 1024
"""Bytes kept of an answer that is not what was asked for; error documents are small."""
_READS: Final = frozenset({"GET", "HEAD"})
_BAD_GATEWAY: Final = 502
_NO_HEADERS: Final = CIMultiDictProxy(CIMultiDict[str]())
_UNAUTHORIZED: Final = 401
_REFUSALS: Final = frozenset({_UNAUTHORIZED, 403})
_PERSONAL: Final = (hdrs.AUTHORIZATION, hdrs.COOKIE)
# A proxy adds nothing the client did not send.
_NO_AUTO_HEADERS: Final = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)


class UpstreamError(Exception):
    """The registry could not be asked, or answered what no registry may; ``status`` is what clients get."""

    def __init__(self, message: str, *, status: int = 502) -> None:
        super().__init__(message)
        self.status = status


class RefusedError(Exception):
    """The registry said no, or anything but yes; its own words are in ``reply``."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"the registry answered {reply.status}")
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of the registry."""

    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    body: bytes


class Upstream:
    """The registry, over a pool of kept connections."""

    def __init__(
        self, config: UpstreamConfig, session: aiohttp.ClientSession, others: ssl.SSLContext
    ) -> None:
        """``others`` is how TLS is spoken with hosts that are not the registry: without our certificate."""
        self._config = config
        self._session = session
        self._others = others
        self._authority: Authority | None = None
        self._origin = URL(config.url)
        self._redirects: Redirects | None = None
        self._server_name = config.server_name or None

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls, config: UpstreamConfig, blobs: BlobsConfig, realms: RealmPolicy
    ) -> AsyncIterator[Upstream]:
        """Open the pool for the time of the context.

        Args:
            config: where the registry is, and what the proxy shows it.
            blobs: where redirects may lead.
            realms: guards the credentials of our own.

        Raises:
            CertificateError, CredentialsError: the files that the configuration names cannot be used.
        """
        origin = URL(config.url)
        # Docker's configuration and ECR know a registry by its authority, without a default port.
        keychain = None if config.credentials.kind == "none" else source(config.credentials, origin.authority)
        pool: dict[str, Any] = {
            "limit": config.max_connections,
            "keepalive_timeout": config.keepalive_timeout,
            "ttl_dns_cache": 30,
        }
        async with aiohttp.ClientSession(
            connector=Pool(ssl=registry_context(config), **pool),
            request_class=ImpatientRequest,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NO_AUTO_HEADERS,
            # Waits are bounded by the callers, who know whom they are waiting for.
            timeout=aiohttp.ClientTimeout(
                total=None, connect=config.read_timeout, sock_connect=config.connect_timeout
            ),
            read_bufsize=READ_BUFFER,
            max_line_size=MAX_LINE_SIZE,
            max_field_size=MAX_FIELD_SIZE,
        ) as session:
            others = registry_context(config, is_registry=False)
            upstream = cls(config, session, others)
            if keychain is not None:
                upstream._authority = Authority(
                    upstream.ask_realm, config.url, keychain, realms, timeout=config.metadata_timeout
                )
            async with Redirects.connect(blobs, origin, upstream._request, ssl=others, **pool) as redirects:
                upstream._redirects = redirects
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
        """The origin, for people."""
        return str(self._origin)

    def ask_realm(
        self, method: str, url: URL, headers: CIMultiDict[str], data: Any = None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Ask a token server, which is the registry itself or another host; redirects are not followed.

        Only the registry gets to see our certificate, and only it has the name and host that are configured.
        """
        if url.origin() == self._origin:
            return self._request(method, url, headers, data=data)
        return self._session.request(
            method, url, headers=headers, data=data, allow_redirects=False, ssl=self._others
        )

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
        request without a body is sent once more.

        Raises:
            UpstreamError: no answer came. Errors inside the context are the caller's.
        """
        url = URL(f"{self._config.url}{target}", encoded=True)
        carry(headers)

        def send() -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
            return self._request(method, url, headers, data=body, expect100=expect_continue)

        async with contextlib.AsyncExitStack() as stack:
            async with _explained(self.url, "stream"):
                if self._authority is None:
                    response = await stack.enter_async_context(send())
                else:
                    asked = self._as_ourselves(method, target, headers, body, send)
                    response = await stack.enter_async_context(asked)
                redirects = self._redirects
                if redirects is not None and redirects.are_followed and method in _READS and body is None:
                    first = response
                    response = await stack.enter_async_context(
                        redirects.followed(method, url, headers, first)
                    )
                    if response is not first:
                        _check_found(response)
            yield response

    @contextlib.asynccontextmanager
    async def _as_ourselves(
        self,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: RequestBody | None,
        send: Callable[[], contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]],
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the answer to our own credentials, renewed where they are refused."""
        wanted = _scopes(method, target)
        shown = await self._authorise(headers, wanted)
        async with contextlib.AsyncExitStack() as stack:
            response = await stack.enter_async_context(send())
            renewed = await self._renewed(wanted, shown, response.status, response.headers)
            if renewed is not None and body is not None:
                # What was read of the client's body is gone, or may be on its way.
                response.close()
                raise UpstreamError(
                    "the proxy's own credentials for the registry were renewed: try again", status=503
                )
            if renewed is not None:
                response.release()
                headers[hdrs.AUTHORIZATION] = renewed
                response = await stack.enter_async_context(send())
            if response.status == _UNAUTHORIZED:
                response.close()
                raise _refused()
            yield response

    async def _authorise(self, headers: CIMultiDict[str], wanted: tuple[Scope, ...]) -> str | None:
        """Put our own credentials into ``headers``, in the place of whatever the client sent."""
        assert self._authority is not None  # noqa: S101 - the caller asked
        for name in _PERSONAL:
            headers.popall(name, None)
        with _own_credentials():
            shown = await self._authority.header(wanted)
        if shown is not None:
            headers[hdrs.AUTHORIZATION] = shown
        return shown

    async def _renewed(
        self, wanted: tuple[Scope, ...], shown: str | None, status: int, headers: CIMultiDictProxy[str]
    ) -> str | None:
        """Return what to show in the place of what was refused; None when it was not, or there is nothing."""
        if status not in _REFUSALS:
            return None
        assert self._authority is not None  # noqa: S101 - the caller asked
        challenges = headers.getall(hdrs.WWW_AUTHENTICATE, ())
        with _own_credentials():
            return await self._authority.after_refusal(wanted, shown, challenges)

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

    async def _ask(
        self, method: str, path: str, headers: Mapping[istr, str], *, limit: int, take: Take | None = None
    ) -> Reply:
        asked: CIMultiDict[str] = CIMultiDict({**headers, hdrs.ACCEPT_ENCODING: "identity"})
        carry(asked)
        if self._authority is None:
            return await self._exchange(method, path, asked, limit, take)
        wanted = _scopes(method, path)
        shown = await self._authorise(asked, wanted)
        reply = await self._exchange(method, path, asked, limit, take)
        renewed = await self._renewed(wanted, shown, reply.status, reply.headers)
        if renewed is not None:
            asked[hdrs.AUTHORIZATION] = renewed
            reply = await self._exchange(method, path, asked, limit, take)
        # HEAD is answered badly by some, so its refusal is not the last word.
        if reply.status == _UNAUTHORIZED and method != hdrs.METH_HEAD:
            raise _refused()
        return reply

    async def _exchange(
        self, method: str, path: str, headers: CIMultiDict[str], limit: int, take: Take | None
    ) -> Reply:
        url = URL(f"{self._config.url}{path}", encoded=True)
        async with (
            _explained(self.url, method.lower()),
            asyncio.timeout(self._config.metadata_timeout),
            contextlib.AsyncExitStack() as stack,
        ):
            response = await stack.enter_async_context(self._request(method, url, headers))
            if self._redirects is not None:
                response = await stack.enter_async_context(
                    self._redirects.followed(method, url, headers, response)
                )
            if response.url.origin() == self._origin:
                return await _read(response, limit, take)
            # Another host's no is not the registry's, and its challenge is not for anybody's credentials.
            if method == hdrs.METH_HEAD and not response.ok:
                return Reply(_BAD_GATEWAY, "", _NO_HEADERS, b"")  # asked for again with GET
            _check_found(response)
            return await _read(response, limit, take)


def _check_found(response: aiohttp.ClientResponse) -> None:
    """Refuse what another host says in place of a blob: its no is not the registry's."""
    if response.status not in (200, 206, 304, 412, 416):
        raise UpstreamError(
            f"the registry redirects to {response.url.host} for this, which answers {response.status}"
        )


def _scopes(method: str, target: str) -> tuple[Scope, ...]:
    """Return what a request of ours needs; the door has seen to it that a client's can be read."""
    try:
        return scopes(method, target, {})
    except ScopeError as error:
        raise UpstreamError(str(error), status=403) from None


def _refused() -> UpstreamError:
    return UpstreamError(
        "the registry refuses this to the proxy's own credentials: check upstream.credentials",
        status=403,
    )


@contextlib.contextmanager
def _own_credentials() -> Iterator[None]:
    try:
        yield
    except CredentialsError as error:
        raise UpstreamError(f"the proxy's own credentials for the registry cannot be had: {error}") from None


async def _read(response: aiohttp.ClientResponse, limit: int, take: Take | None) -> Reply:
    """Read the answer, into ``take`` where it is a success; with a ``limit`` of 0 that is left unread."""
    if response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity" and response.ok:
        raise UpstreamError(
            f"the registry's answer for {response.url.path} is compressed, which was not asked for"
        )
    bound = limit if response.ok else MAX_REFUSAL
    if not bound:
        return Reply(response.status, response.reason or "", response.headers, b"")
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > bound:
            raise UpstreamError(f"the registry's answer for {response.url.path} is longer than {bound} bytes")
        if take is not None and response.ok:
            await take(chunk)
        else:
            chunks.append(chunk)
    return Reply(response.status, response.reason or "", response.headers, b"".join(chunks))


def _about_tls(error: aiohttp.ClientConnectorError, upstream: str) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        hint = (
            "set upstream.server_name to a name that is in it"
            if "mismatch" in reason or "not valid for" in reason
            else "set upstream.ca_file to the CA that signed it"
        )
        return f"the certificate of the registry at {upstream} is not trusted: {reason.rstrip('.')}; {hint}"
    reason = error.os_error.reason if isinstance(error.os_error, ssl.SSLError) else str(error.os_error)
    return f"no TLS could be agreed on with the registry at {upstream}: {reason}"


@contextlib.asynccontextmanager
async def _explained(upstream: str, operation: str) -> AsyncIterator[None]:
    """Turn the library's errors into sentences about the registry, and count both time and errors."""
    started = time.perf_counter()
    try:
        yield
    except UpstreamError:
        UPSTREAM_ERRORS.of("answer").add()
        raise
    except RedirectError as error:
        UPSTREAM_ERRORS.of("redirect").add()
        raise UpstreamError(str(error)) from None
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        UPSTREAM_ERRORS.of("tls").add()
        raise UpstreamError(_about_tls(error, upstream)) from None
    except aiohttp.ConnectionTimeoutError:
        UPSTREAM_ERRORS.of("connect_timeout").add()
        raise UpstreamError(f"the registry at {upstream} does not accept connections", status=504) from None
    except TimeoutError:
        UPSTREAM_ERRORS.of("timeout").add()
        raise UpstreamError(f"the registry at {upstream} does not answer in time", status=504) from None
    except aiohttp.ClientConnectorError as error:
        UPSTREAM_ERRORS.of("unreachable").add()
        problem = error.strerror or str(error)
        raise UpstreamError(f"the registry at {upstream} cannot be reached: {problem}") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        UPSTREAM_ERRORS.of("broke_off").add()
        problem = str(error) or type(error).__name__
        if upstream.startswith("https:") and isinstance(error, aiohttp.ServerDisconnectedError):
            # In TLS 1.3 a client hears only after the handshake that its certificate was missed.
            problem += "; if it wants a client certificate, set upstream.client_certificate"
        raise UpstreamError(f"the registry at {upstream} broke off: {problem}") from None
    finally:
        UPSTREAM_SECONDS.of(operation).observe(time.perf_counter() - started, trace_id())
