"""Handlers over a registry that a test decides, without the listener and the dispatcher around them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Self
from unittest.mock import Mock

from aiohttp import StreamReader, hdrs, web
from aiohttp.test_utils import make_mocked_request
from cryptography.hazmat.primitives.asymmetric import ec
from multidict import CIMultiDict

from proxy.auth.grants import Grants
from proxy.auth.identity import Identity
from proxy.auth.realm import RealmPolicy, Realms
from proxy.bodies.idle_timeout import IdleTimeout
from proxy.bodies.transit import Bodies
from proxy.clients.addresses import ClientAddresses
from proxy.clients.limits import Slots
from proxy.handlers.dispatcher import table_of_kinds
from proxy.handlers.exchange import Call, Routes
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.push import PushCompletion
from proxy.handlers.relay import Relay
from proxy.handlers.token import TokenHandler
from proxy.partitions.content import Contents
from proxy.partitions.cutting import Cutter
from proxy.partitions.lookalikes import Lookalikes
from proxy.partitions.plain import PlainTags
from proxy.partitions.source import Sources
from proxy.partitions.synthesis import Partitions
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests.parsing import parse
from proxy.signing.attached import AttachedDocuments
from proxy.signing.signatures import Signatures
from proxy.signing.signer import FileSigner
from proxy.store.memory import MemoryStore
from proxy.store.tiered import TieredStore
from proxy.tags.names import NamesOfTags
from proxy.tags.tag_list import TagList
from proxy.upstream.referrers import Referrers
from proxy.upstream.registry import Upstreams
from twodfs.field.partition import Selection
from twodfs.signing.ecdsa import PrivateKey

CLIENT = Identity.of({"Authorization": "Basic dTpw"}, "192.0.2.1")


@dataclass
class Received:
    """What a client gets: stands in for the response that aiohttp writes to a connection."""

    body: bytearray = field(default_factory=bytearray)

    def send_head(self) -> None:
        """Do nothing: the answer says its head."""

    async def send(self, chunk: bytes) -> None:
        self.body += chunk

    async def flush(self) -> None:
        """Take everything at once."""

    async def send_whole(self, body: bytes | memoryview, _: web.BaseRequest) -> None:
        self.body += body


@dataclass(frozen=True, slots=True)
class Got:
    """An answer that was read."""

    status: int
    headers: CIMultiDict[str]
    body: bytes
    is_relayed: bool


@dataclass(frozen=True, slots=True)
class Handlers:
    """The table of kinds, over real parts and one registry."""

    routes: Routes

    @classmethod
    def over(
        cls,
        upstreams: Upstreams,
        *,
        is_signing: bool = False,
        has_tokens: bool = False,
        lists_partitions: bool = False,
        plain_tag: str | None = None,
    ) -> Self:
        """Return handlers that remember nothing yet."""
        upstream = upstreams[DEFAULT_UPSTREAM]
        store = TieredStore(MemoryStore(2**24), None)
        locations = LocationRewriter([upstream.url], ClientAddresses(public_url="https://us.example"))
        sources = Sources(upstreams, Grants(3600), tag_ttl=0)
        slots, large_slots = (Slots(4, 16, "crowded") for _ in range(2))
        cutter = Cutter(
            Contents(upstreams, store, max_field=2**20), max_layers=100, slots=slots, large_slots=large_slots
        )
        partitions = Partitions(cutter, sources, store)
        attached = None
        if is_signing:
            signatures = Signatures(
                partitions,
                store,
                FileSigner(PrivateKey(ec.generate_private_key(ec.SECP256R1()))),
                registry="us.example",
            )
            attached = AttachedDocuments(upstreams, Referrers(upstreams), partitions, signatures)
        realms = Realms(RealmPolicy([upstream.url], ()))
        routes = table_of_kinds(
            relay=Relay(upstream, locations, Bodies(None)),
            sources=sources,
            partitions=partitions,
            lookalikes=Lookalikes(sources, cutter),
            attached=attached,
            completion=PushCompletion(upstreams, partitions, attached, locations),
            tokens=TokenHandler(upstream, realms, timeout=10) if has_tokens else None,
            locations=locations,
            max_manifest=1024,
            tags=TagList(upstreams, NamesOfTags(sources, cutter, store).of) if lists_partitions else None,
            plain=PlainTags(cutter, partitions, Selection.of(names=(plain_tag,))) if plain_tag else None,
        )
        return cls(routes)

    async def answer(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        identity: Identity = CLIENT,
    ) -> Got:
        """Return what the handler for this kind of request answers; raises what it raises."""
        request, idle_timeout = parse(method, target), IdleTimeout(client=30, upstream=30)
        http: Any = _http(method, target, headers or {}, body)
        answer = await self.routes[type(request)].answer(Call(request, http, identity, idle_timeout))
        received: Any = Received()
        try:
            await answer.body.send(received, http, idle_timeout)
        finally:
            await answer.body.close()
        return Got(answer.status, answer.headers, bytes(received.body), answer.is_relayed)


def _http(method: str, target: str, headers: dict[str, str], body: bytes | None) -> web.BaseRequest:
    if body is None:
        return make_mocked_request(method, target, headers=headers)
    payload = StreamReader(Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())
    payload.feed_data(body)
    payload.feed_eof()
    if hdrs.TRANSFER_ENCODING not in headers:
        headers = {hdrs.CONTENT_LENGTH: str(len(body)), **headers}
    return make_mocked_request(method, target, headers=headers, payload=payload)
