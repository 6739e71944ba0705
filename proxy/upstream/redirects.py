"""Where the registry may send the proxy, and the headers that go along.

Registries keep blobs in object stores and say so with a redirect. The author of such an answer (the
registry, or someone in its place) could otherwise have the proxy fetch documents that only the proxy can reach: the
metadata service of a cloud, an admin page on loopback. So a target outside the registry's own origin

- is ``http`` or ``https``, never plain where the step before it was encrypted, and names no user;
- is asked without anything that identifies the client: no credentials, no cookies, no client certificate;
- is dialled at public addresses alone, unless its network or its host is allowed.

The address is judged where the socket for it is opened, so the judged address is the dialled one, even if a name
server changes its answer in between. Five steps are taken at most, and nothing of a redirect is remembered.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from proxy.config import BlobsConfig, Network
from proxy.repository import DEFAULT_UPSTREAM
from proxy.upstream.errors import describe
from proxy.upstream.session import Asked, client_session
from proxy.wire.names import HostNames
from proxy.wire.pool import UpstreamPool

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_IMPERSONAL: Final = (
    hdrs.ACCEPT,
    hdrs.ACCEPT_ENCODING,
    hdrs.IF_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_RANGE,
    hdrs.IF_UNMODIFIED_SINCE,
    hdrs.RANGE,
)
# RFC 6052, section 2.1: an IPv4 address in the last 32 bits.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC: Final = "is not a public address"

MakeSocket = Callable[[Any], socket.socket]
AskRegistry = Callable[[str, URL, CIMultiDict[str]], Asked]


class RedirectError(Exception):
    """The registry redirects to where we do not go, or where nothing useful is."""


class ForbiddenAddressError(OSError):
    """An address that must not be dialled."""


def make_socket(address_info: Any) -> socket.socket:
    """Return a socket for an address, as ``getaddrinfo`` describes it."""
    family, kind, protocol, *_ = address_info
    return socket.socket(family, kind, protocol)


def is_public(text: str) -> bool:
    """Say whether an IP address, and any IPv4 address that hides in it, is one of the public Internet."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        teredo = address.teredo or ()
        nat64 = [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)] if address in _NAT64 else []
        inner = [one for one in (address.ipv4_mapped, address.sixtofour, *teredo, *nat64) if one is not None]
        if inner:
            return all(is_public(str(one)) for one in inner)
    return address.is_global and not address.is_multicast


class Redirects:
    """Follows the registry's redirects, within the rules."""

    def __init__(
        self,
        config: BlobsConfig,
        origins: Sequence[URL],
        own: AskRegistry,
        public: aiohttp.ClientSession,
        free: aiohttp.ClientSession,
    ) -> None:
        """Take two ways out: ``public`` dials public addresses alone, ``free`` any.

        Args:
            config: the hosts and networks that are allowed.
            origins: the registry's.
            own: asks the registry itself, which may be anywhere.
            public: for all hosts.
            free: for the hosts that are allowed.
        """
        self._config = config
        self._origins = frozenset(one.origin() for one in origins)
        self._own = own
        self._public = public
        self._free = free

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls,
        config: BlobsConfig,
        origins: Sequence[URL],
        own: AskRegistry,
        *,
        new_socket: MakeSocket = make_socket,
        name: str = DEFAULT_UPSTREAM,
        **connector: Any,
    ) -> AsyncIterator[Redirects]:
        """Open the ways out for the time of the context.

        Args:
            config: the hosts and networks that are allowed.
            origins: the registry's.
            own: asks the registry itself.
            new_socket: makes the socket for an address that may be dialled.
            name: the registry's, as ``Repository.upstream`` has it.
            connector: further arguments of aiohttp's connector.
        """

        def judged(address_info: Any) -> socket.socket:
            address = address_info[4][0]
            if not _is_allowed(address, config.allowed_networks):
                raise ForbiddenAddressError(f"{address} {_NOT_PUBLIC}")
            return new_socket(address_info)

        async with contextlib.AsyncExitStack() as stack:
            names = stack.enter_context(HostNames.open())
            sessions = [
                await stack.enter_async_context(
                    client_session(UpstreamPool(name, socket_factory=make, resolver=names, **connector))
                )
                for make in (judged, new_socket)
            ]
            yield cls(config, origins, own, *sessions)

    @property
    def are_followed(self) -> bool:
        """Whether the proxy follows for its clients, too."""
        return self._config.redirect == "follow"

    def followed(self, method: str, url: URL, headers: CIMultiDict[str], first: aiohttp.ClientResponse) -> Asked:
        """Give the answer that ``first``, to a request of ours, leads to: itself where it is no redirect.

        Raises:
            RedirectError: the way leads where we do not go, or too far, or to no answer.
        """
        if first.status not in _REDIRECTS:  # nearly always
            return contextlib.nullcontext(first)
        return self._followed(method, url, headers, first)

    @contextlib.asynccontextmanager
    async def _followed(
        self, method: str, url: URL, headers: CIMultiDict[str], first: aiohttp.ClientResponse
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        response = first
        async with contextlib.AsyncExitStack() as stack:
            for left in range(MAX_REDIRECTS, -1, -1):
                location = response.headers.get(hdrs.LOCATION)
                if response.status not in _REDIRECTS or location is None:
                    break
                if not left:
                    raise RedirectError(f"the registry redirects more than {MAX_REDIRECTS} times for {first.url.path}")
                response.release()
                target = _target(url, location)
                if target.origin() != url.origin():
                    headers = CIMultiDict((name, headers[name]) for name in _IMPERSONAL if name in headers)
                url = target
                response = await self._ask(stack, method, url, headers)
            yield response

    async def _ask(
        self, stack: contextlib.AsyncExitStack, method: str, url: URL, headers: CIMultiDict[str]
    ) -> aiohttp.ClientResponse:
        if url.origin() in self._origins:
            return await stack.enter_async_context(self._own(method, url, headers))
        session = self._free if _is_named(url.host or "", self._config.allowed_hosts) else self._public
        try:
            return await stack.enter_async_context(session.request(method, url, headers=headers, allow_redirects=False))
        except aiohttp.ClientConnectorError as error:
            problem = str(error.os_error)
            if isinstance(error.os_error, ForbiddenAddressError) or _NOT_PUBLIC in problem:
                raise RedirectError(
                    f"the registry redirects to {url.host}, and {problem}; to allow it, set "
                    f"blobs.allowed_networks or blobs.allowed_hosts"
                ) from None
            raise RedirectError(f"{url.host}, where the registry redirects to, cannot be reached: {problem}") from None
        except aiohttp.InvalidURL:  # decimal and octal forms of IPv4 among them
            raise RedirectError(
                f"the registry redirects to {url.host}, which is no address that can be dialled"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise RedirectError(f"{url.host}, where the registry redirects to, broke off: {describe(error)}") from None


def _target(url: URL, location: str) -> URL:
    """Return where ``location``, in an answer for ``url``, points."""
    try:
        target = url.join(URL(location, encoded=True)).with_fragment(None)
        host, user = target.host, target.raw_user or target.raw_password
    except (ValueError, IndexError):  # yarl stumbles over "//[::1]@"
        host = user = None
        target = url
    if not host or target.scheme not in ("http", "https"):
        raise RedirectError(f"the registry redirects to {location[:140]!r}, which is no http(s) address")
    if user:
        raise RedirectError(f"the registry redirects to {host} with a user in the address")
    if url.scheme == "https" and target.scheme != "https":
        raise RedirectError(f"the registry redirects from https to {target.scheme}")
    return target


def _is_allowed(address: str, networks: Sequence[Network]) -> bool:
    if is_public(address):
        return True
    parsed = ipaddress.ip_address(address.partition("%")[0])
    meant = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(meant in network for network in networks)


def _is_named(host: str, allowed: Sequence[str]) -> bool:
    name = host.lower().rstrip(".")
    return any(name.endswith(one[1:]) if one.startswith("*.") else name == one for one in allowed)
