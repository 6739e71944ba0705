"""Each request's way: parsed, admitted, let in, answered by the handler of its kind, sent, accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.auth.access_control import Authenticator
from proxy.auth.identity import Identity
from proxy.bodies.idle_timeout import IdleTimeout
from proxy.clients.addresses import ClientAddresses
from proxy.clients.hops import arrive
from proxy.clients.limits import RequestLimits
from proxy.handlers.access_log import AccessLog
from proxy.handlers.attached import AttachedHandler
from proxy.handlers.content import ContentHandler
from proxy.handlers.errors import explain
from proxy.handlers.exchange import Answer, Call, Route, Routes, send
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.partition import PartitionHandler
from proxy.handlers.push import PushCompletion, PushHandler
from proxy.handlers.relay import Relay
from proxy.handlers.tags import TagsHandler
from proxy.handlers.token import TokenHandler
from proxy.logs import bind_key_id, bind_request_id, bind_upstream, bind_user
from proxy.metrics.catalogue import CLIENT_GONE, IN_FLIGHT
from proxy.partitions.lookalikes import Lookalikes
from proxy.partitions.plain import PlainTags
from proxy.partitions.source import Sources
from proxy.partitions.synthesis import Partitions
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests.choice import CHOSEN, RegistryChoice
from proxy.requests.grammar import GrammarError, Resource
from proxy.requests.kinds import (
    ContentPull,
    Greeting,
    InvalidRequest,
    ManifestWrite,
    MistypedPull,
    Other,
    PartitionPull,
    ReferrersPull,
    ReferrersTagPull,
    RegistryRequest,
    SignaturePull,
    TagPull,
    TagsPull,
    TokenEndpointRequest,
)
from proxy.requests.parsing import parse
from proxy.signing.attached import AttachedDocuments
from proxy.tags.tag_list import TagList
from proxy.tracing.spans import serves

if TYPE_CHECKING:
    from proxy.handlers.edge import EdgeContent


_REQUEST_ID: Final = "X-Request-Id"


def table_of_kinds(
    *,
    relay: Relay,
    sources: Sources,
    partitions: Partitions,
    lookalikes: Lookalikes,
    attached: AttachedDocuments | None,
    completion: PushCompletion,
    tokens: TokenHandler | None,
    locations: LocationRewriter,
    max_manifest: int,
    edge: EdgeContent | None = None,
    tags: TagList | None = None,
    plain: PlainTags | None = None,
) -> Routes:
    """Return the handler of each kind of request.

    ``attached`` None: nothing is signed. ``tokens`` None: clients get tokens elsewhere. ``max_manifest``: bytes.
    ``edge`` None: nothing is kept on disk. ``tags`` None: lists of tags are the registry's own. ``plain`` None: plain
    tags give the registry's own images.
    """
    passed_on = Route(relay.answer, takes_body=True)
    partition = PartitionHandler(sources, partitions, lookalikes, relay, edge=edge, plain=plain)
    content = ContentHandler(partitions, attached, relay, edge)
    listed = None if attached is None else AttachedHandler(attached, locations, relay)
    push = PushHandler(
        sources,
        lookalikes,
        relay,
        completion=completion,
        attached=attached,
        locations=locations,
        max_manifest=max_manifest,
    )
    return {
        PartitionPull: Route(partition.answer),
        MistypedPull: Route(partition.answer_mistyped),
        ContentPull: Route(content.answer),
        SignaturePull: Route(listed.answer_signatures) if listed else passed_on,
        ReferrersTagPull: Route(listed.answer_referrers_tag) if listed else passed_on,
        ReferrersPull: Route(listed.answer_referrers) if listed else passed_on,
        TagPull: Route(partition.answer_plain) if plain else passed_on,
        TagsPull: Route(TagsHandler(tags, locations, relay).answer) if tags else passed_on,
        Greeting: passed_on,
        ManifestWrite: Route(push.answer, takes_body=True),
        TokenEndpointRequest: Route(tokens.answer, takes_body=True, is_public=True) if tokens else passed_on,
        Other: passed_on,
    }


@dataclass(frozen=True, slots=True)
class ServedRegistry:
    """One of the registries behind the proxy; they share no part that knows contents or clients.

    Attributes:
        routes: the handler of each kind of request to it.
        authenticator: lets clients in.
        locations: turns its addresses into ours.
        silence: seconds that it may be waited for.
        limits: on requests that are answered at the same time: those to another registry do not count.
    """

    routes: Routes
    authenticator: Authenticator
    locations: LocationRewriter
    silence: float
    limits: RequestLimits


class Dispatcher:
    """Answers every request that reaches the public listener."""

    def __init__(
        self,
        registries: Mapping[str, ServedRegistry],
        choice: RegistryChoice,
        *,
        clients: ClientAddresses,
        access_log: AccessLog,
        client_timeout: float,
    ) -> None:
        """Answer for several registries.

        Args:
            registries: by the name that ``Repository.upstream`` has.
            choice: tells which one a request is for.
            clients: tells clients apart.
            access_log: keeps the account.
            client_timeout: seconds of a client's silence.
        """
        self._registries = registries
        self._choice = choice
        self._clients = clients
        self._access_log = access_log
        self._client_timeout = client_timeout
        self._running: Counter[str] = Counter(dict.fromkeys(registries, 0))
        self._idle = asyncio.Event()
        self._idle.set()

    async def finish(self, seconds: float) -> None:
        """Wait until no request is running, at most ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return self._running.total()

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Let the metrics see how many requests are being answered, for the time of the context."""
        with contextlib.ExitStack() as stack:
            for name in self._registries:
                stack.enter_context(IN_FLIGHT.read_from(partial(self._running.__getitem__, name), name))
            yield

    @serves
    async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer ``http`` and log one line about it, also when the client leaves before its answer."""
        started = time.perf_counter()
        request_id = bind_request_id(http.headers.get(_REQUEST_ID))
        bind_user(None)  # the connection may have carried another's request before
        bind_key_id(None)
        bind_upstream(DEFAULT_UPSTREAM)
        request: RegistryRequest | None = None
        admitted: str | None = None
        status = CLIENT_GONE
        name, served = DEFAULT_UPSTREAM, self._registries[DEFAULT_UPSTREAM]
        idle_timeout = IdleTimeout(client=self._client_timeout, upstream=served.silence)
        self._running[name] += 1
        self._idle.clear()
        try:
            try:
                arrive(http.headers)
                request = self._parsed(http)
                if request.upstream:
                    self._running[name] -= 1
                    name, served = request.upstream, self._registries[request.upstream]
                    self._running[name] += 1
                    bind_upstream(name)
                    idle_timeout = IdleTimeout(client=self._client_timeout, upstream=served.silence)
                client = self._clients.rate_limit_key(http)
                served.limits.admit(client)
                admitted = client
                answer = await self._open(served, Call(request, http, Identity.of({}, client), idle_timeout))
            except Exception as error:  # noqa: BLE001 - a refusal is an answer; a defect is one, never a traceback
                answer = _explained(error, served, http, request_id)
            if not answer.is_relayed:
                answer.headers[_REQUEST_ID] = request_id
                status = answer.status
            response = await _sent(answer, served, http, idle_timeout, request_id=request_id, upstream=name)
            status = response.status
        finally:
            if admitted is not None:
                served.limits.ended(admitted)
            self._running[name] -= 1
            if not self.in_flight:
                self._idle.set()
            seconds = time.perf_counter() - started
            self._access_log.close(http, request, status, seconds, self._clients.address(http))
        return response

    def _parsed(self, http: web.BaseRequest) -> RegistryRequest:
        """Return the request, for the registry that it is for."""
        try:
            chosen = self._choice.choose(http.raw_path, self._clients.host(http))
        except GrammarError as error:
            nothing = Resource(http.raw_path, http.raw_path, "")
            return InvalidRequest(method=http.method, target=http.raw_path, resource=nothing, problem=error)
        if chosen.is_one_of_several:
            http[CHOSEN] = chosen
        return parse(http.method, chosen.target, chosen.upstream)

    async def _open(self, served: ServedRegistry, call: Call[RegistryRequest]) -> Answer:
        """Return the answer to a request that was admitted, ready to be sent."""
        request, http = call.request, call.http
        if isinstance(request, InvalidRequest):
            raise request.problem
        route = served.routes[type(request)]
        if http.body_exists and not route.takes_body:
            route = served.routes[Other]  # a body can be passed on once, and the rest may ask the registry twice
        if not route.is_public:
            call = replace(call, identity=await served.authenticator.enter(http, request, call.identity.client))
        return await route.answer(call)


def _explained(error: Exception, served: ServedRegistry, http: web.BaseRequest, request_id: str) -> Answer:
    answer = explain(error, served.locations, http)
    answer.headers[_REQUEST_ID] = request_id
    return answer


async def _sent(
    answer: Answer,
    served: ServedRegistry,
    http: web.BaseRequest,
    idle_timeout: IdleTimeout,
    *,
    request_id: str,
    upstream: str,
) -> web.StreamResponse:
    """Send ``answer``, or say that it cannot be sent, as where HTTP cannot write its head."""
    try:
        return await send(answer, http, idle_timeout, upstream)
    except Exception as error:
        if http.writer.output_size:
            raise  # an answer has begun; the connection ends, so that it does not look whole
        return await send(_explained(error, served, http, request_id), http, idle_timeout)
