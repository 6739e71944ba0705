"""Headers across a proxy: hop-by-hop ones, and addresses that must lead back to the proxy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from proxy.auth.realm import Realms
from proxy.clients.addresses import ClientAddresses, is_believed
from proxy.requests.choice import CHOSEN, ChosenRegistry

# RFC 9110, section 7.6.1: these, and those named in Connection, are for the next hop alone.
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Host names the upstream, and Expect is answered at each hop by the reader of the body.
_NOT_FORWARDED: Final = _HOP_BY_HOP | {"host", "expect"}
# Where the proxy shows the registry its own credentials: a session of theirs, and the challenge to them.
_OUR_OWN: Final = frozenset({"set-cookie", "www-authenticate"})
_AT_AUTHORITY: Final = re.compile(r"//|[A-Za-z][A-Za-z0-9+.-]*:")  # RFC 3986, 4.2: other references are relative
_LINK_TARGET: Final = re.compile(r"<([^<>]*+)>")  # RFC 3986 has no < in an address


def forwarded_request(headers: CIMultiDictProxy[str], *, is_trusted: bool) -> CIMultiDict[str]:
    """Return a client's headers as they go upstream.

    A registry that lies behind us may trust ``X-Forwarded-For`` and similar headers from us, so they go along
    only where the client is a proxy that we believe ourselves (``is_trusted``).
    """
    kept = CIMultiDict(
        (name, value)
        for name, value in _without(headers, _NOT_FORWARDED).items()
        if is_believed(name, is_trusted=is_trusted)
    )
    # Rule 4: a body the client did not ask to be compressed must not be.
    kept.setdefault(hdrs.ACCEPT_ENCODING, "identity")
    return kept


def _without(headers: CIMultiDictProxy[str] | CIMultiDict[str], dropped: frozenset[str]) -> CIMultiDict[str]:
    if hdrs.CONNECTION in headers:
        lines = headers.getall(hdrs.CONNECTION)
        dropped |= {name.strip().lower() for line in lines for name in line.split(",")}
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


class LocationRewriter:
    """Tells the upstream's own addresses, and turns them into ours."""

    def __init__(
        self,
        upstreams: Sequence[str],
        clients: ClientAddresses,
        host: str = "",
        *,
        realms: Realms | None = None,
        controls_access: bool = False,
    ) -> None:
        """Know the origins.

        Args:
            upstreams: the registry's, one or several.
            clients: how each of them sees us.
            host: the ``Host`` that the registry is told to have, where it is another.
            realms: puts our token endpoint in the place of the registry's; None: its challenges stay.
            controls_access: whether the registry knows us instead of the client.
        """
        hosts = [f"{URL(upstreams[0]).scheme}://{host}"] if host else []
        self._own = tuple(map(URL, (*upstreams, *hosts)))
        self.clients = clients
        self._realms = realms
        self._dropped = _HOP_BY_HOP | _OUR_OWN if controls_access else _HOP_BY_HOP

    def forwarded_response(self, headers: CIMultiDictProxy[str], request: web.BaseRequest) -> CIMultiDict[str]:
        """Return the upstream's headers as they go to the client.

        Only ``Location`` and ``Link`` are rewritten, and only where they point at the upstream itself: a
        client that followed them would leave the proxy. With ``auth.realm = "proxy"``, realms are, too.
        """
        kept = _without(headers, self._dropped)
        if self._realms is not None and hdrs.WWW_AUTHENTICATE in kept:
            chosen, origin = request.get(CHOSEN), self._origin(request)
            for challenge in kept.popall(hdrs.WWW_AUTHENTICATE):
                kept.add(hdrs.WWW_AUTHENTICATE, self._realms.as_ours(challenge, origin, chosen))
        if hdrs.LOCATION in kept:
            kept[hdrs.LOCATION] = self._as_ours(kept[hdrs.LOCATION], request)
        if hdrs.LINK in kept:
            links = kept.popall(hdrs.LINK)
            for link in links:
                kept.add(hdrs.LINK, _LINK_TARGET.sub(lambda found: f"<{self._as_ours(found[1], request)}>", link))
        return kept

    def own_path(self, location: str) -> str | None:
        """Return path and query of a ``Location`` of the registry; None where it leads somewhere else."""
        is_relative = location.startswith("/") and not location.startswith("//")
        return location if is_relative else self._own_path(location)

    def _as_ours(self, target: str, request: web.BaseRequest) -> str:
        chosen: ChosenRegistry | None = request.get(CHOSEN)
        if chosen is not None and target and not _AT_AUTHORITY.match(target):
            return chosen.as_ours(target)
        # A registry that is told our origin, by a proxy in front or its configuration, writes it itself, but not
        # what else this client needs to come back to it.
        own = self._own_path(target, () if chosen is None else (URL(self._origin(request)),))
        if own is None:
            return target
        return f"{self._origin(request)}{own if chosen is None else chosen.as_ours(own)}"

    def _origin(self, request: web.BaseRequest) -> str:
        chosen = request.get(CHOSEN)
        return self.clients.origin(request) if chosen is None else self.clients.origin(request, chosen.host)

    def _own_path(self, target: str, ours: Sequence[URL] = ()) -> str | None:
        """Return path and query of ``target`` as written when it is absolute and the upstream's own, or ``ours``."""
        scheme, separator, rest = target.partition("//")
        if not separator or scheme.lower() not in ("http:", "https:", ""):
            return None
        authority_end = next((at for at, char in enumerate(rest) if char in "/?#"), len(rest))
        try:
            url = URL(f"{scheme or self._own[0].scheme + ':'}//{rest[:authority_end]}")
        except (ValueError, IndexError):  # yarl stumbles over "//[::1]@"
            return None
        return rest[authority_end:] or "/" if any(_is_same(url, own) for own in (*self._own, *ours)) else None


def _is_same(url: URL, own: URL) -> bool:
    if url.host != own.host:
        return False
    # A registry behind TLS termination often believes that it is spoken to in plain HTTP.
    both_default = url.is_default_port() and own.is_default_port()
    return both_default or url.port == own.port
