"""One exchange with a client: its request, the answer, and the one function that sends answers.

A handler opens an answer, which may hold a connection to the registry, and says nothing to the client.
``send`` does, for every answer: it bounds the time, aborts transfers that cannot complete, and closes the source.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from proxy.auth.identity import Identity
from proxy.bodies.idle_timeout import IdleTimeout
from proxy.logs import get_logger
from proxy.metrics.catalogue import BROKEN_TRANSFERS
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests.kinds import RegistryRequest
from proxy.upstream.errors import describe
from proxy.wire.responses import OutgoingResponse, hang_up

R_co = TypeVar("R_co", bound=RegistryRequest, covariant=True)


@dataclass(frozen=True, slots=True)
class Call(Generic[R_co]):
    """A request and its client.

    Attributes:
        request: the parsed request.
        http: the request as it came, with its headers and body.
        identity: the client's credentials, and the client that work is counted for.
        idle_timeout: how long client and registry may be waited for.
    """

    request: R_co
    http: web.BaseRequest
    identity: Identity
    idle_timeout: IdleTimeout


class BodySource(Protocol):
    """Where the bytes of an answer come from, and the best way from there to a client.

    The head is prepared, and waits to leave with the first bytes; the end of the message is left to the caller.
    """

    async def send(self, response: OutgoingResponse, http: web.BaseRequest, idle_timeout: IdleTimeout) -> None:
        """Send all bytes of ``response``, the answer to ``http``; none where it is to have no body.

        The waiting code says for whom (``idle_timeout.for_client``, ``for_upstream``); it is the client at the
        beginning, and must be at the end.

        Raises:
            aiohttp.ClientError, OSError: one side hung up; the client must not take the part that it has for the whole.
        """

    async def close(self) -> None:
        """Release the resources of the source, whether it was sent or not."""


@dataclass(frozen=True, slots=True)
class WholeBody:
    """Bytes that are at hand: a document of ours, an error, an answer of the registry that was read.

    ``shared``: an object kept alive while this body is being sent, for other clients that are sent the same.
    """

    content: bytes | memoryview
    shared: object = None

    async def send(self, response: OutgoingResponse, http: web.BaseRequest, idle_timeout: IdleTimeout) -> None:  # noqa: ARG002
        """Send them, within one time for all of them."""
        await response.send_whole(self.content, http)

    async def close(self) -> None:
        """Do nothing: nothing is open."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is ready to be sent, and is to be sent or closed.

    Attributes:
        status: of HTTP.
        headers: all of them, except hop-by-hop ones.
        body: for HEAD and 304 the headers speak of it, and it is not sent.
        reason: the reason phrase; None: the standard one.
        is_relayed: whether it is the registry's, with nothing of ours in it.
        ends_connection: whether the connection ends with it, since the start of the next request is unknown.
    """

    status: int
    headers: CIMultiDict[str]
    body: BodySource
    reason: str | None = None
    is_relayed: bool = False
    ends_connection: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """How one kind of request is answered.

    Attributes:
        answer: opens the answer.
        takes_body: whether it handles a request's body; requests with one otherwise go to the relay.
        is_public: whether it needs no authentication.
    """

    answer: Callable[[Call[Any]], Awaitable[Answer]]
    takes_body: bool = False
    is_public: bool = False


Routes: TypeAlias = Mapping[type[RegistryRequest], Route]
"""The handler of each kind of request but ``InvalidRequest``."""


async def send(
    answer: Answer, http: web.BaseRequest, idle_timeout: IdleTimeout, upstream: str = DEFAULT_UPSTREAM
) -> web.StreamResponse:
    """Send ``answer`` to the client that asked ``http`` of ``upstream``, and close it; return the response for aiohttp.

    A client that takes nothing in time loses its connection, and so does one whose answer broke off: a body that
    is too short must not look whole.

    Raises:
        Exception: the answer cannot be written at all, as a head with a line break in it.
    """
    response = OutgoingResponse(status=answer.status, reason=answer.reason, headers=answer.headers)
    if answer.ends_connection:
        response.force_close()
    try:
        async with idle_timeout:
            try:
                idle_timeout.for_client()
                await response.prepare(http)
                await answer.body.send(response, http, idle_timeout)
                await response.write_eof()
            finally:
                await answer.body.close()
    except TimeoutError:
        if answer.is_relayed:
            BROKEN_TRANSFERS.of(idle_timeout.waiting_for, upstream).add()
        get_logger().warning("transfer stalled", path=http.path, waiting_for=idle_timeout.waiting_for)
        hang_up(http, at_once=True)
    except (aiohttp.ClientError, OSError) as error:
        if answer.is_relayed:
            reason = "short" if isinstance(error, aiohttp.ClientPayloadError) else "broke_off"
            BROKEN_TRANSFERS.of(reason, upstream).add()
            get_logger().warning("transfer broke off", path=http.path, reason=describe(error))
        # Bytes passed on before still arrive; with an answer of our own, only the client can have broken off.
        hang_up(http, at_once=not answer.is_relayed)
    return response
