"""The one door to the registry: answers that are streamed through, and bounded ones that are read here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import hdrs, payload
from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

from proxy.config import UpstreamConfig
from proxy.identity import Identity
from proxy.server import MAX_FIELD_SIZE, MAX_LINE_SIZE, READ_BUFFER, ImpatientRequest, Pool

MAX_REFUSAL: Final = 64 * 1024
"""Bytes kept of an answer that is not what was asked for; error documents are small."""
_MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
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

    def __init__(self, config: UpstreamConfig, session: aiohttp.ClientSession) -> None:
        self._config = config
        self._session = session
        self._origin = URL(config.url)

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, config: UpstreamConfig) -> AsyncIterator[Upstream]:
        """Open the pool for the time of the context."""
        connector = Pool(
            limit=config.max_connections, keepalive_timeout=config.keepalive_timeout, ttl_dns_cache=30
        )
        async with aiohttp.ClientSession(
            connector=connector,
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
            yield cls(config, session)

    @property
    def url(self) -> str:
        """The origin, for people."""
        return str(self._origin)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: payload.Payload | None = None,
        *,
        expect_continue: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request with its target as it is, and yield the answer with its body unread.

        Redirects are not followed. The request upstream ends with the context.

        Raises:
            UpstreamError: no answer came. Errors inside the context are the caller's.
        """
        url = URL(f"{self._config.url}{target}", encoded=True)
        async with _explained(self.url):
            response = await self._session.request(
                method, url, headers=headers, data=body, expect100=expect_continue, allow_redirects=False
            )
        async with response:
            yield response

    async def head(self, path: str, identity: Identity, accept: str) -> Reply:
        """Ask for the headers of ``path``, bounded by the metadata timeout.

        Raises:
            UpstreamError: no answer came.
        """
        return await self._ask("HEAD", path, {**identity.headers, hdrs.ACCEPT: accept}, limit=MAX_REFUSAL)

    async def get(self, path: str, identity: Identity, *, limit: int, accept: str) -> Reply:
        """Read ``path`` into memory, following redirects, bounded in time and to ``limit`` bytes.

        Raises:
            UpstreamError: no answer came, or a body longer than ``limit``.
        """
        return await self._ask("GET", path, {**identity.headers, hdrs.ACCEPT: accept}, limit=limit)

    async def first_byte(self, path: str, identity: Identity) -> Reply:
        """Ask for the first byte of a blob; the answer's headers tell its size.

        A registry that ignores ``Range`` sends the whole blob; its body is not read then.

        Raises:
            UpstreamError: no answer came.
        """
        return await self._ask("GET", path, {**identity.headers, hdrs.RANGE: "bytes=0-0"}, limit=0)

    async def _ask(self, method: str, path: str, headers: Mapping[istr, str], *, limit: int) -> Reply:
        headers = {**headers, hdrs.ACCEPT_ENCODING: "identity"}
        url = URL(f"{self._config.url}{path}", encoded=True)
        async with _explained(self.url), asyncio.timeout(self._config.metadata_timeout):
            for _ in range(_MAX_REDIRECTS + 1):
                async with self._session.request(
                    method, url, headers=headers, allow_redirects=False
                ) as response:
                    location = response.headers.get(hdrs.LOCATION)
                    if response.status not in _REDIRECTS or location is None:
                        return await _read(response, limit)
                target = url.join(URL(location, encoded=True))
                if url.scheme == "https" and target.scheme != "https":
                    raise UpstreamError(f"the registry redirects from https to {target.scheme}")
                if target.origin() != url.origin():
                    # What proves the client to the registry is nobody else's business.
                    headers = {name: value for name, value in headers.items() if name in _IMPERSONAL}
                url = target
        raise UpstreamError(f"the registry redirects more than {_MAX_REDIRECTS} times for {path}")


_IMPERSONAL: Final = frozenset({hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.RANGE})


async def _read(response: aiohttp.ClientResponse, limit: int) -> Reply:
    """Read the answer; with a ``limit`` of 0 the body of a success is left unread."""
    bound = limit if response.ok else MAX_REFUSAL
    if not bound:
        return Reply(response.status, response.reason or "", response.headers, b"")
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > bound:
            raise UpstreamError(f"the registry's answer for {response.url.path} is longer than {bound} bytes")
        chunks.append(chunk)
    return Reply(response.status, response.reason or "", response.headers, b"".join(chunks))


@contextlib.asynccontextmanager
async def _explained(upstream: str) -> AsyncIterator[None]:
    """Turn the library's errors into sentences about the registry."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        raise UpstreamError(f"the registry at {upstream} does not accept connections", status=504) from None
    except TimeoutError:
        raise UpstreamError(f"the registry at {upstream} does not answer in time", status=504) from None
    except aiohttp.ClientConnectorError as error:
        problem = error.strerror or str(error)
        raise UpstreamError(f"the registry at {upstream} cannot be reached: {problem}") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        problem = str(error) or type(error).__name__
        raise UpstreamError(f"the registry at {upstream} broke off: {problem}") from None
