"""Requests to one registry: challenges met, redirects followed, failures retried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp import hdrs
from yarl import URL

from twodfs import __version__
from twodfs.auth import Authorization, Credentials, Flow, TokenAnswer, TokenRequest, answer, parse_challenges
from twodfs.errors import RegistryError
from twodfs.reference import DOCKER_HUB, is_loopback
from twodfs.registry.message import TEMPORARY, Answer, Request, in_words, read, refusal

T = TypeVar("T")
Keychain: TypeAlias = Callable[[str], Credentials | None]

DOCKER_HUB_HOST: Final = "registry-1.docker.io"
CONNECT_SECONDS: Final = 15.0
IDLE_SECONDS: Final = 60.0
"""Seconds without a byte after which a transfer counts as dead; a big one may take as long as it moves."""
COMMIT_SECONDS: Final = 900.0
"""Seconds a registry may take from a blob's last byte to its answer: object stores copy it once more."""
MAX_TOKEN_BYTES: Final = 1024 * 1024

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEPING_THE_METHOD = frozenset({307, 308})
_MAX_CONNECTIONS = 16
_EARLY = 10.0  # seconds before its end that a token is no longer begun with
_HEADERS = {hdrs.USER_AGENT: f"twodfs/{__version__}", hdrs.ACCEPT_ENCODING: "identity"}


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is made, and the seconds between; a registry's Retry-After goes first."""

    attempts: int = 4
    first_delay: float = 0.3
    longest_delay: float = 20.0

    def delay(self, attempt: int, asked: float | None) -> float:
        """Return the seconds to wait after the failed ``attempt``, counted from 0."""
        return min(self.first_delay * 3**attempt if asked is None else asked, self.longest_delay)


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session that changes no byte of an answer, keeps no cookies and follows no redirect."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
        auto_decompress=False,
        headers=_HEADERS,
    ) as session:
        yield session


class Transport:
    """One registry's origin, and what it has authorised so far."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        registry: str,
        *,
        plain_http: bool,
        keychain: Keychain,
        retries: Retries,
    ) -> None:
        host = DOCKER_HUB_HOST if registry == DOCKER_HUB else registry
        self.registry = registry
        self._plain_http = plain_http or is_loopback(registry)
        self.origin = URL(f"{'http' if self._plain_http else 'https'}://{host}")
        self._session = session
        self._keychain = keychain
        self._retries = retries
        self._authorised: dict[tuple[str, ...], tuple[str, float]] = {}
        self._asking = asyncio.Lock()

    @property
    def was_challenged(self) -> bool:
        """Whether the registry has asked who the user is."""
        return bool(self._authorised)

    async def retry(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what ``attempt`` returns, making it again as long as it fails for the moment only.

        Every step of the protocol may be: reading, storing by digest, and an upload from its start.
        """
        for number in range(self._retries.attempts - 1):
            try:
                return await attempt()
            except RegistryError as error:
                if not error.temporary:
                    raise
                await asyncio.sleep(self._retries.delay(number, error.retry_after))
        return await attempt()

    async def fetch(self, request: Request, *expected: int, limit: int) -> Answer:
        """Return the answer to ``request``, with a body of at most ``limit`` bytes; retried.

        Raises:
            RegistryError: no answer, a bigger one, or its status is not ``expected``.
            AuthError: the registry wants credentials that there are none of.
        """

        async def attempt() -> Answer:
            async with self.exchange(request, *expected) as response:
                body = await read(request, response, limit)
                return Answer(response.status, response.headers, response.content_type, body)

        return await self.retry(attempt)

    @asynccontextmanager
    async def exchange(self, request: Request, *expected: int) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make one attempt at ``request`` and yield the answer, its body unread.

        A connection that breaks within the block fails it like one that breaks before.

        Raises:
            RegistryError: no answer, or its status is not ``expected``.
            AuthError: the registry wants credentials that there are none of.
        """
        with in_words(request):
            response = await self._send_authorised(request)
            try:
                if response.status not in expected:
                    raise await refusal(request, response)
                yield response
            finally:
                response.release()

    async def _send_authorised(self, request: Request) -> aiohttp.ClientResponse:
        header = self._remembered(request.scopes)
        response = await self._send(request, header)
        # Another origin's challenge, behind a redirect, gets no credentials of ours.
        if response.status != 401 or response.url.origin() != self.origin:  # noqa: PLR2004
            return response
        challenges = parse_challenges(response.headers.getall(hdrs.WWW_AUTHENTICATE, ()))
        if not challenges:
            return response
        response.release()
        async with self._asking:
            current = self._remembered(request.scopes)
            if current is None or current == header:
                credentials = await asyncio.to_thread(self._keychain, self.registry)
                flow = answer(
                    challenges,
                    credentials,
                    registry=self.registry,
                    scopes=request.scopes,
                    plain_http=self._plain_http,
                )
                current = self._remember(request.scopes, await self._drive(flow))
        return await self._send(request, current)

    def _remembered(self, scopes: tuple[str, ...]) -> str | None:
        header, until = self._authorised.get(scopes, (None, 0.0))
        return header if asyncio.get_running_loop().time() < until else None

    def _remember(self, scopes: tuple[str, ...], authorization: Authorization) -> str:
        lifetime = authorization.lifetime
        good_for = float("inf") if lifetime is None else max(lifetime - _EARLY, lifetime / 2)
        self._authorised[scopes] = (authorization.header, asyncio.get_running_loop().time() + good_for)
        return authorization.header

    async def _drive(self, flow: Flow) -> Authorization:
        """Make the requests that ``flow`` takes."""
        try:
            wanted = next(flow)
            while True:
                wanted = flow.send(await self._ask(wanted))
        except StopIteration as done:
            result: Authorization = done.value
            return result

    async def _ask(self, wanted: TokenRequest) -> TokenAnswer:
        request = Request(wanted.method, URL(wanted.url, encoded=True))
        with in_words(request):
            async with self._session.request(
                wanted.method,
                request.url,
                headers=wanted.headers,
                data=wanted.form,
                allow_redirects=False,
                proxy=_proxy(request.url),
                timeout=_timeout(IDLE_SECONDS),
            ) as response:
                if response.status in TEMPORARY:
                    raise await refusal(request, response)
                return TokenAnswer(response.status, await read(request, response, MAX_TOKEN_BYTES))

    async def _send(self, request: Request, authorization: str | None) -> aiohttp.ClientResponse:
        url = request.url
        for _ in range(_MAX_REDIRECTS):
            headers = dict(request.headers)
            if authorization is not None and url.origin() == self.origin:
                headers[hdrs.AUTHORIZATION] = authorization
            response = await self._send_once(request, url, headers)
            target = self._redirected(request, response)
            if target is None:
                return response
            response.release()
            url = target
        raise request.failed(f"redirected more than {_MAX_REDIRECTS} times")

    async def _send_once(self, request: Request, url: URL, headers: dict[str, str]) -> aiohttp.ClientResponse:
        if request.body is None:
            return await self._session.request(
                request.method,
                url,
                headers=headers,
                allow_redirects=False,
                proxy=_proxy(url),
                timeout=_timeout(IDLE_SECONDS),
            )
        headers[hdrs.CONTENT_LENGTH] = str(request.length)
        async with asyncio.timeout(IDLE_SECONDS) as patience:
            return await self._session.request(
                request.method,
                url,
                headers=headers,
                data=_watched(request.body(), patience),
                allow_redirects=False,
                proxy=_proxy(url),
                timeout=_timeout(COMMIT_SECONDS),
            )

    def _redirected(self, request: Request, response: aiohttp.ClientResponse) -> URL | None:
        keeps = request.method in (hdrs.METH_GET, hdrs.METH_HEAD) or response.status in _KEEPING_THE_METHOD
        location = response.headers.get(hdrs.LOCATION)
        if response.status not in _REDIRECTS or not keeps or location is None:
            return None
        return self.located(request, response.url, location)

    def located(self, request: Request, at: URL, location: str) -> URL:
        """Return the address that ``location``, answered from ``at``, points to.

        Raises:
            RegistryError: it is no http(s) address, or leaves TLS behind.
        """
        try:
            # Its escapes stay as they are: signatures are made over them.
            url = at.join(URL(location, encoded=True))
        except ValueError:
            raise request.failed("answered with a Location that is no address") from None
        if url.scheme not in ("http", "https") or (at.scheme == "https" and url.scheme == "http"):
            raise request.failed(f"sends us to {url.scheme}://{url.host}, away from TLS; not followed")
        return url


async def _watched(chunks: AsyncIterator[bytes], patience: asyncio.Timeout) -> AsyncIterator[bytes]:
    """Yield ``chunks``, putting ``patience`` off each time one has gone out."""
    loop = asyncio.get_running_loop()
    async for chunk in chunks:
        yield chunk
        patience.reschedule(loop.time() + IDLE_SECONDS)
    patience.reschedule(loop.time() + COMMIT_SECONDS)


def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=seconds)


def _proxy(url: URL) -> str | None:
    """Return the HTTP proxy that the environment names for ``url``; never one for a loopback address.

    aiohttp's own ``trust_env`` would also send passwords from ``~/.netrc``.
    """
    host = url.host or ""
    return None if is_loopback(host) or proxy_bypass(host) else getproxies().get(url.scheme)
