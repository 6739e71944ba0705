"""One bounded question to the registry, and credentials for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlencode, urlsplit

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from proxy.auth.identity import Identity
from proxy.config import UpstreamConfig
from proxy.doctor.network import why
from proxy.requests.parsing import parse
from proxy.upstream.replies import UpstreamError
from proxy.upstream.upstream import Upstream
from twodfs.credentials.lookup import find_credentials
from twodfs.errors import AuthError
from twodfs.registry.auth import Challenge, TokenAnswer, TokenRequest, answer, parse_challenges

_TIMEOUT: Final = 10.0
"""Seconds for one question: the doctor's user waits."""
_MOST_BODY: Final = 4 * 2**20


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """An answer: its head, as much of its body as was wanted, and the seconds until the head came."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes = field(repr=False)
    seconds: float
    is_kept: bool
    """Whether the connection may be used again."""

    @property
    def challenges(self) -> tuple[Challenge, ...]:
        """The registry's challenges for credentials."""
        return parse_challenges(self.headers.getall(hdrs.WWW_AUTHENTICATE, ()))


class RegistryProbe:
    """The registry as the doctor asks it: through the proxy's own client, and never for long."""

    def __init__(self, upstream: Upstream, config: UpstreamConfig) -> None:
        self.upstream = upstream
        self.origin = config.urls[0]
        self.seconds = min(_TIMEOUT, config.metadata_timeout)

    async def ask(
        self,
        method: str,
        path: str,
        identity: Identity,
        *,
        limit: int = 0,
        more: Mapping[str, str] | None = None,
    ) -> ProbeAnswer:
        """Send one request; redirects are not followed. Of the body, at most ``limit`` bytes are read.

        Raises:
            UpstreamError: no answer came in time, or TLS failed.
        """
        headers = CIMultiDict({hdrs.ACCEPT: "*/*", hdrs.ACCEPT_ENCODING: "identity"})
        headers.update(identity.headers)
        headers.update(more or {})
        started = time.perf_counter()
        try:
            async with (
                asyncio.timeout(self.seconds),
                self.upstream.stream(parse(method, path), headers, client="") as response,
            ):
                seconds = time.perf_counter() - started
                body = await _some(response, min(limit, _MOST_BODY)) if limit else b""
                tokens = response.headers.get(hdrs.CONNECTION, "").lower()
                is_kept = response.version == aiohttp.HttpVersion11 and "close" not in tokens
                return ProbeAnswer(response.status, response.headers, body, seconds, is_kept)
        except TimeoutError:
            raise UpstreamError(f"the registry at {self.origin} does not answer within {self.seconds:g} s") from None
        except aiohttp.ClientError as error:
            raise UpstreamError(f"the registry at {self.origin} broke off: {error}") from None


async def _some(response: aiohttp.ClientResponse, limit: int) -> bytes:
    chunks = bytearray()
    async for chunk in response.content.iter_any():
        chunks += chunk
        if len(chunks) >= limit:
            break
    return bytes(chunks[:limit])


def anonymous() -> Identity:
    """Return the identity of an anonymous client."""
    return Identity.of(CIMultiDict())


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """The identity with which the image is requested."""

    identity: Identity
    who: str


async def authenticate(
    registry: RegistryProbe, challenges: tuple[Challenge, ...], repository: str, realm_hosts: frozenset[str]
) -> RegistryAccess:
    """Meet the registry's challenge with the credentials of Docker's configuration, or without any.

    Credentials go to a token server only at the registry's own address or at one of ``realm_hosts``
    (``host[:port]``); any other is asked for an anonymous token.

    Raises:
        AuthError: the token server refuses, cannot be reached, or a login is missing; without secrets.
    """
    host = urlsplit(registry.origin).netloc
    credentials = await asyncio.to_thread(find_credentials, host)
    realm = realm_of(challenges)
    if realm is not None:
        parts = http_address(realm)
        if parts is None:
            raise AuthError("the token realm is no http(s) address")
        if parts.netloc not in {host, *realm_hosts}:
            credentials = None
    flow = answer(
        challenges,
        credentials,
        registry=host,
        scopes=[f"repository:{repository}:pull"],
        plain_http=registry.origin.startswith("http:"),
    )
    try:
        wanted = next(flow)
        while True:
            wanted = flow.send(await ask_token_server(registry, wanted))
    except StopIteration as done:
        header: str = done.value.header
    who = "anonymously" if credentials is None else "with the credentials of Docker's configuration"
    return RegistryAccess(Identity.of(CIMultiDict({hdrs.AUTHORIZATION: header})), who)


def realm_of(challenges: tuple[Challenge, ...]) -> str | None:
    """Return the address of the token server in a Bearer challenge."""
    return next(
        (one.parameters["realm"] for one in challenges if "realm" in one.parameters and one.scheme == "bearer"),
        None,
    )


def http_address(text: str) -> SplitResult | None:
    """Return the parts of an absolute address that an HTTP client can dial; None for any other text."""
    try:
        parts = urlsplit(text)
        is_dialled = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_dialled else None


def authority(parts: SplitResult) -> str:
    """Return host and port as written, without a user."""
    return parts.netloc.rpartition("@")[2]


async def ask_token_server(registry: RegistryProbe, wanted: TokenRequest) -> TokenAnswer:
    """Send one request to a token server; redirects are not followed.

    Raises:
        AuthError: it does not answer.
    """
    host = authority(urlsplit(wanted.url))
    headers = CIMultiDict({**wanted.headers, hdrs.ACCEPT_ENCODING: "identity"})
    form = None
    if wanted.form is not None:
        headers[hdrs.CONTENT_TYPE] = "application/x-www-form-urlencoded"
        form = urlencode(wanted.form).encode()
    try:
        async with (
            asyncio.timeout(registry.seconds),
            registry.upstream.ask_realm(wanted.method, URL(wanted.url), headers, form) as response,
        ):
            return TokenAnswer(response.status, await _some(response, _MOST_BODY))
    except TimeoutError:
        raise AuthError(f"the token server {host} does not answer within {registry.seconds:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise AuthError(f"the token server {host} cannot be asked: {why(error)}") from None
