"""Requests whose last answers an edge node knows: tags, lists of referrers, ``/v2/``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs
from multidict import CIMultiDictProxy

from proxy.bodies.transit import Bodies
from proxy.handlers.documents import is_held
from proxy.handlers.errors import relayed_reply
from proxy.handlers.exchange import Answer, Call
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.relay import Relay
from proxy.requests.kinds import (
    Greeting,
    MistypedPull,
    PartitionPull,
    ReferrersPull,
    ReferrersTagPull,
    RegistryRequest,
    SignaturePull,
    TagPull,
)
from proxy.upstream.registry import UpstreamRegistry
from proxy.upstream.replies import Reply
from proxy.upstream.upstream import Upstream
from twodfs.oci.documents import MAX_MANIFEST_BYTES

_REMEMBERED: Final = (
    Greeting,
    MistypedPull,
    PartitionPull,
    ReferrersPull,
    ReferrersTagPull,
    SignaturePull,
    TagPull,
)


class RememberingRelay(Relay):
    """Passes requests on; where the registry gives no answer, its last one is given again."""

    def __init__(
        self, upstream: Upstream, registry: UpstreamRegistry, locations: LocationRewriter, bodies: Bodies
    ) -> None:
        """``registry``: the upstream with the disk behind it."""
        super().__init__(upstream, locations, bodies)
        self._registry = registry
        self._addresses = locations

    async def open(
        self,
        call: Call[RegistryRequest],
        request: RegistryRequest | None = None,
        *,
        limit: int | None = None,
        held: frozenset[int] = frozenset(),
    ) -> Answer:
        """Do the same as ``Relay.open``, with the disk behind the registry."""
        asked = request or call.request
        if not _is_remembered(call, asked):
            return await super().open(call, request, limit=limit, held=held)
        return self._answer(call, await self._ask(call, asked))

    async def open_unless(self, status: HTTPStatus, call: Call[RegistryRequest]) -> Answer | None:
        """Do the same as ``Relay.open_unless``, with the disk behind the registry."""
        if not _is_remembered(call, call.request):
            return await super().open_unless(status, call)
        reply = await self._ask(call, call.request)
        return None if reply.status == status else self._answer(call, reply)

    async def _ask(self, call: Call[RegistryRequest], asked: RegistryRequest) -> Reply:
        accept = ", ".join(call.http.headers.getall(hdrs.ACCEPT, ())) or "*/*"
        if asked.method == hdrs.METH_HEAD:
            return await self._registry.head(asked.target, call.identity, accept)
        return await self._registry.get(asked.target, call.identity, limit=MAX_MANIFEST_BYTES, accept=accept)

    def _answer(self, call: Call[RegistryRequest], reply: Reply) -> Answer:
        """Return the answer, or 304 to a client that has the document (RFC 9110, 13.1.2)."""
        etag = reply.headers.get(hdrs.ETAG)
        if reply.status == HTTPStatus.OK and etag is not None and is_held(call.http, etag):
            headers = reply.headers.copy()
            for name in (hdrs.CONTENT_LENGTH, hdrs.CONTENT_TYPE):
                headers.popall(name, None)
            reply = Reply(HTTPStatus.NOT_MODIFIED, HTTPStatus.NOT_MODIFIED.phrase, CIMultiDictProxy(headers), b"")
        answer = relayed_reply(reply, self._addresses, call.http)
        if answer.status == HTTPStatus.NOT_MODIFIED:
            answer.headers.popall(hdrs.CONTENT_LENGTH, None)
        return answer


def _is_remembered(call: Call[RegistryRequest], asked: RegistryRequest) -> bool:
    return isinstance(asked, _REMEMBERED) and not call.http.body_exists
