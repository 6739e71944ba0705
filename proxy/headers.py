"""Headers across a proxy: what ends at a hop, and addresses that must come back to us."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from proxy.realm import Realms

# RFC 9110, section 7.6.1: these, and whatever Connection names, are for the next hop alone.
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
# Host names the upstream, and Expect is answered at each hop by whoever reads the body.
_NOT_FORWARDED: Final = _HOP_BY_HOP | {"host", "expect"}
# Where the proxy shows the registry its own credentials: a session of theirs, and the challenge to them.
_OUR_OWN: Final = frozenset({"set-cookie", "www-authenticate"})
_LINK_TARGET: Final = re.compile(r"<([^>]*)>")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def forwarded_request(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Return a client's headers as they go upstream."""
    kept = _without(headers, _NOT_FORWARDED)
    # Rule 4: a body the client did not ask to be compressed must not be.
    kept.setdefault(hdrs.ACCEPT_ENCODING, "identity")
    return kept


def _without(headers: CIMultiDictProxy[str] | CIMultiDict[str], dropped: frozenset[str]) -> CIMultiDict[str]:
    for nominated in headers.getall(hdrs.CONNECTION, ()):
        dropped |= {name.strip().lower() for name in nominated.split(",")}
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


class Origins:
    """Tells the upstream's own addresses, and turns them into ours."""

    def __init__(
        self, upstream: str, public: str | None, *, realms: Realms | None = None, is_door: bool = False
    ) -> None:
        """Know the origins.

        Args:
            upstream: the registry's.
            public: ours as clients see it; None: the request's ``Host`` in plain HTTP.
            realms: puts our token endpoint in the place of the registry's; None: its challenges stay.
            is_door: whether the registry knows us instead of the client.
        """
        self._upstream = URL(upstream)
        self._public = public
        self._realms = realms
        self._dropped = _HOP_BY_HOP | _OUR_OWN if is_door else _HOP_BY_HOP

    def forwarded_response(
        self, headers: CIMultiDictProxy[str], request: web.BaseRequest
    ) -> CIMultiDict[str]:
        """Return the upstream's headers as they go to the client.

        Only ``Location`` and ``Link`` are rewritten, and only where they point at the upstream itself: a
        client that followed them would leave the proxy. With ``auth.realm = "proxy"``, realms are, too.
        """
        kept = _without(headers, self._dropped)
        if self._realms is not None and hdrs.WWW_AUTHENTICATE in kept:
            origin = self.public_origin(request)
            for challenge in kept.popall(hdrs.WWW_AUTHENTICATE):
                kept.add(hdrs.WWW_AUTHENTICATE, self._realms.as_ours(challenge, origin))
        if hdrs.LOCATION in kept:
            kept[hdrs.LOCATION] = self._as_ours(kept[hdrs.LOCATION], request)
        if hdrs.LINK in kept:
            links = kept.popall(hdrs.LINK)
            for link in links:
                kept.add(
                    hdrs.LINK, _LINK_TARGET.sub(lambda found: f"<{self._as_ours(found[1], request)}>", link)
                )
        return kept

    def _as_ours(self, target: str, request: web.BaseRequest) -> str:
        own = self._own_path(target)
        return target if own is None else f"{self.public_origin(request)}{own}"

    def _own_path(self, target: str) -> str | None:
        """Return path and query of ``target`` as written when it is absolute and the upstream's own."""
        scheme, separator, rest = target.partition("//")
        if not separator or scheme.lower() not in ("http:", "https:", ""):
            return None
        authority_end = next((at for at, char in enumerate(rest) if char in "/?#"), len(rest))
        try:
            url = URL(f"{scheme or self._upstream.scheme + ':'}//{rest[:authority_end]}")
        except ValueError:
            return None
        return rest[authority_end:] or "/" if self._is_upstream(url) else None

    def _is_upstream(self, url: URL) -> bool:
        if url.host != self._upstream.host:
            return False
        # A registry behind TLS termination often believes that it is spoken to in plain HTTP.
        both_default = url.is_default_port() and self._upstream.is_default_port()
        return both_default or url.port == self._upstream.port

    def public_origin(self, request: web.BaseRequest) -> str:
        """Return our origin, as the client of ``request`` knows it."""
        if self._public:
            return self._public
        host = request.headers.get(hdrs.HOST, "")
        if not _HOST.fullmatch(host):
            address, port, *_ = request.transport.get_extra_info("sockname") if request.transport else ("", 0)
            host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        return f"{request.scheme}://{host}"
