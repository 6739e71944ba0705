"""Which client is asking, and under which origin it sees us.

Both can be claimed by anyone in ``X-Forwarded-*``, so they are believed from the proxies that are named as
trusted, and from no other peer.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from aiohttp import hdrs, web

from proxy.config import Network

_FORWARDED_FOR: Final = "X-Forwarded-For"
_FORWARDED_HOST: Final = "X-Forwarded-Host"
_FORWARDED_PROTO: Final = "X-Forwarded-Proto"
# Headers in which a proxy in front names the client.
_CLAIMS: Final = frozenset(
    {
        *("forwarded", "remote-user", "true-client-ip", "x-client-ip", "x-cluster-client-ip", "x-real-ip"),
        *("cf-connecting-ip", "fastly-client-ip", "x-remote-user", "x-original-forwarded-for"),
    }
)
_FORWARDED: Final = "x-forwarded-"
# Headers by which some servers take one request for another: the request let in must be the one sent.
_OVERRIDES: Final = frozenset(
    {
        *("x-original-host", "x-original-url", "x-rewrite-url"),
        *("x-http-method", "x-http-method-override", "x-method-override"),
    }
)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# The IPv6 prefix that one subscriber gets; an address in it costs nothing.
_IPV6_CLIENT: Final = 64
_IPV6: Final = 6
# How a socket that takes both families writes the addresses of the other one.
_IPV4_OVER_IPV6: Final = "::ffff:"
_MOST_HOPS: Final = 32

_IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_believed(name: str, *, is_trusted: bool) -> bool:
    """Say whether a header of a client may go on to the registry, which may trust it, coming from us.

    Many programs take ``_`` in a name for ``-``.
    """
    usual = name.lower().replace("_", "-")
    is_claim = usual.startswith(_FORWARDED) or usual in _CLAIMS
    return usual not in _OVERRIDES and (is_trusted or not is_claim)


class ClientAddresses:
    """Tells clients apart."""

    def __init__(self, trusted: Sequence[Network] = (), public_url: str | None = None) -> None:
        """``trusted``: where proxies that are believed stand; ``public_url``: our origin, where it is set."""
        self._trusted = tuple(trusted)
        self._public = public_url

    def is_trusted(self, request: web.BaseRequest) -> bool:
        """Say whether the peer of this connection is a proxy whose word counts."""
        return bool(self._trusted) and self._is_trusted(_parsed(request.remote or ""))

    def address(self, request: web.BaseRequest) -> str:
        """Return the address of the client: the last one in the chain that is no trusted proxy itself."""
        remote = (request.remote or "").removeprefix(_IPV4_OVER_IPV6)
        if not self.is_trusted(request):
            return remote
        seen = [one.strip() for line in request.headers.getall(_FORWARDED_FOR, ()) for one in line.split(",")]
        for text in reversed(seen[-_MOST_HOPS:]):
            address = _parsed(text)
            if address is None:  # the author of that is not trusted any further
                break
            remote = str(address)
            if not self._is_trusted(address):
                break
        return remote

    def rate_limit_key(self, request: web.BaseRequest) -> str:
        """Return by which name this client's requests are counted: its address, for IPv6 its /64."""
        text = self.address(request)
        address = _parsed(text) if ":" in text else None  # for most, no address needs to be parsed
        if address is None or address.version != _IPV6:
            return text
        return str(ipaddress.ip_network((int(address), _IPV6_CLIENT), strict=False))

    def host(self, request: web.BaseRequest) -> str:
        """Return the ``Host`` that the client used, as it or a trusted proxy says; it may be anything."""
        if _FORWARDED_HOST in request.headers and self.is_trusted(request):
            return _last(request, _FORWARDED_HOST)
        return request.headers.get(hdrs.HOST, "")

    def origin(self, request: web.BaseRequest, named: str = "") -> str:
        """Return our origin as this client sees it, as ``https://registry.example``.

        A client that gives a false ``Host`` misleads itself alone: no answer that names it is kept.

        Args:
            request: the client's.
            named: the host of ours that told one registry from others, and has to go on doing so; empty: none did.
        """
        if self._public:
            return f"{self._public.partition('://')[0]}://{named}" if named else self._public
        scheme, host = request.scheme, named or self.host(request)
        if self.is_trusted(request):
            forwarded = _last(request, _FORWARDED_PROTO).lower()
            scheme = forwarded if forwarded in ("http", "https") else scheme
        if not _HOST.fullmatch(host):
            address, port, *_ = request.transport.get_extra_info("sockname") if request.transport else ("", 0)
            host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        return f"{scheme}://{host}"

    def _is_trusted(self, address: _IpAddress | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _last(request: web.BaseRequest, header: str) -> str:
    """Return the last item of a list in headers: the proxy next to us added it, a client maybe those before."""
    return request.headers.getall(header, ("",))[-1].rpartition(",")[2].strip()


def _parsed(text: str) -> _IpAddress | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket that takes both families writes IPv4 as ::ffff:10.0.0.1.
    return getattr(address, "ipv4_mapped", None) or address
