"""The token endpoint of ``auth.realm = "proxy"``: passes a client's request on to the registry's own realm.

Its address is the one that the registry names, checked against ``auth.realm_hosts``; nothing in the request can
change it. No redirect is followed, and both directions are bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus, unquote_plus

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from proxy.auth.identity import Identity
from proxy.auth.realm import RealmError, Realms
from proxy.handlers.exchange import Answer, Call, WholeBody
from proxy.requests.choice import CHOSEN
from proxy.requests.kinds import TokenEndpointRequest
from proxy.single_flight import SingleFlight
from proxy.upstream.registry import UpstreamRegistry
from proxy.upstream.replies import MAX_REFUSAL, STALE, UpstreamError
from proxy.wire.responses import JSON
from twodfs.oci.documents import ACCEPT_IMAGES

if TYPE_CHECKING:
    from proxy.edge.offline.token_server import OfflineTokenServer

_MAX_REQUEST: Final = 64 * 1024
_MAX_ANSWER: Final = 2**20
_METHODS: Final = ("GET", "POST")
_REQUEST_HEADERS: Final = (hdrs.AUTHORIZATION, hdrs.ACCEPT, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
_ANSWER_HEADERS: Final = (hdrs.CONTENT_TYPE, hdrs.WWW_AUTHENTICATE, hdrs.RETRY_AFTER, hdrs.DATE)
_REDIRECTS: Final = range(300, 400)


class TokenHandler:
    """Answers requests for tokens."""

    def __init__(
        self,
        upstream: UpstreamRegistry,
        realms: Realms,
        *,
        timeout: float,
        offline: OfflineTokenServer | None = None,
    ) -> None:
        """Ask the realm of ``upstream``.

        Args:
            upstream: the registry.
            realms: knows where that is.
            timeout: seconds for a whole request, both ways.
            offline: stands in for the realm while the registry cannot be asked; None: nothing does.
        """
        self._upstream = upstream
        self._realms = realms
        self._timeout = timeout
        self._offline = offline
        self._asking: SingleFlight[URL] = SingleFlight()

    async def answer(self, call: Call[TokenEndpointRequest]) -> Answer:
        """Return the token server's answer.

        Raises:
            UpstreamError: it cannot be asked, or redirects, or its address is not to be trusted.
        """
        if call.request.method not in _METHODS:
            raise UpstreamError("tokens are asked for with GET or POST", status=HTTPStatus.METHOD_NOT_ALLOWED)
        body = await self._body(call.http)
        chosen = call.http.get(CHOSEN)
        if chosen is not None and chosen.prefix:
            place, mark, query = call.request.target.partition("?")
            target = f"{place}{mark}{_with_scopes(query, chosen.scope_as_theirs)}"
            call = replace(call, request=replace(call.request, target=target))
            body = _with_scopes(body.decode("latin-1"), chosen.scope_as_theirs).encode("latin-1")
        if self._offline is None:
            return await self._ask(call, body)
        return await self._ask_or_stand_in(call, body, self._offline)

    async def _body(self, http: web.BaseRequest) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                return await _read(
                    http.content, _MAX_REQUEST, "the request for a token", status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                )
        except TimeoutError:
            raise UpstreamError(
                "the request for a token did not arrive in time", status=HTTPStatus.REQUEST_TIMEOUT
            ) from None
        except (aiohttp.ClientError, OSError):
            raise UpstreamError("the request for a token broke off", status=HTTPStatus.BAD_REQUEST) from None

    async def _ask_or_stand_in(
        self, call: Call[TokenEndpointRequest], body: bytes, offline: OfflineTokenServer
    ) -> Answer:
        """Return the token server's answer, or a token of the node's own where neither it nor the registry answers."""
        form = body if call.request.method == hdrs.METH_POST else b""
        authorization = call.http.headers.get(hdrs.AUTHORIZATION)
        asked = offline.question(call.request.target.partition("?")[2], authorization, form)
        own = await offline.own(asked)
        answer = None
        try:
            async with asyncio.timeout(None if own is None else offline.patience):
                answer = await self._ask(call, body)
            if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                if answer.status == HTTPStatus.OK and isinstance(answer.body, WholeBody):
                    await offline.relayed(asked, bytes(answer.body.content))
                return answer
            problem: Exception = UpstreamError(f"the token server answers {answer.status}")
        except UpstreamError as error:
            problem = error
        except TimeoutError:
            problem = UpstreamError("the token server does not answer in time", status=HTTPStatus.GATEWAY_TIMEOUT)
        if own is None or await offline.is_answering():
            if answer is not None:
                return answer
            raise problem
        headers = {hdrs.CONTENT_TYPE: JSON, hdrs.CACHE_CONTROL: "no-store", hdrs.WARNING: STALE}
        headers[hdrs.CONTENT_LENGTH] = str(len(own))
        return Answer(HTTPStatus.OK, CIMultiDict(headers), WholeBody(own))

    async def _ask(self, call: Call[TokenEndpointRequest], body: bytes) -> Answer:
        realm = self._realms.known() or await self._asking.do("realm", partial(self._fetch_realm, call.identity))
        try:
            async with asyncio.timeout(self._timeout):
                return await self._forward(call, _with_query(realm, call.request.target.partition("?")[2]), body)
        except TimeoutError:
            raise UpstreamError(
                f"the token server {realm.host} does not answer in time", status=HTTPStatus.GATEWAY_TIMEOUT
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            problem = type(error).__name__
            raise UpstreamError(f"the token server {realm.host} cannot be asked: {problem}") from None

    async def _fetch_realm(self, identity: Identity) -> URL:
        """Ask the registry for its challenge (distribution-spec, "Determining Support")."""
        reply = await self._upstream.get("/v2/", identity, limit=MAX_REFUSAL, accept=ACCEPT_IMAGES)
        try:
            realm = self._realms.learn(reply.headers.getall(hdrs.WWW_AUTHENTICATE, ()))
        except RealmError as error:
            raise UpstreamError(str(error)) from None
        if realm is None:
            raise UpstreamError(
                "the registry names no token server, so there are no tokens", status=HTTPStatus.NOT_FOUND
            )
        return realm

    async def _forward(self, call: Call[TokenEndpointRequest], url: URL, body: bytes) -> Answer:
        http = call.http
        headers = CIMultiDict((name, http.headers[name]) for name in _REQUEST_HEADERS if name in http.headers)
        headers[hdrs.ACCEPT_ENCODING] = "identity"
        content_of_post = body if http.method == hdrs.METH_POST else None
        async with self._upstream.ask_realm(http.method, url, headers, content_of_post) as answer:
            if answer.status in _REDIRECTS:
                raise UpstreamError(f"the token server {url.host} redirects; credentials are not sent after it")
            content = await _read(answer.content, _MAX_ANSWER, f"the answer of the token server {url.host}")
            kept = CIMultiDict((name, answer.headers[name]) for name in _ANSWER_HEADERS if name in answer.headers)
            kept[hdrs.CONTENT_LENGTH] = str(len(content))
            kept[hdrs.CACHE_CONTROL] = "no-store"
            return Answer(answer.status, kept, WholeBody(content), reason=answer.reason)


def _with_query(realm: URL, query: str) -> URL:
    joined = "&".join(part for part in (realm.raw_query_string, query.partition("#")[0]) if part)
    place = f"{realm.scheme}://{realm.raw_authority}{realm.raw_path}"
    return URL(f"{place}?{joined}" if joined else place, encoded=True)


def _with_scopes(form: str, renamed: Callable[[str], str]) -> str:
    """Return a query or form with its scopes as ``renamed`` gives them, and the rest as it was written."""
    parts = []
    for part in form.split("&"):
        name, mark, value = part.partition("=")
        scope = unquote_plus(value)
        theirs = renamed(scope) if mark and unquote_plus(name) == "scope" else scope
        parts.append(part if theirs == scope else f"{name}={quote_plus(theirs)}")
    return "&".join(parts)


async def _read(content: aiohttp.StreamReader, limit: int, what: str, *, status: int = HTTPStatus.BAD_GATEWAY) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > limit:
            raise UpstreamError(f"{what} is longer than {limit} bytes", status=status)
    return bytes(body)
