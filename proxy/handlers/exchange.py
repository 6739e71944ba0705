"""The token endpoint of ``auth.realm = "proxy"``: passes a client's request on to the registry's own realm.

Where it goes is what the registry says, checked against ``auth.realm_hosts``; nothing in the request can
change it. No redirect is followed, and both directions are bounded.
"""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from proxy.auth.identity import Identity
from proxy.auth.realm import RealmError, Realms
from proxy.single_flight import SingleFlight
from proxy.upstream.replies import MAX_REFUSAL, UpstreamError
from proxy.upstream.upstream import Upstream
from proxy.wire.responses import WholeResponse
from twodfs.oci.documents import ACCEPT_IMAGES

_MAX_REQUEST: Final = 64 * 1024
_MAX_ANSWER: Final = 2**20
_METHODS: Final = ("GET", "POST")
_REQUEST_HEADERS: Final = (hdrs.AUTHORIZATION, hdrs.ACCEPT, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
_ANSWER_HEADERS: Final = (hdrs.CONTENT_TYPE, hdrs.WWW_AUTHENTICATE, hdrs.RETRY_AFTER, hdrs.DATE)
_FIRST_REDIRECT: Final = 300
_FIRST_ERROR: Final = 400
_UNKNOWN: Final = Identity.of({})


class TokenEndpoint:
    """Answers requests for tokens."""

    def __init__(self, upstream: Upstream, realms: Realms, *, timeout: float) -> None:
        """``timeout``: seconds for a whole request, both ways."""
        self._upstream = upstream
        self._realms = realms
        self._timeout = timeout
        self._asking: SingleFlight[URL] = SingleFlight()

    async def answer(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        """Return the token server's answer.

        Raises:
            UpstreamError: it cannot be asked, or redirects, or its address is not to be trusted.
        """
        if request.method not in _METHODS:
            raise UpstreamError("tokens are asked for with GET or POST", status=405)
        realm = self._realms.known() or await self._asking.do("realm", self._learn)
        try:
            async with asyncio.timeout(self._timeout):
                return await self._forward(request, _with_query(realm, target.partition("?")[2]))
        except TimeoutError:
            raise UpstreamError(f"the token server {realm.host} does not answer in time", status=504) from None
        except (aiohttp.ClientError, OSError) as error:
            problem = type(error).__name__
            raise UpstreamError(f"the token server {realm.host} cannot be asked: {problem}") from None

    async def _learn(self) -> URL:
        """Ask the registry for its challenge (distribution-spec, "Determining Support")."""
        reply = await self._upstream.get("/v2/", _UNKNOWN, limit=MAX_REFUSAL, accept=ACCEPT_IMAGES)
        try:
            realm = self._realms.learn(reply.headers.getall(hdrs.WWW_AUTHENTICATE, ()))
        except RealmError as error:
            raise UpstreamError(str(error)) from None
        if realm is None:
            raise UpstreamError("the registry names no token server, so there are no tokens", status=404)
        return realm

    async def _forward(self, request: web.BaseRequest, url: URL) -> web.StreamResponse:
        body = await _read(request.content, _MAX_REQUEST, "the request for a token", status=413)
        headers = CIMultiDict((name, request.headers[name]) for name in _REQUEST_HEADERS if name in request.headers)
        headers[hdrs.ACCEPT_ENCODING] = "identity"
        content_of_post = body if request.method == hdrs.METH_POST else None
        async with self._upstream.ask_realm(request.method, url, headers, content_of_post) as answer:
            if _FIRST_REDIRECT <= answer.status < _FIRST_ERROR:
                raise UpstreamError(f"the token server {url.host} redirects; credentials are not sent after it")
            content = await _read(answer.content, _MAX_ANSWER, f"the answer of the token server {url.host}")
            kept = CIMultiDict((name, answer.headers[name]) for name in _ANSWER_HEADERS if name in answer.headers)
            kept[hdrs.CONTENT_LENGTH] = str(len(content))
            kept[hdrs.CACHE_CONTROL] = "no-store"
            return WholeResponse(status=answer.status, reason=answer.reason, headers=kept, body=content)


def _with_query(realm: URL, query: str) -> URL:
    joined = "&".join(part for part in (realm.raw_query_string, query.partition("#")[0]) if part)
    place = f"{realm.scheme}://{realm.raw_authority}{realm.raw_path}"
    return URL(f"{place}?{joined}" if joined else place, encoded=True)


async def _read(content: aiohttp.StreamReader, limit: int, what: str, *, status: int = 502) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > limit:
            raise UpstreamError(f"{what} is longer than {limit} bytes", status=status)
    return bytes(body)
